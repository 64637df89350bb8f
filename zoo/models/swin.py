"""Swin: a pyramid of transformer blocks that attend within windows, shifted in every second block.

Swin Transformer: Hierarchical Vision Transformer using Shifted Windows, Liu et al. 2021,
arXiv:2103.14030, section 3 and Table 7. Reference: torchvision `swin_t`, `swin_s`, `swin_b`; the
checkpoints of the authors and of timm load, too.

Differences from the paper: none. Where windows do not cover a stage's grid exactly, it is padded
with zeros on the right and at the bottom, which take part in the attention, as in the reference.
"""

from collections.abc import Callable, Sequence
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
from zoo.layers.mlp import Mlp
from zoo.layers.position import resample_bias_table, trunc_normal
from zoo.layers.sharding import reshape_batch
from zoo.layers.windows import from_windows, pad_to_multiples, to_windows
from zoo.registry import Family

# Added to the logits of tokens that share a window only because the shift is cyclic.
MASK_VALUE = -100.0


def shifted_windows(
    x: jax.Array, side: int, shifted: bool
) -> tuple[jax.Array, jax.Array | None, Callable[[jax.Array], jax.Array]]:
    """Cuts x into windows, after a cyclic shift by half a window if `shifted`.

    An axis that one window covers is not shifted.

    Args:
      x: Tokens [B, H, W, C].
      side: Side of a window, in tokens; a window has N = side^2.
      shifted: Whether to shift.

    Returns:
      The n windows of each image, [B * n, N, C].
      The mask to add to the logits, [B * n, 1, N, N], so that tokens which the cyclic shift brought
      into one window do not attend to each other; None without a shift.
      The function that puts windows together again, [B * n, N, C'] -> [B, H, W, C'].
    """
    batch, height, width, _ = x.shape
    x = pad_to_multiples(x, side)
    padded_shape = x.shape[1:3]
    shift = [side // 2 if shifted and length > side else 0 for length in padded_shape]
    x = jnp.roll(x, [-step for step in shift], (1, 2))
    mask = None
    if any(shift):
        mask = jnp.asarray(shift_mask(padded_shape, side, shift), x.dtype)
        mask = jnp.tile(mask, (batch, 1, 1, 1))

    def restore(windows: jax.Array) -> jax.Array:
        grid = from_windows(windows, padded_shape[0], padded_shape[1], side)
        return jnp.roll(grid, shift, (1, 2))[:, :height, :width]

    return to_windows(x, side), mask, restore


def shift_mask(grid: Sequence[int], side: int, shift: Sequence[int]) -> np.ndarray:
    """Returns the mask of each of n windows of a grid after a cyclic shift, [n, 1, N, N].

    It is `MASK_VALUE` between tokens of regions that the shift brought together, else 0.
    """
    # Along each axis the last `step` positions came from the other edge.
    edges = [np.arange(size) >= size - step for size, step in zip(grid, shift, strict=True)]
    regions = 2 * edges[0][:, None] + edges[1][None, :]
    regions = to_windows(regions[None, :, :, None], side)[..., 0]  # [n, N]
    return MASK_VALUE * (regions[:, None, :, None] != regions[:, None, None, :])


def relative_index(side: int) -> np.ndarray:
    """Returns which of (2 * side - 1)^2 offsets each query and key of a window has, [N, N]."""
    rows_columns = np.divmod(np.arange(side * side), side)
    positions = np.stack(rows_columns, axis=-1)  # [N, 2], row and column of each token
    offsets = positions[:, None] - positions[None, :] + side - 1
    return offsets[..., 0] * (2 * side - 1) + offsets[..., 1]


class WindowAttention(nn.Module):
    """Self-attention within windows. [B, H, W, C] -> [B, H, W, C].

    Attributes:
      num_heads: Number of attention heads; divides C.
      window: Side of a window, in tokens.
      shifted: Whether the windows are shifted by half a window from the plain grid.
      dropout: Dropout rate after the output projection.
      dtype: Dtype of the computation; the softmax is in float32 or wider.
    """

    num_heads: int
    window: int
    shifted: bool
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        channels = x.shape[-1]
        x, mask, restore = shifted_windows(x, self.window, self.shifted)  # [B * n, N, C]
        x = merge_heads(self.attend_in_windows(x, mask))
        x = Dense(channels, dtype=self.dtype, kernel_init=trunc_normal, name="proj")(x)
        return nn.Dropout(self.dropout, deterministic=not train)(restore(x))

    def attend_in_windows(self, x: jax.Array, mask: jax.Array | None) -> jax.Array:
        """Attention within each window, [B * n, N, C] -> [B * n, N, heads, C / heads].

        `mask` [B * n, 1, N, N] is added to the logits.
        """
        dense = partial(Dense, dtype=self.dtype, kernel_init=trunc_normal)
        num_offsets = (2 * self.window - 1) ** 2
        qkv = split_qkv(dense(3 * x.shape[-1], name="qkv")(x), self.num_heads)
        table = self.param("bias_table", trunc_normal, (num_offsets, self.num_heads))
        bias = table[relative_index(self.window)].transpose(2, 0, 1)[None]  # [1, heads, N, N]
        return attend(self, *qkv, bias=bias if mask is None else bias + mask)


class Block(nn.Module):
    """Residual block of attention within windows and MLP. [B, H, W, C] -> [B, H, W, C].

    Attributes:
      attention: Constructor of the attention, `WindowAttention` or Swin V2's.
      num_heads: Number of attention heads; divides C.
      window: Side of a window, in tokens.
      shifted: Whether the windows are shifted by half a window.
      post_norm: Whether the block is res-post-norm, with LayerNorms at the ends of the branches,
        before they are added to the shortcut, as in Swin V2; else pre-norm.
      drop_path: Drop path rate of either branch.
      dropout: Dropout rate after attention and in the MLP.
      dtype: Dtype of the computation; the softmax is in float32 or wider.
    """

    attention: Callable[..., nn.Module]
    num_heads: int
    window: int
    shifted: bool
    post_norm: bool = False
    drop_path: float | jax.Array = 0.0
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        settings: dict[str, Any] = dict(dropout=self.dropout, dtype=self.dtype)
        windows = (self.num_heads, self.window, self.shifted)
        attention = self.attention(*windows, **settings, name="attention")
        mlp = Mlp(4 * x.shape[-1], kernel_init=trunc_normal, **settings, name="mlp")
        for i, branch in enumerate((attention, mlp), 1):
            norm = nn.LayerNorm(1e-5, self.dtype, name=f"norm{i}")
            if self.post_norm:
                y = norm(branch(x, train=train))
            else:
                y = branch(norm(x), train=train)
            x = x + DropPath(self.drop_path)(y, train=train)
        return x


class PatchMerging(nn.Module):
    """Merges patches of 2x2 tokens. [B, H, W, C] -> [B, H/2, W/2, 2 * C]; odd sides are padded.

    The LayerNorm is after the linear map with `post_norm`, else before it.
    """

    post_norm: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = space_to_depth(pad_to_multiples(x, 2))
        norm = nn.LayerNorm(1e-5, self.dtype, name="norm")
        dense = partial(Dense, dtype=self.dtype, kernel_init=trunc_normal)
        reduction = dense(x.shape[-1] // 2, use_bias=False, name="reduction")
        return norm(reduction(x)) if self.post_norm else reduction(norm(x))


def space_to_depth(x: jax.Array) -> jax.Array:
    """Concatenates 2x2 tokens, column by column. [B, H, W, C] -> [B, H/2, W/2, 4 * C]."""
    batch, height, width, channels = x.shape
    x = reshape_batch(x, (batch, height // 2, 2, width // 2, 2, channels))
    shape = (batch, height // 2, width // 2, 4 * channels)
    return reshape_batch(x.transpose(0, 1, 3, 4, 2, 5), shape)


class Swin(nn.Module):
    """Images [B, H, W, C] of any size from 4 up -> logits [B, num_classes].

    Attributes:
      depths: Number of blocks in each of the four stages, half of them with shifted windows.
      width: Width of the tokens in the first stage; every further stage doubles it.
      num_heads: Number of attention heads in each stage.
      window: Side of a window, in tokens.
      attention: Constructor of the blocks' attention, `WindowAttention` or Swin V2's.
      post_norm: Whether the blocks are res-post-norm and patch merging ends with its LayerNorm, as
        in Swin V2; else both are pre-norm.
      num_classes: Number of classes; 0 removes the head and returns the pooled features [B, C].
      dropout: Dropout rate after attention and in the MLPs.
      drop_path: Stochastic depth rate of the last block, growing linearly from 0 in the first.
      scan: Whether to compile equal blocks once, as a scan over stacked parameters; see
        zoo.layers.blocks. A stage has two kinds.
      remat: Whether to rematerialize block activations in the backward pass.
      dtype: Dtype of the computation; parameters, softmax, normalisation statistics and logits stay
        float32.
    """

    depths: Sequence[int]
    width: int
    num_heads: Sequence[int]
    window: int = 7
    attention: Callable[..., nn.Module] = WindowAttention
    post_norm: bool = False
    num_classes: int = 1000
    dropout: float = 0.0
    drop_path: float = 0.0
    scan: bool = False
    remat: bool = False
    dtype: Any = jnp.float32

    @takes_images(at_least=4)
    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        norm = partial(nn.LayerNorm, epsilon=1e-5, dtype=self.dtype)

        # Stem
        conv = partial(Conv, padding="VALID", dtype=self.dtype)
        x = conv(self.width, (4, 4), 4, name="stem_conv")(images)  # [B, H/4, W/4, width]
        x = norm(name="stem_norm")(x)
        self.sow("intermediates", "stem", x)

        # Stages
        run = partial(run_stage, train=train, scan=self.scan, remat=self.remat)
        rates = stage_drop_path_rates(self.drop_path, self.depths)
        for i, (num_heads, stage_rates) in enumerate(zip(self.num_heads, rates, strict=True), 1):
            if i > 1:
                merging = PatchMerging(self.post_norm, self.dtype, name=f"stage{i}_merging")
                x = merging(x)
            block = partial(Block, self.attention, num_heads, self.window)
            block = partial(block, post_norm=self.post_norm, dropout=self.dropout, dtype=self.dtype)
            blocks = [partial(block, shifted=False), partial(block, shifted=True)]
            x = run(blocks, x, stage_rates, prefix=f"stage{i}_")
            self.sow("intermediates", f"stage{i}", x)  # last: [B, H/32, W/32, 8 * width]

        # Head
        x = pool_head_map(self, norm(name="norm")(x))  # [B, 8 * width]
        return classify(self, x, self.num_classes, self.dtype, kernel_init=trunc_normal)


# Buffers of the references: constants, not weights.
BUFFERS = (r"\.relative_position_index$", r"\.attn_mask$", r"\.relative_coords_table$")
family = Family(
    "swin",
    dict(
        paper="Swin Transformer: Hierarchical Vision Transformer using Shifted Windows, "
        "arXiv:2103.14030",
        year=2021,
        accuracy_source="torchvision, weights IMAGENET1K_V1",
        interpolation="bicubic",
    ),
    resampling=((r"/bias_table$", resample_bias_table),),
    ignored_keys=BUFFERS,
)


@family.variant(reference="torchvision swin_t", top1=81.474, top5=95.776, crop=224 / 232)
def swin_t(**kwargs) -> Swin:
    """28,288,354 parameters, 4.49 G multiply-adds, 81.5 % top-1."""
    return Swin((2, 2, 6, 2), 96, (3, 6, 12, 24), **kwargs)


@family.variant(reference="torchvision swin_s", top1=83.196, top5=96.360, crop=224 / 246)
def swin_s(**kwargs) -> Swin:
    """49,606,258 parameters, 8.74 G multiply-adds, 83.2 % top-1."""
    return Swin((2, 2, 18, 2), 96, (3, 6, 12, 24), **kwargs)


@family.variant(reference="torchvision swin_b", top1=83.582, top5=96.640, crop=224 / 238)
def swin_b(**kwargs) -> Swin:
    """87,768,224 parameters, 15.43 G multiply-adds, 83.6 % top-1."""
    return Swin((2, 2, 18, 2), 128, (4, 8, 16, 32), **kwargs)


TORCHVISION = (
    (r"^stem_conv$", "features/0/0"),
    (r"^stem_norm$", "features/0/2"),
    *((rf"^stage{i}_block(\d+)/", rf"features/{2 * i - 1}/\1-1/") for i in range(1, 5)),
    *((rf"^stage{i}_merging/", f"features/{2 * i - 2}/") for i in range(2, 5)),
    (r"/attention/", "/attn/"),
    (r"/bias_table$", "/relative_position_bias_table"),
    (r"/mlp/fc1$", "/mlp/0"),
    (r"/mlp/fc2$", "/mlp/3"),
)
family.checkpoint_keys("torchvision", TORCHVISION)
MICROSOFT = (
    (r"^stem_conv$", "patch_embed/proj"),
    (r"^stem_norm$", "patch_embed/norm"),
    (r"^stage(\d)_block(\d+)/", r"layers/\1-1/blocks/\2-1/"),
    (r"^stage(\d)_merging/", r"layers/\1-2/downsample/"),
    (r"/attention/", "/attn/"),
    (r"/bias_table$", "/relative_position_bias_table"),
)
family.checkpoint_keys("microsoft", MICROSOFT)
# In timm the merging belongs to the stage after it.
to_next_stage = ((r"^layers/(\d)/downsample/", r"layers/\1+1/downsample/"),)
family.checkpoint_keys("timm", (*MICROSOFT, *to_next_stage, (r"^head$", "head/fc")))
