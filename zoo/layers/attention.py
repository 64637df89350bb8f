"""Multi-head attention (Vaswani et al. 2017, arXiv:1706.03762) of tokens [B, N, C]."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from zoo.kernels import platform
from zoo.kernels.einsum import einsum
from zoo.layers import initializers
from zoo.layers.dense import Dense

xavier = initializers.xavier_uniform()


class SelfAttention(nn.Module):
    """Multi-head self-attention, [B, N, C] -> [B, N, C].

    Attributes:
      num_heads: Number of attention heads; divides C.
      qkv_bias: Whether queries, keys and values have biases.
      dropout: Dropout rate after the output projection.
      dtype: Dtype of the computation; the softmax is in float32 or wider.
      kernel_init: Initializer of both dense kernels.
    """

    num_heads: int
    qkv_bias: bool = True
    dropout: float = 0.0
    dtype: Any = jnp.float32
    kernel_init: Callable[..., jax.Array] = xavier

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        width = x.shape[-1]
        dense = partial(Dense, dtype=self.dtype, kernel_init=self.kernel_init)
        qkv = dense(3 * width, self.qkv_bias, name="qkv")(x)
        x = merge_heads(attend(self, *split_qkv(qkv, self.num_heads)))
        x = dense(width, name="proj")(x)
        return nn.Dropout(self.dropout, deterministic=not train)(x)


def split_heads(x: jax.Array, num_heads: int) -> jax.Array:
    """Splits the channels into heads, [B, N, C] -> [B, N, heads, C / heads]."""
    return x.reshape(*x.shape[:-1], num_heads, -1)


def split_qkv(qkv: jax.Array, num_heads: int) -> list[jax.Array]:
    """Splits a joint projection into query, key and value, each split into heads.

    [B, N, 3 * C] -> three of [B, N, heads, C / heads].
    """
    return [split_heads(x, num_heads) for x in jnp.split(qkv, 3, axis=-1)]


def merge_heads(x: jax.Array) -> jax.Array:
    """Joins the heads' channels, [B, N, heads, C / heads] -> [B, N, C]."""
    return x.reshape(*x.shape[:-2], -1)


def attend(
    module: nn.Module,
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    *,
    bias: jax.Array | None = None,
    scale: float | None = None,
) -> jax.Array:
    """Scaled dot-product attention: softmax(query key^T * scale + bias) value.

    Args:
      module: The calling layer; its attention map is sown where `zoo.features` asks for it.
      query: Queries, [B, N, heads, D].
      key, value: Keys and values, [B, M, heads, D].
      bias: Added to the logits, broadcast to [B, heads, N, M]; -inf (or very negative) masks.
      scale: Factor of the logits, 1 / sqrt(D) by default.

    Returns:
      [B, N, heads, D].
    """
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    if query.dtype == jnp.float16 and platform.form(query) != platform.NATIVE:
        # XLA on CPU has no product of float16 that is summed in float32.
        query, key = query.astype(jnp.float32), key.astype(jnp.float32)
    # JAX's own function is for half precision; it computes the softmax of float64 in float32.
    if query.dtype.itemsize < 4 and not _maps_wanted(module):
        return jax.nn.dot_product_attention(query, key, value, bias=bias, scale=scale)
    logits_dtype = jnp.promote_types(query.dtype, jnp.float32)
    logits = einsum("bnhd,bmhd->bhnm", query, key, preferred_element_type=logits_dtype) * scale
    weights = nn.softmax(logits if bias is None else logits + bias)
    sow_map(module, weights)
    return einsum("bhnm,bmhd->bnhd", weights.astype(value.dtype), value)


def sow_map(module: nn.Module, weights: jax.Array) -> None:
    """Sows an attention map [B, heads, N, M] for `zoo.features(..., at="attention")`."""
    if _maps_wanted(module):
        module.sow("attention", "map", weights)


def _maps_wanted(module: nn.Module) -> bool:
    return module.is_mutable_collection("attention") and not module.is_initializing()
