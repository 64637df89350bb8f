"""PVT v2: PVT with overlapping patches, and convolutions in its MLPs instead of positions.

PVT v2: Improved Baselines with Pyramid Vision Transformer, Wang et al. 2021, arXiv:2106.13797,
Table 1. Reference: timm `pvt_v2_b0` ... `pvt_v2_b5`, `pvt_v2_b2_li`; the checkpoints of the
authors' whai362/PVT load too.

Differences from the paper: none known. Linear attention has a ReLU before the MLP's convolution,
as in both implementations.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from zoo.layers.blocks import run_stage
from zoo.layers.conv import Conv
from zoo.layers.dense import Dense
from zoo.layers.drop_path import DropPath, stage_drop_path_rates
from zoo.layers.head import classify, pool_head_map
from zoo.layers.image_input import takes_images
from zoo.layers.image_size import require_at_least
from zoo.layers.initializers import kaiming_fan_in, kaiming_fan_out
from zoo.layers.mlp import gelu
from zoo.layers.pool import adaptive_average_pool
from zoo.layers.position import trunc_normal
from zoo.layers.reduced_attention import ReducedAttention
from zoo.layers.tokens import normalized_patches
from zoo.registry import Family

POOL_SIZE = 7  # side of the grid of keys of linear attention


class ConvMlp(nn.Module):
    """MLP with a depthwise 3x3 convolution before its GELU. [B, H, W, C] -> [B, H, W, C].

    The zeros around the image tell the convolution, and so the network, where a token is.

    Attributes:
      hidden: Width between the dense layers.
      relu: Whether there is a ReLU before the convolution.
      dropout: Dropout rate after the activation and at the end.
      dtype: Dtype of the computation.
    """

    hidden: int
    relu: bool = False
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        dropout = nn.Dropout(self.dropout, deterministic=not train)
        dense = partial(Dense, dtype=self.dtype, kernel_init=trunc_normal)
        y = dense(self.hidden, name="fc1")(x)
        y = nn.relu(y) if self.relu else y
        depthwise = partial(Conv, feature_group_count=self.hidden, kernel_init=kaiming_fan_in)
        y = depthwise(self.hidden, (3, 3), padding=1, dtype=self.dtype, name="depthwise_conv")(y)
        return dropout(dense(x.shape[-1], name="fc2")(dropout(gelu(y))))


class Block(nn.Module):
    """Pre-norm residual block of attention to a coarser grid and MLP. [B, H, W, C] -> same.

    Attributes:
      num_heads: Number of attention heads; divides C.
      mlp_ratio: Width of the MLP's hidden layer over C.
      ratio: Side of the patches that make one key each, in tokens.
      linear: Whether keys are 7x7 averages instead, however large the image.
      drop_path: Drop path rate of either branch.
      dropout: Dropout rate after attention and in the MLP.
      dtype: Dtype of the computation.
    """

    num_heads: int
    mlp_ratio: int
    ratio: int
    linear: bool = False
    drop_path: float | jax.Array = 0.0
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        norm = partial(nn.LayerNorm, epsilon=1e-6, dtype=self.dtype)
        settings: dict[str, Any] = dict(dropout=self.dropout, dtype=self.dtype)
        batch, height, width, features = x.shape
        y = norm(name="norm1")(x)
        pooled = self.pooled_tokens(y) if self.linear else None  # [B, 49, C]
        ratio = 1 if self.linear else self.ratio
        attention = partial(ReducedAttention, self.num_heads, ratio, (height, width), **settings)
        y = y.reshape(batch, height * width, features)
        y = attention(name="attention")(y, pooled, train=train).reshape(x.shape)
        x = x + DropPath(self.drop_path)(y, train=train)
        y = norm(name="norm2")(x)
        y = ConvMlp(self.mlp_ratio * features, self.linear, **settings, name="mlp")(y, train=train)
        return x + DropPath(self.drop_path)(y, train=train)

    def pooled_tokens(self, x: jax.Array) -> jax.Array:
        """Returns the tokens that linear attention attends to, [B, H, W, C] -> [B, 49, C]."""
        batch, *_, features = x.shape
        conv = partial(Conv, kernel_init=kaiming_fan_out, dtype=self.dtype, name="reduce_conv")
        x = conv(features, (1, 1))(adaptive_average_pool(x, POOL_SIZE))
        x = x.reshape(batch, POOL_SIZE**2, features)
        return gelu(nn.LayerNorm(1e-5, self.dtype, name="reduce_norm")(x))


class PVTv2(nn.Module):
    """Images [B, H, W, C], 29 pixels each way and more -> logits [B, num_classes].

    With `linear`, images of any size.

    Attributes:
      depths: Number of blocks in each of the four stages.
      dims: Width of the tokens in each stage.
      mlp_ratios: Width of the MLP's hidden layer over that of the tokens, in each stage.
      linear: Whether keys are 7x7 averages, so that the cost of attention is linear in the number
        of pixels.
      num_heads: Number of attention heads in each stage.
      ratios: Side of the patches that make one key each, in tokens, in each stage; ignored with
        `linear`.
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
    dims: Sequence[int] = (64, 128, 320, 512)
    mlp_ratios: Sequence[int] = (8, 8, 4, 4)
    linear: bool = False
    num_heads: Sequence[int] = (1, 2, 5, 8)
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
        require_at_least(images, 1 if self.linear else 29, "PVT v2")
        run = partial(run_stage, train=train, scan=self.scan, remat=self.remat)

        # Stages: overlapping patches, blocks, LayerNorm
        x = images
        for i, rates in enumerate(stage_drop_path_rates(self.drop_path, self.depths), 1):
            name, size, strides = ("stem", 7, 4) if i == 1 else (f"stage{i}_patch", 3, 2)
            settings: dict[str, Any] = dict(
                kernel_init=kaiming_fan_out, name=name, dtype=self.dtype
            )
            x = normalized_patches(
                x, self.dims[i - 1], size, strides, padding=size // 2, **settings
            )  # [B, H/4, W/4, C], and half the sides in each further stage
            if i == 1:
                self.sow("intermediates", "stem", x)
            shape = (self.num_heads[i - 1], self.mlp_ratios[i - 1], self.ratios[i - 1], self.linear)
            block = partial(Block, *shape, dropout=self.dropout, dtype=self.dtype)
            x = run([block], x, rates, prefix=f"stage{i}_")
            x = nn.LayerNorm(1e-6, self.dtype, name=f"stage{i}_norm")(x)
            self.sow("intermediates", f"stage{i}", x)

        # Head
        x = pool_head_map(self, x)  # [B, C]
        return classify(self, x, self.num_classes, self.dtype, kernel_init=trunc_normal)


family = Family(
    "pvt_v2",
    dict(
        paper="PVT v2: Improved Baselines with Pyramid Vision Transformer, arXiv:2106.13797",
        year=2021,
        accuracy_source="timm, weights in1k",
        interpolation="bicubic",
        crop=0.9,
    ),
)


@family.variant(reference="timm pvt_v2_b0", top1=70.654, top5=90.206)
def pvt_v2_b0(**kwargs) -> PVTv2:
    """3,666,760 parameters, 0.57 G multiply-adds, 70.7 % top-1."""
    return PVTv2((2, 2, 2, 2), (32, 64, 160, 256), **kwargs)


@family.variant(reference="timm pvt_v2_b1", top1=78.698, top5=94.490)
def pvt_v2_b1(**kwargs) -> PVTv2:
    """14,009,000 parameters, 2.11 G multiply-adds, 78.7 % top-1."""
    return PVTv2((2, 2, 2, 2), **kwargs)


@family.variant(reference="timm pvt_v2_b2", top1=82.062, top5=95.966)
def pvt_v2_b2(**kwargs) -> PVTv2:
    """25,362,856 parameters, 4.03 G multiply-adds, 82.1 % top-1."""
    return PVTv2((3, 4, 6, 3), **kwargs)


@family.variant(reference="timm pvt_v2_b2_li", top1=82.200, top5=96.108)
def pvt_v2_b2_li(**kwargs) -> PVTv2:
    """22,553,512 parameters, 3.90 G multiply-adds, 82.2 % top-1."""
    return PVTv2((3, 4, 6, 3), linear=True, **kwargs)


@family.variant(reference="timm pvt_v2_b3", top1=83.120, top5=96.560)
def pvt_v2_b3(**kwargs) -> PVTv2:
    """45,238,696 parameters, 6.90 G multiply-adds, 83.1 % top-1."""
    return PVTv2((3, 4, 18, 3), **kwargs)


@family.variant(reference="timm pvt_v2_b4", top1=83.710, top5=96.672)
def pvt_v2_b4(**kwargs) -> PVTv2:
    """62,556,072 parameters, 10.10 G multiply-adds, 83.7 % top-1."""
    return PVTv2((3, 8, 27, 3), **kwargs)


@family.variant(reference="timm pvt_v2_b5", top1=83.760, top5=96.634)
def pvt_v2_b5(**kwargs) -> PVTv2:
    """81,956,008 parameters, 11.72 G multiply-adds, 83.8 % top-1."""
    return PVTv2((3, 6, 40, 3), mlp_ratios=(4, 4, 4, 4), **kwargs)


LAYERS = (
    (r"/attention/", "/attn/"),
    (r"(/attn)?/reduce_conv$", "/attn/sr"),
    (r"(/attn)?/reduce_norm$", "/attn/norm"),
)
family.checkpoint_keys(
    "timm",
    (
        (r"^stem_conv$", "patch_embed/proj"),
        (r"^stem_norm$", "patch_embed/norm"),
        (r"^stage(\d)_patch_conv$", r"stages/\1-1/downsample/proj"),
        (r"^stage(\d)_patch_norm$", r"stages/\1-1/downsample/norm"),
        (r"^stage(\d)_norm$", r"stages/\1-1/norm"),
        (r"^stage(\d)_block(\d+)/", r"stages/\1-1/blocks/\2-1/"),
        (r"/depthwise_conv$", "/dwconv"),
        *LAYERS,
    ),
)
family.checkpoint_keys(
    "whai362/PVT",
    (
        (r"^stem_(conv|norm)$", r"stage1_patch_\1"),
        (r"^stage(\d)_patch_conv$", r"patch_embed\1/proj"),
        (r"^stage(\d)_patch_norm$", r"patch_embed\1/norm"),
        (r"^stage(\d)_norm$", r"norm\1"),
        (r"^stage(\d)_block(\d+)/", r"block\1/\2-1/"),
        (r"/depthwise_conv$", "/dwconv/dwconv"),
        *LAYERS,
    ),
)
