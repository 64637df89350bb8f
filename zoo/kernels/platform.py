"""Choice of the form that operations take in the program that is being traced."""

import contextlib
import functools
import os
from collections.abc import Iterator

import jax

NATIVE, PORTABLE, CPU = "native", "portable", "cpu"


@contextlib.contextmanager
def portable() -> Iterator[None]:
    """Context manager in which models are traced to JAX's own operations only, on any platform.

    By default a model traced for CPU holds primitives of the zoo's own: they call oneDNN, and carry
    faster gradients. Other interpreters of jaxprs do not know these. (`jax.export` needs no switch:
    what it lowers is portable.) The environment variable ZOO_PORTABLE=1 has the same effect on a
    whole process. It has to be set before the first model is traced.

    Inference in portable form is as fast as that without oneDNN. Training is slower on CPU, since
    the gradients are those that JAX derives.

    Example:

        with zoo.portable():
            jaxpr = jax.make_jaxpr(model.apply)(variables, images)
    """
    with tracing(PORTABLE):
        yield


@contextlib.contextmanager
def tracing(form: str) -> Iterator[None]:
    """Context manager in which programs are traced in this form.

    `NATIVE` is the form for accelerators; the others are `PORTABLE` and `CPU`. Functions compiled
    in another form are traced again inside, since the form is part of the keys of JAX's caches.
    """
    with _requested()(form):
        yield


def form(*arrays: jax.Array) -> str:
    """The form of an operation on these arrays: `NATIVE`, `PORTABLE` or `CPU`."""
    if requested := _requested_form():
        return requested
    if os.environ.get("ZOO_PORTABLE", "0").lower() not in ("", "0", "false", "no"):
        return PORTABLE
    # Our primitives have no rule for shardings in types.
    if any(has_explicit_sharding(array) for array in arrays):
        return NATIVE
    return CPU if _default_platform() == "cpu" else NATIVE


def has_explicit_sharding(array: jax.Array) -> bool:
    """Whether the sharding of an array is part of its type, as on a mesh with explicit axes."""
    mesh = jax.typeof(array).sharding.mesh
    return any(kind == jax.sharding.AxisType.Explicit for kind in mesh.axis_types)


@functools.cache
def _requested():
    # Not at import: JAX traces all functions again when a context is added.
    return jax.make_user_context(None)


def _requested_form() -> str | None:
    return _requested().value if _requested.cache_info().currsize else None


def _default_platform() -> str:
    device = jax.config.jax_default_device  # pyright: ignore[reportAttributeAccessIssue] (JAX makes it at run time)
    if device is None:
        return jax.default_backend()
    return device if isinstance(device, str) else device.platform
