"""ResT: a pyramid of transformers with few keys, whose heads talk before the softmax.

ResT: An Efficient Transformer for Visual Recognition, Zhang and Yang 2021, arXiv:2105.13677,
Table 1. Reference: the authors' wofmanaf/ResT `models/rest.py`.

Differences from the paper: none known. The repository calls it ResTv1.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from zoo.layers.attention import attend, merge_heads, sow_map, split_heads
from zoo.layers.blocks import run_stage
from zoo.layers.conv import Conv
from zoo.layers.dense import Dense, einsum
from zoo.layers.drop_path import DropPath, stage_drop_path_rates
from zoo.layers.head import classify, pool_head_map
from zoo.layers.image_input import takes_images
from zoo.layers.mlp import Mlp
from zoo.layers.position import trunc_normal
from zoo.registry import Family

conv = partial(Conv, kernel_init=trunc_normal)


class TalkingAttention(nn.Module):
    """Talking-heads attention to a coarser grid: heads mix their logits. [B, N, C] -> [B, N, C].

    Attributes:
      num_heads: Number of attention heads; divides C. One head is plain attention.
      ratio: Factor by which the grid of the keys is coarser.
      grid: Height and width (H, W) of the grid of tokens.
      dropout: Dropout rate after the output projection.
      dtype: Dtype of the computation; softmax and normalisation are in float32 or wider.
    """

    num_heads: int
    ratio: int
    grid: tuple[int, int]
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        batch, _, width = x.shape
        dense = partial(Dense, dtype=self.dtype, kernel_init=trunc_normal)
        reduced = x
        if self.ratio > 1:
            window = (self.ratio + 1, self.ratio + 1)
            depthwise = partial(conv, feature_group_count=width, padding=self.ratio // 2)
            depthwise = partial(depthwise, dtype=self.dtype, name="reduce_conv")
            reduced = depthwise(width, window, self.ratio)(x.reshape(batch, *self.grid, width))
            reduced = reduced.reshape(batch, -1, width)  # [B, N / ratio**2, C]
            reduced = nn.LayerNorm(1e-5, self.dtype, name="reduce_norm")(reduced)
        qkv = (dense(width, name="q")(x), *jnp.split(dense(2 * width, name="kv")(reduced), 2, -1))
        query, key, value = (split_heads(tokens, self.num_heads) for tokens in qkv)
        if self.num_heads == 1:
            x = attend(self, query, key, value)
        else:
            x = self.talking_heads(query, key, value)
        x = dense(width, name="proj")(merge_heads(x))
        return nn.Dropout(self.dropout, deterministic=not train)(x)

    def talking_heads(self, query: jax.Array, key: jax.Array, value: jax.Array) -> jax.Array:
        """Attention whose maps are normalised after the softmax, to zero mean and unit variance.

        [B, N, heads, D] -> [B, N, heads, D].
        """
        dtype = jnp.promote_types(query.dtype, jnp.float32)
        logits = einsum("bnhd,bmhd->bnmh", query, key, preferred_element_type=dtype)
        talk = Dense(self.num_heads, dtype=dtype, kernel_init=trunc_normal, name="talk")
        logits = talk(logits * query.shape[-1] ** -0.5)
        weights = nn.softmax(logits, axis=2)  # [B, N, M, heads]
        sow_map(self, weights.transpose(0, 3, 1, 2))
        mean = jnp.mean(weights, axis=(1, 2), keepdims=True)
        variance = jnp.var(weights, axis=(1, 2), keepdims=True)
        weights = (weights - mean) * jax.lax.rsqrt(variance + 1e-5)
        return einsum("bnmh,bmhd->bnhd", weights.astype(value.dtype), value)


class Block(nn.Module):
    """Pre-norm residual block of attention and MLP. [B, N, C] -> [B, N, C].

    Attributes:
      num_heads: Number of attention heads; divides C.
      ratio: Factor by which the grid of the keys is coarser.
      grid: Height and width (H, W) of the grid of tokens.
      drop_path: Drop path rate of either branch.
      dropout: Dropout rate after attention and in the MLP.
      dtype: Dtype of the computation.
    """

    num_heads: int
    ratio: int
    grid: tuple[int, int]
    drop_path: float | jax.Array = 0.0
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        norm = partial(nn.LayerNorm, epsilon=1e-5, dtype=self.dtype)
        settings: dict[str, Any] = dict(dropout=self.dropout, dtype=self.dtype)
        shape = (self.num_heads, self.ratio, self.grid)
        y = norm(name="norm1")(x)
        y = TalkingAttention(*shape, **settings, name="attention")(y, train=train)
        x = x + DropPath(self.drop_path)(y, train=train)
        y = norm(name="norm2")(x)
        mlp = partial(Mlp, kernel_init=trunc_normal, **settings, name="mlp")
        y = mlp(4 * x.shape[-1])(y, train=train)
        return x + DropPath(self.drop_path)(y, train=train)


class ResT(nn.Module):
    """Images [B, H, W, C] of any size -> logits [B, num_classes].

    Attributes:
      depths: Number of blocks in each of the four stages.
      dims: Width of the tokens in each stage.
      num_heads: Number of attention heads in each stage.
      ratios: Factor by which the grid of the keys is coarser, in each stage.
      num_classes: Number of classes; 0 removes the head and returns the pooled features [B, C].
      dropout: Dropout rate after attention and in the MLPs.
      drop_path: Stochastic depth rate of the last block, growing linearly from 0 in the first.
      scan: Whether to compile equal blocks once, as a scan over stacked parameters; see
        zoo.layers.blocks.
      remat: Whether to rematerialize block activations in the backward pass.
      dtype: Dtype of the computation; parameters, softmax, normalisation statistics and logits stay
        float32.
    """

    depths: Sequence[int]
    dims: Sequence[int] = (64, 128, 256, 512)
    num_heads: Sequence[int] = (1, 2, 4, 8)
    ratios: Sequence[int] = (8, 4, 2, 1)
    num_classes: int = 1000
    dropout: float = 0.0
    drop_path: float = 0.0
    scan: bool = False
    remat: bool = False
    dtype: Any = jnp.float32

    @takes_images()
    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        norm = partial(nn.BatchNorm, use_running_average=not train, momentum=0.9, dtype=self.dtype)
        run = partial(run_stage, train=train, scan=self.scan, remat=self.remat)

        # Stem
        stem = partial(conv, padding=1, use_bias=False, dtype=self.dtype)
        x = stem(self.dims[0] // 2, (3, 3), 2, name="stem_conv1")(images)  # [B, H/2, W/2, C/2]
        x = nn.relu(norm(name="stem_norm1")(x))
        x = stem(self.dims[0] // 2, (3, 3), name="stem_conv2")(x)
        x = nn.relu(norm(name="stem_norm2")(x))
        x = stem(self.dims[0], (3, 3), 2, name="stem_conv3")(x)  # [B, H/4, W/4, C]
        x = self.pixel_attention(x, "stem_position_conv")
        self.sow("intermediates", "stem", x)

        # Stages
        for i, rates in enumerate(stage_drop_path_rates(self.drop_path, self.depths), 1):
            if i > 1:  # [B, H/8, W/8, 2C], and so on
                name, features = f"stage{i}_patch", self.dims[i - 1]
                patch_conv = partial(conv, padding=1, dtype=self.dtype, name=f"{name}_conv")
                x = norm(name=f"{name}_norm")(patch_conv(features, (3, 3), 2)(x))
                x = self.pixel_attention(x, f"stage{i}_position_conv")
            batch, *grid, width = x.shape
            block = partial(Block, self.num_heads[i - 1], self.ratios[i - 1], (grid[0], grid[1]))
            block = partial(block, dropout=self.dropout, dtype=self.dtype)
            x = x.reshape(batch, -1, width)  # [B, N, C]
            x = run([block], x, rates, prefix=f"stage{i}_")
            x = x.reshape(batch, *grid, width)
            self.sow("intermediates", f"stage{i}", x)

        # Head
        x = nn.LayerNorm(1e-5, self.dtype, name="norm")(x)
        x = pool_head_map(self, x)  # [B, C]
        return classify(self, x, self.num_classes, self.dtype, kernel_init=trunc_normal)

    def pixel_attention(self, x: jax.Array, name: str) -> jax.Array:
        """Gates each value by a sigmoid of its 3x3 neighbourhood, [B, H, W, C] -> [B, H, W, C].

        The zeros beyond the border tell where a token is.
        """
        gate = partial(conv, feature_group_count=x.shape[-1], padding=1, dtype=self.dtype)
        return x * nn.sigmoid(gate(x.shape[-1], (3, 3), name=name)(x))


family = Family(
    "rest",
    dict(
        paper="ResT: An Efficient Transformer for Visual Recognition, arXiv:2105.13677",
        year=2021,
        accuracy_source="wofmanaf/ResT",
        interpolation="bicubic",
    ),
)


@family.variant(reference="wofmanaf/ResT rest_lite", top1=77.2, top5=93.7)
def rest_lite(**kwargs) -> ResT:
    """10,508,300 parameters, 1.53 G multiply-adds, 77.2 % top-1."""
    return ResT((2, 2, 2, 2), **kwargs)


@family.variant(reference="wofmanaf/ResT rest_small", top1=79.6, top5=94.9)
def rest_small(**kwargs) -> ResT:
    """13,679,708 parameters, 2.09 G multiply-adds, 79.6 % top-1."""
    return ResT((2, 2, 6, 2), **kwargs)


@family.variant(reference="wofmanaf/ResT rest_base", top1=81.6, top5=95.7)
def rest_base(**kwargs) -> ResT:
    """30,327,052 parameters, 4.63 G multiply-adds, 81.6 % top-1."""
    return ResT((2, 2, 6, 2), (96, 192, 384, 768), **kwargs)


@family.variant(reference="wofmanaf/ResT rest_large", top1=83.6, top5=96.3)
def rest_large(**kwargs) -> ResT:
    """51,676,156 parameters, 8.36 G multiply-adds, 83.6 % top-1."""
    return ResT((2, 2, 18, 2), (96, 192, 384, 768), **kwargs)


family.checkpoint_keys(
    "wofmanaf/ResT",
    (
        (r"^stem_((conv|norm)\d)$", r"stem/\1"),
        (r"^stem_position_conv$", "stem/pos/pa_conv"),
        (r"^stage(\d)_patch_(conv|norm)$", r"patch_embed_\1/\2"),
        (r"^stage(\d)_position_conv$", r"patch_embed_\1/pos/pa_conv"),
        (r"^stage(\d)_block(\d+)/", r"stage\1/\2-1/"),
        (r"/attention/", "/attn/"),
        (r"/reduce_conv$", "/sr"),
        (r"/reduce_norm$", "/sr_norm"),
        (r"/talk$", "/transform_conv"),
    ),
    dense_as_conv1x1=(r"stage\d_block\d+/attention/talk",),
)
