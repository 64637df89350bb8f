"""Bilinear primitives of two arrays with their own lowering for CPU."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

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
    parameters: Sequence[str],
) -> Primitive:
    """Defines a primitive of two arrays; its transpose rules are left to the caller.

    Args:
      name: Name of the primitive in jaxprs.
      shape: Function from the two arrays, or their types, and the parameters to the shape of the
        result.
      native: The operation in JAX's own operations, which accelerators run and `vmap` batches.
      on_cpu: Function that chooses the formulation for CPU. Its arguments are whether FFI calls are
        allowed, the types of the two arrays and of the result, and the parameters.
      parameters: Names of the primitive's parameters.
    """
    primitive = Primitive(name)
    compiled = jax.jit(primitive.bind, static_argnames=tuple(parameters))

    def run(*arrays, **chosen):
        with jax.disable_jit(False):  # otherwise jit would call bind, and bind would call this
            return compiled(*arrays, **chosen)

    primitive.def_impl(run)
    primitive.def_abstract_eval(
        lambda first, second, **chosen: second.update(
            shape=tuple(shape(first, second, **chosen)), dtype=np.dtype(second.dtype)
        )
    )
    batching.primitive_batchers[primitive] = lambda arrays, axes, **chosen: (
        jax.vmap(functools.partial(native, **chosen), in_axes=axes)(*arrays),
        0,
    )
    mlir.register_lowering(primitive, mlir.lower_fun(native, multiple_results=False))

    def lower_for_cpu(context, *operands, **chosen):
        arrays = (*context.avals_in, *context.avals_out)
        chosen_form = on_cpu(ffi_calls_allowed(context), *arrays, **chosen)
        return mlir.lower_fun(chosen_form, multiple_results=False)(context, *operands, **chosen)

    mlir.register_lowering(primitive, lower_for_cpu, platform="cpu")
    return primitive


def match_varying_axes(*arrays: jax.Array) -> list[jax.Array]:
    """Inside `shard_map`, marks all arrays as varying over each mesh axis that any varies over."""
    varying = [_varying_axes(array) for array in arrays]
    missing = [tuple(sorted(frozenset().union(*varying) - own)) for own in varying]
    return [
        lax.pcast(array, axes, to="varying") if axes else array
        for array, axes in zip(arrays, missing, strict=True)
    ]


def _varying_axes(array: jax.Array) -> frozenset:
    kind = jax.typeof(array)
    # JAX before 0.10 calls the attribute `vma`.
    return kind.mat.varying if hasattr(kind, "mat") else getattr(kind, "vma", frozenset())


def ffi_calls_allowed(context: mlir.LoweringRuleContext) -> bool:
    """Whether the program that is being lowered may call the FFI handlers of `onednn.cc`.

    XLA cannot partition FFI calls over devices, so there must be one device, or all mesh axes must
    be manual. An exported program must run in processes that do not know the handlers.
    """
    module = context.module_context
    if module.lowering_parameters.for_export:
        return False
    axes: Any = module.axis_context
    if hasattr(axes, "num_devices"):
        return axes.num_devices == 1
    return axes.manual_axes == frozenset(axes.mesh.axis_names)
