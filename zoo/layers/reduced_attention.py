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
    """Spatial-reduction attention: tokens attend to patches of their grid, [B, N, C] -> [B, N, C].

    Attributes:
      num_heads: Number of attention heads; divides C.
      ratio: Side, in tokens, of the patches that give one key and value each; 1 for no reduction.
      grid: (H, W) of the tokens, N = H * W; needed for ratios above 1 only.
      dropout: Dropout rate after the output projection.
      dtype: Dtype of the computation; the softmax is in float32 or wider.
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
        """Keys and values come from `source`, [B, M, C], or from `x` where it is None."""
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
        projections = (query, *jnp.split(key_value, 2, axis=-1))
        x = merge_heads(attend(self, *(split_heads(y, self.num_heads) for y in projections)))
        x = dense(width, name="proj")(x)
        return nn.Dropout(self.dropout, deterministic=not train)(x)
