"""Attention whose keys are fewer than its queries (PVT, Wang et al. 2021, arXiv:2102.12122)."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from zoo.layers.attention import attend, merge_heads, split_heads
from zoo.layers.conv import Conv
from zoo.layers.dense import Dense
from zoo.layers.position import trunc_normal


class ReducedAttention(nn.Module):
    """Tokens attend to patches of their grid, [B, N, C] -> [B, N, C].

    Attributes:
      num_heads: divides C.
      ratio: side of the patches, each of which makes one key and value; 1 for one of each token.
      grid: (H, W) where the tokens are a grid of H * W; needed for ratios above 1 only.
      dropout: rate after the output projection.
      dtype: of the computation; the softmax is in float32 or wider.
    """

    num_heads: int
    ratio: int = 1
    grid: tuple[int, int] | None = None
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: jax.Array, source: jax.Array | None = None, *, train: bool = False
    ) -> jax.Array:
        """`source`, [B, M, C], are other tokens to take keys and values from."""
        batch, _, width = x.shape
        source = x if source is None else source
        if self.ratio > 1:
            patches = source.reshape(batch, *(self.grid or ()), width)
            window = (self.ratio, self.ratio)
            reduce = Conv(
                width, window, window, padding="VALID", dtype=self.dtype, name="reduce_conv"
            )
            source = reduce(patches).reshape(batch, -1, width)  # [B, N / ratio**2, C]
            source = nn.LayerNorm(1e-5, self.dtype, name="reduce_norm")(source)
        dense = partial(Dense, dtype=self.dtype, kernel_init=trunc_normal)
        query, key_value = dense(width, name="q")(x), dense(2 * width, name="kv")(source)
        parts = (query, *jnp.split(key_value, 2, axis=-1))
        x = merge_heads(attend(self, *(split_heads(part, self.num_heads) for part in parts)))
        x = dense(width, name="proj")(x)
        return nn.Dropout(self.dropout, deterministic=not train)(x)
