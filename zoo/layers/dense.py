"""The dense layer of every family: `nn.Dense`'s parameters and numbers, fast on CPU as well."""

import functools
import string

from flax import linen as nn
from jax import lax

from zoo.kernels import platform
from zoo.kernels.einsum import einsum
from zoo.layers import initializers

__all__ = ["Dense", "einsum"]


def _dot_general(inputs, kernel, dimensions, precision=None, **settings):
    """`lax.dot_general` for `nn.Dense`: [..., C] and [C, F] -> [..., F]."""
    is_dense = dimensions == (((inputs.ndim - 1,), (0,)), ((), ()))
    is_cpu = platform.form(inputs, kernel) == platform.CPU
    if precision is not None or settings or not is_dense or not is_cpu:
        return lax.dot_general(inputs, kernel, dimensions, precision=precision, **settings)
    *rows, inner, features = string.ascii_lowercase[: inputs.ndim + 1]
    rows = "".join(rows)
    return einsum(f"{rows}{inner},{inner}{features}->{rows}{features}", inputs, kernel)


Dense = functools.partial(
    nn.Dense, kernel_init=initializers.lecun_normal(), dot_general=_dot_general
)
