"""CvT: pyramid transformers with convolutional token embeddings and attention projections.

CvT: Introducing Convolutions to Vision Transformers, Wu et al. 2021, arXiv:2103.15808, Table 2.
Reference: the authors' microsoft/CvT `lib/models/cls_cvt.py`, configurations `cvt-13-224x224` and
`cvt-21-224x224`.

Differences from the paper, all as in the reference: attention is scaled by 1 / sqrt(C) of all heads
together, not of one; the MLP's GELU is approximated by x * sigmoid(1.702 x). There are no position
embeddings, so any image size will do.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from zoo.layers.attention import attend, merge_heads, split_heads
from zoo.layers.blocks import run_stage
from zoo.layers.conv import Conv
from zoo.layers.dense import Dense
from zoo.layers.drop_path import DropPath, drop_path_rates
from zoo.layers.head import classify
from zoo.layers.image_input import takes_images
from zoo.layers.mlp import Mlp
from zoo.layers.position import trunc_normal
from zoo.layers.tokens import normalized_patches, prepend_tokens
from zoo.registry import Family


def quick_gelu(x: jax.Array) -> jax.Array:
    """The approximation x * sigmoid(1.702 x) of GELU."""
    return x * nn.sigmoid(1.702 * x)


class ConvAttention(nn.Module):
    """Self-attention with convolutional projections, [B, N, C] -> [B, N, C].

    Queries, keys and values are depthwise convolutions of the grid of tokens, then a dense layer.

    Attributes:
      num_heads: Number of attention heads; divides C.
      grid: (H, W) of the last H * W tokens; a class token before them skips the convolutions.
      dropout: Dropout rate after the output projection.
      dtype: Dtype of the computation; the softmax is in float32 or wider.
    """

    num_heads: int
    grid: tuple[int, int]
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        width = x.shape[-1]
        query = self.project(x, "q", strides=1, train=train)
        key = self.project(x, "k", strides=2, train=train)  # a quarter of the tokens
        value = self.project(x, "v", strides=2, train=train)
        x = merge_heads(attend(self, query, key, value, scale=width**-0.5))
        x = Dense(width, dtype=self.dtype, kernel_init=trunc_normal, name="proj")(x)
        return nn.Dropout(self.dropout, deterministic=not train)(x)

    def project(self, x: jax.Array, name: str, *, strides: int, train: bool) -> jax.Array:
        """Depthwise 3x3 convolution, BatchNorm, dense layer.

        [B, N, C] -> [B, N or about N / 4, heads, C / heads].
        """
        (height, width), (batch, _, features) = self.grid, x.shape
        tokens, grid = jnp.split(x, [x.shape[1] - height * width], axis=1)
        grid = grid.reshape(batch, height, width, features)
        depthwise = partial(Conv, feature_group_count=features, use_bias=False, dtype=self.dtype)
        grid = depthwise(features, (3, 3), strides, padding=1, name=f"{name}_conv")(grid)
        norm = nn.BatchNorm(not train, momentum=0.9, dtype=self.dtype, name=f"{name}_norm")
        x = jnp.concatenate([tokens, norm(grid).reshape(batch, -1, features)], axis=1)
        x = Dense(features, dtype=self.dtype, kernel_init=trunc_normal, name=name)(x)
        return split_heads(x, self.num_heads)


class Block(nn.Module):
    """Attention and MLP as pre-norm residual branches, [B, N, C] -> [B, N, C].

    Attributes:
      num_heads: Number of attention heads; divides C.
      grid: (H, W) of the last H * W tokens.
      drop_path: Drop path rate of either branch.
      dropout: Dropout rate after attention and in the MLP.
      dtype: Dtype of the computation.
    """

    num_heads: int
    grid: tuple[int, int]
    drop_path: float | jax.Array = 0.0
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        norm = partial(nn.LayerNorm, epsilon=1e-5, dtype=self.dtype)
        settings: dict[str, Any] = dict(dropout=self.dropout, dtype=self.dtype)
        attention = ConvAttention(self.num_heads, self.grid, **settings, name="attention")
        y = attention(norm(name="norm1")(x), train=train)
        x = x + DropPath(self.drop_path)(y, train=train)
        y = norm(name="norm2")(x)
        mlp = partial(Mlp, act=quick_gelu, kernel_init=trunc_normal, **settings, name="mlp")
        y = mlp(4 * x.shape[-1])(y, train=train)
        return x + DropPath(self.drop_path)(y, train=train)


class CvT(nn.Module):
    """CvT, images [B, H, W, C] of any size from 3 up -> logits [B, num_classes].

    Attributes:
      depths: Number of blocks in each of the three stages.
      dims: Width of a token in each stage.
      num_heads: Number of attention heads in each block, by stage.
      num_classes: Number of classes; 0 removes the head and returns the class token [B, C].
      dropout: Dropout rate before the blocks, after attention and in the MLPs.
      drop_path: Stochastic depth rate of the last block, growing linearly from 0 in the first of
        the last stage, the other stages having none; or one rate for each stage, such as the
        paper's (0.0, 0.0, 0.1).
      scan: Whether to compile equal blocks once, as a scan over stacked parameters; see
        zoo.layers.blocks.
      remat: Whether to rematerialize block activations in the backward pass.
      dtype: Dtype of the computation; parameters, softmax, normalisation statistics and logits stay
        float32.
    """

    depths: Sequence[int]
    dims: Sequence[int] = (64, 192, 384)
    num_heads: Sequence[int] = (1, 3, 6)
    num_classes: int = 1000
    dropout: float = 0.0
    drop_path: float | Sequence[float] = 0.0
    scan: bool = False
    remat: bool = False
    dtype: Any = jnp.float32

    @takes_images(at_least=3)
    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        run = partial(run_stage, train=train, scan=self.scan, remat=self.remat)
        drop_path = self.drop_path
        if isinstance(drop_path, float | int):
            drop_path = [0.0] * (len(self.depths) - 1) + [drop_path]

        # Stages: overlapping patches, a class token in the last, blocks
        x = images
        for i, depth in enumerate(self.depths, 1):
            name, size, strides = ("stem", 7, 4) if i == 1 else (f"stage{i}_patch", 3, 2)
            settings: dict[str, Any] = dict(padding=strides // 2, name=name, dtype=self.dtype)
            x = normalized_patches(x, self.dims[i - 1], size, strides, **settings)
            # [B, H/4, W/4, C], and half the sides in each further stage
            if i == 1:
                self.sow("intermediates", "stem", x)
            (batch, *grid, width), is_last = x.shape, i == len(self.depths)
            x = x.reshape(batch, -1, width)  # [B, N, C]
            if is_last:
                x = prepend_tokens(self, x, "class_token")  # [B, 1 + N, C]
            x = nn.Dropout(self.dropout, deterministic=not train)(x)
            block = partial(Block, self.num_heads[i - 1], (grid[0], grid[1]), dropout=self.dropout)
            block = partial(block, dtype=self.dtype)
            rates = drop_path_rates(drop_path[i - 1], depth)
            tokens = run([block], x, rates, prefix=f"stage{i}_")
            x = tokens[:, int(is_last) :].reshape(batch, *grid, width)
            self.sow("intermediates", f"stage{i}", x)

        # Head
        x = nn.LayerNorm(1e-5, self.dtype, name="norm")(tokens[:, 0])  # [B, C]
        return classify(self, x, self.num_classes, self.dtype, kernel_init=trunc_normal)


family = Family(
    "cvt",
    dict(
        paper="CvT: Introducing Convolutions to Vision Transformers, arXiv:2103.15808",
        year=2021,
        accuracy_source="microsoft/CvT",
        interpolation="bicubic",
    ),
)


@family.variant(reference="microsoft/CvT cvt-13-224x224", top1=81.6)
def cvt_13(**kwargs) -> CvT:
    """19,997,480 parameters, 4.57 G multiply-adds, 81.6 % top-1."""
    return CvT((1, 2, 10), **kwargs)


@family.variant(reference="microsoft/CvT cvt-21-224x224", top1=82.5)
def cvt_21(**kwargs) -> CvT:
    """31,622,696 parameters, 7.18 G multiply-adds, 82.5 % top-1."""
    return CvT((1, 4, 16), **kwargs)


family.checkpoint_keys(
    "microsoft/CvT",
    (
        (r"^class_token$", "stage2/cls_token"),
        (r"^stem_(conv|norm)$", r"stage1_patch_\1"),
        (r"^stage(\d)_patch_conv$", r"stage\1-1/patch_embed/proj"),
        (r"^stage(\d)_patch_norm$", r"stage\1-1/patch_embed/norm"),
        (r"^stage(\d)_block(\d+)/", r"stage\1-1/blocks/\2-1/"),
        (r"/attention/", "/attn/"),
        (r"/attn/([qkv])$", r"/attn/proj_\1"),
        (r"/attn/([qkv])_conv$", r"/attn/conv_proj_\1/conv"),
        (r"/attn/([qkv])_norm$", r"/attn/conv_proj_\1/bn"),
    ),
)
