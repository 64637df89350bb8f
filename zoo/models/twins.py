"""Twins: attention in windows and to a coarser grid; a convolution encodes positions.

Twins: Revisiting the Design of Spatial Attention in Vision Transformers, Chu et al. 2021,
arXiv:2104.13840, with windows (SVT) and without (PCPVT). Reference: timm `twins_svt_small`,
`twins_pcpvt_small`, ...; the checkpoints of the authors' Meituan-AutoML/Twins have the same names.

Differences from the paper: none known. Where windows do not cover the grid exactly, zeros fill the
last ones, and are attended to, as in timm.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from zoo.layers.attention import SelfAttention
from zoo.layers.conv import Conv
from zoo.layers.drop_path import DropPath, stage_drop_path_rates
from zoo.layers.head import classify, pool_head_map
from zoo.layers.image_input import takes_images
from zoo.layers.initializers import kaiming_fan_in, kaiming_fan_out
from zoo.layers.mlp import Mlp
from zoo.layers.position import trunc_normal
from zoo.layers.reduced_attention import ReducedAttention
from zoo.layers.tokens import normalized_patches
from zoo.layers.windows import from_windows, pad_to_multiples, to_windows
from zoo.registry import Family


class Block(nn.Module):
    """Pre-norm residual block of attention and MLP. [B, H, W, C] -> [B, H, W, C].

    Attributes:
      num_heads: Number of attention heads; divides C.
      mlp_ratio: Width of the MLP's hidden layer over C.
      window: Side of the windows, in tokens, within which tokens attend to each other; 0 to attend
        to the whole image, reduced.
      ratio: Side of the patches of the whole image that make one key each, in tokens; used if
        `window` is 0.
      drop_path: Drop path rate of either branch.
      dropout: Dropout rate after attention and in the MLP.
      dtype: Dtype of the computation.
    """

    num_heads: int
    mlp_ratio: int
    window: int
    ratio: int
    drop_path: float = 0.0
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        norm = partial(nn.LayerNorm, epsilon=1e-6, dtype=self.dtype)
        settings: dict[str, Any] = dict(dropout=self.dropout, dtype=self.dtype)
        batch, height, width, features = x.shape
        y = norm(name="norm1")(x)
        if self.window:
            attention = partial(SelfAttention, kernel_init=trunc_normal, **settings)
            attention = attention(self.num_heads, name="attention")
            y = pad_to_multiples(y, self.window)
            windows = attention(to_windows(y, self.window), train=train)
            y = from_windows(windows, y.shape[1], y.shape[2], self.window)[:, :height, :width]
        else:
            grid = (height, width)
            attention = ReducedAttention(
                self.num_heads, self.ratio, grid, **settings, name="attention"
            )
            y = y.reshape(batch, height * width, features)
            y = attention(y, train=train).reshape(x.shape)
        x = x + DropPath(self.drop_path)(y, train=train)
        y = norm(name="norm2")(x)
        mlp = partial(Mlp, kernel_init=trunc_normal, **settings, name="mlp")
        y = mlp(self.mlp_ratio * features)(y, train=train)
        return x + DropPath(self.drop_path)(y, train=train)


class Twins(nn.Module):
    """Images [B, H, W, C], 32 pixels each way and more -> logits [B, num_classes].

    The stages' patches are of 4x4 pixels, then of 2x2 tokens; an odd row or column at the end is
    left out.

    Attributes:
      depths: Number of blocks in each of the four stages.
      dims: Width of the tokens in each stage.
      num_heads: Number of attention heads in each stage.
      mlp_ratios: Width of the MLP's hidden layer over that of the tokens, in each stage.
      window: Side of the windows, in tokens, within which the first, third, ... block of each stage
        attends; 0 for none, where all blocks attend to the whole image.
      ratios: Side of the patches of the whole image that make one key each, in tokens, in each
        stage.
      num_classes: Number of classes; 0 removes the head and returns the pooled features [B, C].
      dropout: Dropout rate after the patches, after attention and in the MLPs.
      drop_path: Stochastic depth rate of the last block, growing linearly from 0 in the first.
      dtype: Dtype of the computation; parameters, softmax, normalisation statistics and logits stay
        float32.
    """

    depths: Sequence[int]
    dims: Sequence[int]
    num_heads: Sequence[int]
    mlp_ratios: Sequence[int] = (4, 4, 4, 4)
    window: int = 7
    ratios: Sequence[int] = (8, 4, 2, 1)
    num_classes: int = 1000
    dropout: float = 0.0
    drop_path: float = 0.0
    dtype: Any = jnp.float32

    @takes_images(at_least=32)
    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        # Stages: patches, blocks, and a position encoding after the first block
        x = images
        for i, rates in enumerate(stage_drop_path_rates(self.drop_path, self.depths), 1):
            name, size = ("stem", 4) if i == 1 else (f"stage{i}_patch", 2)
            settings: dict[str, Any] = dict(
                kernel_init=kaiming_fan_out, name=name, dtype=self.dtype
            )
            x = normalized_patches(x, self.dims[i - 1], size, size, **settings)
            # [B, H/4, W/4, C], and half the sides in each further stage
            if i == 1:
                self.sow("intermediates", "stem", x)
            x = nn.Dropout(self.dropout, deterministic=not train)(x)
            for j, rate in enumerate(rates, 1):
                block = Block(
                    self.num_heads[i - 1],
                    self.mlp_ratios[i - 1],
                    self.window if j % 2 else 0,
                    self.ratios[i - 1],
                    drop_path=rate,
                    dropout=self.dropout,
                    dtype=self.dtype,
                    name=f"stage{i}_block{j}",
                )
                x = block(x, train=train)
                x = x + self.position_encoding(x, i) if j == 1 else x
            self.sow("intermediates", f"stage{i}", x)

        # Head
        x = nn.LayerNorm(1e-6, self.dtype, name="norm")(x)
        x = pool_head_map(self, x)  # [B, C]
        return classify(self, x, self.num_classes, self.dtype, kernel_init=trunc_normal)

    def position_encoding(self, x: jax.Array, stage: int) -> jax.Array:
        """Conditional position encoding (Chu et al. 2021, arXiv:2102.10882), to add to x.

        A depthwise 3x3 convolution, [B, H, W, C] -> [B, H, W, C]; the zeros around the image tell
        it where a token is.
        """
        features, name = x.shape[-1], f"stage{stage}_position_conv"
        conv = partial(Conv, feature_group_count=features, kernel_init=kaiming_fan_in)
        return conv(features, (3, 3), padding=1, dtype=self.dtype, name=name)(x)


family = Family(
    "twins",
    dict(
        paper="Twins: Revisiting the Design of Spatial Attention, arXiv:2104.13840",
        year=2021,
        accuracy_source="timm, weights in1k",
        interpolation="bicubic",
        crop=0.9,
    ),
)
AUTHORS = dict(accuracy_source="Meituan-AutoML/Twins", crop=0.875)
PCPVT = dict(dims=(64, 128, 320, 512), num_heads=(1, 2, 5, 8), mlp_ratios=(8, 8, 4, 4), window=0)


@family.variant(reference="timm twins_svt_small", top1=81.694, top5=95.670)
def twins_svt_s(**kwargs) -> Twins:
    """24,060,776 parameters, 2.93 G multiply-adds, 81.7 % top-1."""
    return Twins((2, 2, 10, 4), (64, 128, 256, 512), (2, 4, 8, 16), **kwargs)


@family.variant(reference="timm twins_svt_base", top1=83.122, top5=96.430)
def twins_svt_b(**kwargs) -> Twins:
    """56,070,952 parameters, 8.56 G multiply-adds, 83.1 % top-1."""
    return Twins((2, 2, 18, 2), (96, 192, 384, 768), (3, 6, 12, 24), **kwargs)


@family.variant(reference="timm twins_svt_large", top1=83.718, top5=96.600)
def twins_svt_l(**kwargs) -> Twins:
    """99,271,400 parameters, 15.11 G multiply-adds, 83.7 % top-1."""
    return Twins((2, 2, 18, 2), (128, 256, 512, 1024), (4, 8, 16, 32), **kwargs)


@family.variant(reference="timm twins_pcpvt_small", top1=81.116, top5=95.624)
def twins_pcpvt_s(**kwargs) -> Twins:
    """24,106,216 parameters, 3.81 G multiply-adds, 81.1 % top-1."""
    return Twins((3, 4, 6, 3), **PCPVT, **kwargs)


@family.variant(reference="timm twins_pcpvt_base", top1=82.7, **AUTHORS)
def twins_pcpvt_b(**kwargs) -> Twins:
    """43,828,456 parameters, 6.65 G multiply-adds, 82.7 % top-1."""
    return Twins((3, 4, 18, 3), **PCPVT, **kwargs)


@family.variant(reference="timm twins_pcpvt_large", top1=83.1, **AUTHORS)
def twins_pcpvt_l(**kwargs) -> Twins:
    """60,989,672 parameters, 9.81 G multiply-adds, 83.1 % top-1."""
    return Twins((3, 8, 27, 3), **PCPVT, **kwargs)


family.checkpoint_keys(
    "timm",
    (
        (r"^stem_(conv|norm)$", r"stage1_patch_\1"),
        (r"^stage(\d)_patch_conv$", r"patch_embeds/\1-1/proj"),
        (r"^stage(\d)_patch_norm$", r"patch_embeds/\1-1/norm"),
        (r"^stage(\d)_position_conv$", r"pos_block/\1-1/proj/0"),
        (r"^stage(\d)_block(\d+)/", r"blocks/\1-1/\2-1/"),
        (r"/attention/", "/attn/"),
        (r"/reduce_conv$", "/sr"),
        (r"/reduce_norm$", "/norm"),
    ),
)
