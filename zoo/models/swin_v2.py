"""Swin V2: Swin with cosine attention, biases from a network, and norms at the branches' ends.

Swin Transformer V2: Scaling Up Capacity and Resolution, Liu et al. 2021, arXiv:2111.09883,
section 3. Reference: torchvision `swin_v2_t`, `swin_v2_s`, `swin_v2_b`.

Differences from the paper: a head's temperature is kept as the logarithm of its inverse, at most
log(100); the bias is 16 * sigmoid of the network's output. Both are in the authors' code, too.
"""

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from zoo.layers.attention import attend, heads, merged
from zoo.layers.dense import Dense
from zoo.layers.drop_path import DropPath
from zoo.layers.mlp import Mlp
from zoo.layers.position import trunc_normal
from zoo.models.swin import (
    CONSTANTS,
    TORCHVISION,
    Swin,
    neighbours,
    relative_index,
    shifted_windows,
)
from zoo.registry import Family


class WindowAttention(nn.Module):
    """Tokens of a window attend by the cosine of query and key. [B, H, W, C] -> [B, H, W, C].

    Attributes:
      num_heads: divides C.
      window: its side, in tokens.
      shifted: whether the windows are those of the plain grid, or half a window further.
      dropout: rate after the output projection.
      dtype: of the computation; cosines and the softmax are in float32 or wider.
    """

    num_heads: int
    window: int
    shifted: bool
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        dense = partial(Dense, dtype=self.dtype, kernel_init=trunc_normal)
        channels = x.shape[-1]
        x, apart, restore = shifted_windows(x, self.window, self.shifted)  # [B * n, N, C]
        qkv = dense(3 * channels, use_bias=False, name="qkv")(x)
        # The reference has a bias for the keys as well, and sets it to zero.
        bias = self.param("qkv_bias", nn.initializers.zeros, (3 * channels,))
        bias = bias * np.repeat((1, 0, 1), channels)
        qkv = qkv + bias.astype(qkv.dtype).reshape(1, 1, -1)
        query, key, value = (heads(part, self.num_heads) for part in jnp.split(qkv, 3, axis=-1))
        scale = self.param("logit_scale", nn.initializers.constant(math.log(10)), (self.num_heads,))
        scale = jnp.exp(jnp.minimum(scale, math.log(100))).reshape(1, 1, self.num_heads, 1)
        query, key = (scale * unit(query)).astype(x.dtype), unit(key).astype(x.dtype)
        bias = self.relative_bias()
        bias = bias if apart is None else bias + apart  # [B * n, heads, N, N]
        x = merged(attend(self, query, key, value, bias=bias, scale=1.0))
        x = dense(channels, name="proj")(x)
        return nn.Dropout(self.dropout, deterministic=not train)(restore(x))

    def relative_bias(self) -> jax.Array:
        """A network's function of the offset between two tokens: [1, heads, N, N]."""
        dense = partial(Dense, kernel_init=trunc_normal)
        offsets = jnp.asarray(log_offsets(self.window), jnp.promote_types(self.dtype, jnp.float32))
        hidden = nn.relu(dense(512, name="bias_fc1")(offsets))
        table = dense(self.num_heads, use_bias=False, name="bias_fc2")(hidden)
        bias = 16 * nn.sigmoid(table[relative_index(self.window)])
        return bias.transpose(2, 0, 1)[None]


def unit(x: jax.Array) -> jax.Array:
    """Vectors [..., D] divided by their length, in float32 or wider; zeros stay zeros."""
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    return x * jax.lax.rsqrt(jnp.maximum(jnp.square(x).sum(-1, keepdims=True), 1e-24))


def log_offsets(side: int) -> np.ndarray:
    """A window's (2 * side - 1)^2 offsets of rows and columns on a logarithmic scale, up to 1."""
    offsets = np.arange(1 - side, side) * 8 / max(1, side - 1)
    offsets = np.sign(offsets) * np.log2(np.abs(offsets) + 1) / 3
    return np.stack(np.meshgrid(offsets, offsets, indexing="ij"), axis=-1).reshape(-1, 2)


class Block(nn.Module):
    """Attention in windows and MLP, each before a LayerNorm and beside a shortcut.

    [B, H, W, C] -> [B, H, W, C]. Attributes as those of `WindowAttention`; `drop_path` is the rate
    of either branch.
    """

    num_heads: int
    window: int
    shifted: bool
    drop_path: float | jax.Array = 0.0
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        norm = partial(nn.LayerNorm, epsilon=1e-5, dtype=self.dtype)
        settings = dict(dropout=self.dropout, dtype=self.dtype)
        attention = WindowAttention(
            self.num_heads, self.window, self.shifted, **settings, name="attention"
        )
        mlp = Mlp(4 * x.shape[-1], kernel_init=trunc_normal, **settings, name="mlp")
        y = norm(name="norm1")(attention(x, train=train))
        x = x + DropPath(self.drop_path, name="drop_path1")(y, train=train)
        y = norm(name="norm2")(mlp(x, train=train))
        return x + DropPath(self.drop_path, name="drop_path2")(y, train=train)


class Merging(nn.Module):
    """Two by two tokens become one. [B, H, W, C] -> [B, H/2, W/2, 2 * C]; odd sides are padded."""

    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        dense = partial(Dense, dtype=self.dtype, kernel_init=trunc_normal)
        x = dense(2 * x.shape[-1], use_bias=False, name="reduction")(neighbours(x))
        return nn.LayerNorm(1e-5, self.dtype, name="norm")(x)


family = Family(
    "swin_v2",
    dict(
        paper="Swin Transformer V2: Scaling Up Capacity and Resolution, arXiv:2111.09883",
        year=2021,
        image_size=256,
        source="torchvision, weights IMAGENET1K_V1",
        interpolation="bicubic",
    ),
    redundant=CONSTANTS,
)
SwinV2 = partial(Swin, window=8, block=Block, merging=Merging)


@family.variant(reference="torchvision swin_v2_t", top1=82.072, top5=96.132, crop=256 / 260)
def swin_v2_t(**kwargs) -> Swin:
    """28,351,570 parameters, 5.94 G multiply-adds, 82.1 % top-1."""
    return SwinV2((2, 2, 6, 2), 96, (3, 6, 12, 24), **kwargs)


@family.variant(reference="torchvision swin_v2_s", top1=83.712, top5=96.816, crop=256 / 260)
def swin_v2_s(**kwargs) -> Swin:
    """49,737,442 parameters, 11.55 G multiply-adds, 83.7 % top-1."""
    return SwinV2((2, 2, 18, 2), 96, (3, 6, 12, 24), **kwargs)


@family.variant(reference="torchvision swin_v2_b", top1=84.112, top5=96.864, crop=256 / 272)
def swin_v2_b(**kwargs) -> Swin:
    """87,930,848 parameters, 20.33 G multiply-adds, 84.1 % top-1."""
    return SwinV2((2, 2, 18, 2), 128, (4, 8, 16, 32), **kwargs)


family.naming(
    "torchvision",
    (
        *TORCHVISION,
        (r"/qkv_bias$", "/qkv/bias"),
        (r"/bias_fc1$", "/cpb_mlp/0"),
        (r"/bias_fc2$", "/cpb_mlp/2"),
    ),
    pointwise=(r".*/logit_scale",),
)
