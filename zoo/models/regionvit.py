"""RegionViT: regional tokens attend to each other, then each with the local tokens of its region.

RegionViT: Regional-to-Local Attention for Vision Transformers, Chen et al. 2021, arXiv:2106.02689,
section 3 and Table 1. Reference: the authors' `regionvit_tiny_224`, `regionvit_small_224`,
`regionvit_medium_224`, `regionvit_base_224`.

Differences from the paper, all from the reference:
- a row or column offset indexes the table of biases from the half of a window, 3, and wraps round;
- where local tokens do not fill the regions, they are padded on the right and at the bottom. The
  padding is kept apart, but in the last region of all it is so only where both ways are padded.

Besides the names that all families share, "stage1_regions", ... are the regional tokens
[B, H/28, W/28, C].
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from zoo.layers.attention import attend, merge_heads, split_qkv
from zoo.layers.blocks import run_stage
from zoo.layers.conv import Conv
from zoo.layers.dense import Dense
from zoo.layers.drop_path import DropPath, stage_drop_path_rates
from zoo.layers.head import classify, pool_head_map
from zoo.layers.image_input import takes_images
from zoo.layers.mlp import Mlp, gelu
from zoo.layers.position import trunc_normal
from zoo.layers.sharding import reshape_batch
from zoo.layers.windows import from_windows, to_windows
from zoo.registry import Family

REGION_SIZE = 7  # local tokens
PATCH_SIZE = 4  # pixels
MASK_VALUE = -1e9


class Attention(nn.Module):
    """Self-attention, [B, N, C] -> [B, N, C].

    The same weights serve among regional tokens, and within regions: one regional token and
    REGION_SIZE^2 local tokens, which have biases by their relative position. Within regions `mask`
    [B or 1, 1, N, N] is given, and added to the logits.
    """

    num_heads: int
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: jax.Array, mask: jax.Array | None = None, *, train: bool = False
    ) -> jax.Array:
        dense = partial(Dense, dtype=self.dtype, kernel_init=trunc_normal)
        bias, channels = None, x.shape[-1]
        if mask is not None:
            num_offsets = (2 * REGION_SIZE - 1) ** 2
            table = self.param("bias_table", trunc_normal, (self.num_heads, num_offsets))
            local = table[:, relative_index()]  # [heads, REGION_SIZE^2, REGION_SIZE^2]
            bias = jnp.pad(local, ((0, 0), (1, 0), (1, 0)))[None] + mask
        qkv = split_qkv(dense(3 * channels, name="qkv")(x), self.num_heads)
        x = merge_heads(attend(self, *qkv, bias=bias))
        x = dense(channels, name="proj")(x)
        return nn.Dropout(self.dropout, deterministic=not train)(x)


def relative_index() -> np.ndarray:
    """Returns the index into the table of biases for each query and key of a region's local tokens.

    [REGION_SIZE^2, REGION_SIZE^2].
    """
    rows_columns = np.divmod(np.arange(REGION_SIZE**2), REGION_SIZE)
    positions = np.stack(rows_columns, axis=-1)  # [N, 2], row and column of each token
    num_offsets = 2 * REGION_SIZE - 1  # in one direction
    offsets = (positions[None, :] - positions[:, None] + REGION_SIZE // 2) % num_offsets
    return offsets[..., 0] * num_offsets + offsets[..., 1]


def padding_bias(regions: Sequence[int], padding: Sequence[int]) -> np.ndarray:
    """Returns `MASK_VALUE` between tokens and padding of each region, else 0: [regions, 1, N, N].

    Where nothing is padded, the shape is [1, 1, 1, 1].

    Args:
      regions: Numbers of regions in a column and in a row.
      padding: Numbers of rows at the bottom and of columns on the right that are padding.
    """
    if not any(padding):
        return np.zeros((1, 1, 1, 1))
    rows_columns = np.divmod(np.arange(REGION_SIZE**2), REGION_SIZE)  # of each token
    pairs = []  # of real tokens, in the last row and in the last column of regions
    for positions, padded in zip(rows_columns, padding, strict=True):
        real = np.append(True, positions < REGION_SIZE - padded)
        pairs.append(real[:, None] & real[None, :])
    count = 1 + REGION_SIZE**2
    attended = np.ones((*regions, count, count), bool)
    attended[-1], attended[:-1, -1] = pairs
    attended[-1, -1] = pairs[0] | pairs[1]
    return np.where(attended, 0, MASK_VALUE).reshape(-1, 1, count, count)


class Block(nn.Module):
    """Pre-norm residual block of regional attention, attention in each region, and MLP.

    [B, regions, 1 + N, C] -> [B, regions, 1 + N, C].

    Attributes:
      num_heads: Number of attention heads; divides C.
      regions: Numbers of regions in a column and in a row.
      padding: Numbers of rows at the bottom and of columns on the right that are padding.
      drop_path: Drop path rate of each branch.
      dropout: Dropout rate after attention and in the MLP.
      dtype: Dtype of the computation.
    """

    num_heads: int
    regions: tuple[int, int]
    padding: tuple[int, int]
    drop_path: float | jax.Array = 0.0
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        norm = partial(nn.LayerNorm, epsilon=1e-6, dtype=self.dtype)
        settings: dict[str, Any] = dict(dropout=self.dropout, dtype=self.dtype)
        attention = Attention(self.num_heads, **settings, name="attention")
        batch, num_regions, _, channels = x.shape
        regional = x[:, :, 0]  # [B, regions, C]
        y = attention(norm(name="norm0")(regional), train=train)
        regional = regional + DropPath(self.drop_path)(y, train=train)
        x = jnp.concatenate([regional[:, :, None], x[:, :, 1:]], axis=2)
        mask = jnp.asarray(padding_bias(self.regions, self.padding), x.dtype)
        mask = jnp.tile(mask, (batch if any(self.padding) else 1, 1, 1, 1))
        y = norm(name="norm1")(x)
        y = reshape_batch(y, (batch * num_regions, -1, channels))
        y = reshape_batch(attention(y, mask, train=train), x.shape)
        x = x + DropPath(self.drop_path)(y, train=train)
        mlp = Mlp(4 * channels, kernel_init=trunc_normal, **settings, name="mlp")
        y = mlp(norm(name="norm2")(x), train=train)
        return x + DropPath(self.drop_path)(y, train=train)


class Downsample(nn.Module):
    """LayerNorm, GELU and a grouped 3x3 convolution. [B, H, W, C] -> [B, H/2, W/2, 2 * C]."""

    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        channels = x.shape[-1]
        conv = partial(Conv, padding=1, feature_group_count=channels, dtype=self.dtype)
        x = gelu(nn.LayerNorm(1e-5, self.dtype, name="norm")(x))
        return conv(2 * channels, (3, 3), 2, name="conv")(x)


class RegionViT(nn.Module):
    """Images [B, H, W, C] of any size from 28 up -> logits [B, num_classes].

    Attributes:
      depths: Number of blocks in each of the four stages.
      width: Width of the tokens in the first stage; every further stage doubles it.
      overlapping: Whether the stem is one 8x8 convolution rather than three of 3x3.
      num_classes: Number of classes; 0 removes the head and returns the pooled features [B, C].
      dropout: Dropout rate after the stem's local tokens, after attention and in the MLPs.
      drop_path: Stochastic depth rate of the last block, growing linearly from 0 in the first.
      scan: Whether to compile equal blocks once, as a scan over stacked parameters; see
        zoo.layers.blocks.
      remat: Whether to rematerialize block activations in the backward pass.
      dtype: Dtype of the computation; parameters, softmax, normalisation statistics and logits stay
        float32.
    """

    depths: Sequence[int]
    width: int
    overlapping: bool = False
    num_classes: int = 1000
    dropout: float = 0.0
    drop_path: float = 0.0
    scan: bool = False
    remat: bool = False
    dtype: Any = jnp.float32

    @takes_images(at_least=PATCH_SIZE * REGION_SIZE)
    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        # Stem: local tokens [B, H/4, W/4, width], regional tokens [B, H/28, W/28, width]
        x = self.local_tokens(images)
        self.sow("intermediates", "stem", x)
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        regional = self.regional_tokens(images)

        # Stages
        run = partial(run_stage, train=train, scan=self.scan, remat=self.remat)
        for i, rates in enumerate(stage_drop_path_rates(self.drop_path, self.depths), 1):
            if i > 1:
                downsample = Downsample(self.dtype, name=f"stage{i}_downsample")
                regional, x = downsample(regional), downsample(x)
            batch, height, width, channels = x.shape
            regions = regional.shape[1], regional.shape[2]
            padding = regions[0] * REGION_SIZE - height, regions[1] * REGION_SIZE - width
            x = jnp.pad(x, ((0, 0), (0, padding[0]), (0, padding[1]), (0, 0)))
            padded = x.shape[1:3]
            local = to_windows(x, REGION_SIZE)
            local = reshape_batch(local, (batch, -1, REGION_SIZE**2, channels))
            tokens = reshape_batch(regional, (batch, -1, 1, channels))
            tokens = jnp.concatenate([tokens, local], axis=2)
            block = partial(
                Block, channels // 32, regions, padding, dropout=self.dropout, dtype=self.dtype
            )
            tokens = run([block], tokens, rates, prefix=f"stage{i}_")
            regional = reshape_batch(tokens[:, :, 0], regional.shape)
            x = from_windows(tokens[:, :, 1:], *padded, REGION_SIZE)[:, :height, :width]
            self.sow("intermediates", f"stage{i}", x)  # last: [B, H/32, W/32, 8 * width]
            self.sow("intermediates", f"stage{i}_regions", regional)

        # Head
        x = nn.LayerNorm(1e-6, self.dtype, name="norm")(regional)
        x = pool_head_map(self, x)  # [B, 8 * width]
        return classify(self, x, self.num_classes, self.dtype, kernel_init=trunc_normal)

    def local_tokens(self, images: jax.Array) -> jax.Array:
        """[B, H, W, C] -> [B, H/4, W/4, width], by overlapping convolutions."""
        conv = partial(Conv, dtype=self.dtype)
        if self.overlapping:
            window = (2 * PATCH_SIZE, 2 * PATCH_SIZE)
            return conv(self.width, window, PATCH_SIZE, padding=3, name="stem_conv1")(images)
        norm = partial(nn.LayerNorm, epsilon=1e-5, dtype=self.dtype)
        conv = partial(conv, kernel_size=(3, 3), padding=1)
        x = conv(self.width // 4, strides=2, name="stem_conv1")(images)  # [B, H/2, W/2, width/4]
        x = gelu(norm(name="stem_norm1")(x))
        x = conv(self.width // 2, strides=2, name="stem_conv2")(x)  # [B, H/4, W/4, width/2]
        x = gelu(norm(name="stem_norm2")(x))
        return conv(self.width, name="stem_conv3")(x)

    def regional_tokens(self, images: jax.Array) -> jax.Array:
        """[B, H, W, C] -> [B, H/28, W/28, width], by a convolution without overlap.

        Images that its patches do not cover exactly are padded with zeros on both sides.
        """
        patch = PATCH_SIZE * REGION_SIZE
        missing = [-side % patch for side in images.shape[1:3]]
        pads = [(pad // 2, pad - pad // 2) for pad in missing]
        conv = Conv(self.width, (patch, patch), patch, pads, dtype=self.dtype, name="regions_conv")
        return conv(images)


family = Family(
    "regionvit",
    dict(
        paper="RegionViT: Regional-to-Local Attention for Vision Transformers, arXiv:2106.02689",
        year=2021,
        accuracy_source="IBM/RegionViT README",
        interpolation="bicubic",
    ),
    # The second of two names for the layer that both kinds of tokens share.
    ignored_keys=(r"\.block\.0\.proj\.\d\.(weight|bias)$",),
)


@family.variant(reference="ibm regionvit_tiny_224", top1=80.4)
def regionvit_tiny(**kwargs) -> RegionViT:
    """13,842,676 parameters, 2.41 G multiply-adds, 80.4 % top-1."""
    return RegionViT((2, 2, 8, 2), 64, **kwargs)


@family.variant(reference="ibm regionvit_small_224", top1=82.6)
def regionvit_small(**kwargs) -> RegionViT:
    """30,586,618 parameters, 5.34 G multiply-adds, 82.6 % top-1."""
    return RegionViT((2, 2, 8, 2), 96, **kwargs)


@family.variant(reference="ibm regionvit_medium_224", top1=83.1)
def regionvit_medium(**kwargs) -> RegionViT:
    """41,215,906 parameters, 7.41 G multiply-adds, 83.1 % top-1."""
    return RegionViT((2, 2, 14, 2), 96, overlapping=True, **kwargs)


@family.variant(reference="ibm regionvit_base_224", top1=83.2)
def regionvit_base(**kwargs) -> RegionViT:
    """72,747,232 parameters, 13.05 G multiply-adds, 83.2 % top-1."""
    return RegionViT((2, 2, 14, 2), 128, overlapping=True, **kwargs)


def authors_names(model: RegionViT) -> tuple[tuple[str, str], ...]:
    """Returns the authors' names, in which a stem of one convolution is no sequence."""
    first = "patch_embed/proj" if model.overlapping else "patch_embed/proj/0"
    return (
        (r"^stem_conv1$", first),
        (r"^stem_norm1$", "patch_embed/proj/1"),
        (r"^stem_conv2$", "patch_embed/proj/3"),
        (r"^stem_norm2$", "patch_embed/proj/4"),
        (r"^stem_conv3$", "patch_embed/proj/6"),
        (r"^regions_conv$", "cls_token/proj"),
        (r"^stage(\d)_block(\d+)/", r"layers/\1-1/block/\2/"),
        (r"^stage(\d)_downsample/norm$", r"layers/\1-1/block/0/proj_cls/0"),
        (r"^stage(\d)_downsample/conv$", r"layers/\1-1/block/0/proj_cls/2"),
        (r"/attention/bias_table$", "/attn/rel_pos"),
        (r"/attention/", "/attn/"),
    )


family.checkpoint_keys(
    "ibm", authors_names, channel_vectors_4d=(r"stem_norm\d", r"stage\d_downsample/norm")
)
