"""Bilinear operations of our own: one lowering for accelerators, a choice of them for CPU."""

import functools
from collections.abc import Callable, Sequence

import jax
import numpy as np
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import batching, mlir


def define(
    name: str,
    shape: Callable[..., Sequence[int]],
    native: Callable[..., jax.Array],
    on_cpu: Callable[..., Callable[..., jax.Array]],
    settings: Sequence[str],
) -> Primitive:
    """A primitive of two arrays and some settings; its transposes are the caller's to define.

    Args:
      name: how it shows in jaxprs.
      shape: of the result, from the two arrays or their types and the settings.
      native: the operation in JAX's own terms, what accelerators run and `vmap` goes through.
      on_cpu: the formulation for CPU, from `foreign` (whether calls out of XLA are possible), the
        types of the two arrays and of the result, and the settings.
      settings: their names.
    """
    operation = Primitive(name)
    operation.def_impl(jax.jit(operation.bind, static_argnames=tuple(settings)))
    operation.def_abstract_eval(
        lambda first, second, **chosen: second.update(
            shape=tuple(shape(first, second, **chosen)), dtype=np.dtype(second.dtype)
        )
    )
    batching.primitive_batchers[operation] = lambda arrays, axes, **chosen: (
        jax.vmap(functools.partial(native, **chosen), in_axes=axes)(*arrays),
        0,
    )
    mlir.register_lowering(operation, mlir.lower_fun(native, multiple_results=False))

    def lower_for_cpu(context, *operands, **chosen):
        arrays = (*context.avals_in, *context.avals_out)
        form = on_cpu(on_one_device(context), *arrays, **chosen)
        return mlir.lower_fun(form, multiple_results=False)(context, *operands, **chosen)

    mlir.register_lowering(operation, lower_for_cpu, platform="cpu")
    return operation


def vary_alike(*arrays: jax.Array) -> list[jax.Array]:
    """Inside `shard_map`: all of them over the mesh axes over which any of them varies."""
    varying = [jax.typeof(array).mat.varying for array in arrays]
    missing = [tuple(sorted(frozenset().union(*varying) - own)) for own in varying]
    return [
        lax.pcast(array, axes, to="varying") if axes else array
        for array, axes in zip(arrays, missing, strict=True)
    ]


def on_one_device(context) -> bool:
    """Whether each device runs a program of its own: one device, or all axes under shard_map.

    What XLA splits over devices by itself must not hold operations that it does not know.
    """
    axes = context.module_context.axis_context
    if hasattr(axes, "num_devices"):
        return axes.num_devices == 1
    return axes.manual_axes == frozenset(axes.mesh.axis_names)
