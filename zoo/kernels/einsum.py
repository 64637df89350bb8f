"""`jnp.einsum` of two arrays, fast on CPU as well.

XLA's matrix products on CPU are a fifth slower than oneDNN's, and those of attention, which are
many small ones, several times. In programs for CPU the product is a primitive, and so are its
gradients: they are products with the subscripts of the result and an operand exchanged.
"""

import math
import string

import jax
import jax.numpy as jnp
from jax.interpreters import ad, batching

from zoo.kernels import bilinear, onednn, platform

# Products of fewer multiply-adds XLA finishes sooner than oneDNN.
FEWEST_PRODUCTS = 2**20


def einsum(subscripts: str, first: jax.Array, second: jax.Array, **settings) -> jax.Array:
    """`jnp.einsum` of two arrays.

    Args:
      subscripts: Explicit subscripts such as "bnhd,bmhd->bhnm", each letter in at least two of the
        three places.
      first, second: The operands.
      **settings: Further arguments of `jnp.einsum`.

    Raises:
      ValueError: The subscripts do not fit the shapes.
    """
    if settings.get("preferred_element_type") == jnp.float32 == first.dtype:
        del settings["preferred_element_type"]
    is_float32 = first.dtype == second.dtype == jnp.float32
    if settings or not is_float32 or platform.form(first, second) != platform.CPU:
        return jnp.einsum(subscripts, first, second, **settings)
    operands, result = subscripts.split("->")
    first, second = bilinear.match_varying_axes(first, second)
    return _einsum.bind(first, second, axes=(*operands.split(","), result))


def _shape(first, second, *, axes) -> list[int]:
    sizes = {}
    for letters, array in zip(axes, (first, second), strict=False):
        if len(letters) != array.ndim:
            raise ValueError(f'"{letters}" does not fit an array of shape {array.shape}.')
        for letter, size in zip(letters, array.shape, strict=True):
            if sizes.setdefault(letter, size) != size:
                raise ValueError(f'"{letter}" of {axes} is both {sizes[letter]} and {size}.')
    return [sizes[letter] for letter in axes[2]]


def _native(first, second, *, axes):
    return jnp.einsum("{},{}->{}".format(*axes), first, second)


def _on_cpu(ffi_calls_allowed, first, second, result, *, axes):
    fits = ffi_calls_allowed and onednn.supports(first, second, result)
    if not fits or not onednn.is_matrix_product(axes):
        return _native
    sizes = dict(zip(axes[0] + axes[1], first.shape + second.shape, strict=True))
    return onednn.matrix_product if math.prod(sizes.values()) >= FEWEST_PRODUCTS else _native


def _batch(arrays, dims, *, axes):
    """Batching rule: the axis that `vmap` maps gets a new letter."""
    new = next(letter for letter in string.ascii_letters if letter not in "".join(axes))
    names = [
        name if dim is None else name[:dim] + new + name[dim:]
        for name, dim in zip(axes, dims, strict=False)
    ]
    return _einsum.bind(*arrays, axes=(*names, new + axes[2])), 0


_einsum = bilinear.define("einsum", _shape, _native, _on_cpu, ["axes"])
batching.primitive_batchers[_einsum] = _batch
ad.defbilinear(
    _einsum,
    lambda ct, first, second, axes: _einsum.bind(ct, second, axes=(axes[2], axes[1], axes[0])),
    lambda ct, first, second, axes: _einsum.bind(first, ct, axes=(axes[0], axes[2], axes[1])),
)
