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
from zoo.layers.head import classify
from zoo.layers.image_input import takes_images
from zoo.layers.mlp import Mlp
from zoo.layers.position import resample_bias_table, trunc_normal
from zoo.layers.sharding import reshape_batch
from zoo.layers.windows import from_windows, pad_to_multiples, to_windows
from zoo.registry import Family

# Added to the logits of tokens that are neighbours only because the shift is cyclic.
MASK_VALUE = -100.0


def shifted_windows(
    x: jax.Array, side: int, shifted: bool
) -> tuple[jax.Array, jax.Array | None, Callable[[jax.Array], jax.Array]]:
    """Cuts x [B, H, W, C] into n windows, after a cyclic shift by half a window if `shifted`.

    Returns:
      The windows [B * n, side * side, C].
      A mask [B * n, 1, side * side, side * side] to add to the logits, which keeps apart what the
      shift brought together; None without a shift. Along an axis that one window covers there is
      none.
      The function that puts windows together, [B * n, side * side, C'] -> [B, H, W, C'].
    """
    batch, height, width, _ = x.shape
    x = pad_to_multiples(x, side)
    whole = x.shape[1:3]
    shift = [side // 2 if shifted and length > side else 0 for length in whole]
    x = jnp.roll(x, [-step for step in shift], (1, 2))
    mask = None
    if any(shift):
        mask = jnp.tile(jnp.asarray(shift_mask(whole, side, shift), x.dtype), (batch, 1, 1, 1))

    def restore(windows: jax.Array) -> jax.Array:
        grid = from_windows(windows, whole[0], whole[1], side)
        return jnp.roll(grid, shift, (1, 2))[:, :height, :width]

    return to_windows(x, side), mask, restore


def shift_mask(whole: Sequence[int], side: int, shift: Sequence[int]) -> np.ndarray:
    """`MASK_VALUE` between regions that a cyclic shift brings together, else 0: [n, 1, N, N]."""
    # Along each axis the last `step` positions came from the other edge.
    edges = [np.arange(size) >= size - step for size, step in zip(whole, shift, strict=True)]
    regions = 2 * edges[0][:, None] + edges[1][None, :]
    regions = to_windows(regions[None, :, :, None], side)[..., 0]  # [n, N]
    return MASK_VALUE * (regions[:, None, :, None] != regions[:, None, None, :])


def relative_index(side: int) -> np.ndarray:
    """Which of (2 * side - 1)^2 offsets each pair of a window's N tokens has: [N, N]."""
    at = np.stack(np.divmod(np.arange(side * side), side), axis=-1)  # row and column of each token
    offsets = at[:, None] - at[None, :] + side - 1
    return offsets[..., 0] * (2 * side - 1) + offsets[..., 1]


class WindowAttention(nn.Module):
    """Tokens of the same window attend to each other. [B, H, W, C] -> [B, H, W, C].

    Attributes:
      num_heads: divides C.
      window: its side, in tokens.
      shifted: whether the windows are those of the plain grid, or half a window further.
      dropout: rate after the output projection.
      dtype: of the computation; the softmax is in float32 or wider.
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
        x = merge_heads(self.attend(x, mask))
        x = Dense(channels, dtype=self.dtype, kernel_init=trunc_normal, name="proj")(x)
        return nn.Dropout(self.dropout, deterministic=not train)(restore(x))

    def attend(self, x: jax.Array, mask: jax.Array | None) -> jax.Array:
        """Attention in each of n windows, [B * n, N, C] -> [B * n, N, heads, C / heads].

        `mask` is added to the logits.
        """
        dense = partial(Dense, dtype=self.dtype, kernel_init=trunc_normal)
        num_offsets = (2 * self.window - 1) ** 2
        qkv = split_qkv(dense(3 * x.shape[-1], name="qkv")(x), self.num_heads)
        table = self.param("bias_table", trunc_normal, (num_offsets, self.num_heads))
        bias = table[relative_index(self.window)].transpose(2, 0, 1)[None]  # [1, heads, N, N]
        return attend(self, *qkv, bias=bias if mask is None else bias + mask)


class Block(nn.Module):
    """Attention in windows and an MLP as residual branches. [B, H, W, C] -> [B, H, W, C].

    Attributes:
      attention: constructor of the attention, `WindowAttention` or Swin V2's.
      num_heads, window, shifted: of the attention.
      post_norm: whether the LayerNorms are at the end of the branches, before they are added to
        the shortcut, as in Swin V2; else at their start.
      drop_path: drop path rate of either branch.
      dropout: dropout rate after attention and in the MLP.
      dtype: of the computation; the softmax is in float32 or wider.
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
    """Two by two tokens become one. [B, H, W, C] -> [B, H/2, W/2, 2 * C]; odd sides are padded.

    The LayerNorm follows the linear map with `post_norm`, else it comes before it.
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
    """Two by two tokens side by side, column by column. [B, H, W, C] -> [B, H/2, W/2, 4 * C]."""
    batch, height, width, channels = x.shape
    x = reshape_batch(x, (batch, height // 2, 2, width // 2, 2, channels))
    shape = (batch, height // 2, width // 2, 4 * channels)
    return reshape_batch(x.transpose(0, 1, 3, 4, 2, 5), shape)


class Swin(nn.Module):
    """Images [B, H, W, C] of any size from 4 up -> logits [B, num_classes].

    Attributes:
      depths: number of blocks in each of the four stages, half of them with shifted windows.
      width: of the first stage; doubled by every further one.
      num_heads: of each stage's attention.
      window: side of a window, in tokens.
      attention: constructor of the blocks' attention, `WindowAttention` or Swin V2's.
      post_norm: whether LayerNorms are at the end of each branch and patch merging, as in Swin V2;
        else at their start.
      num_classes: 0 for no classifier; the embedding comes out.
      dropout: rate after attention and in the MLPs.
      drop_path: rate of stochastic depth in the last block, growing linearly from 0 in the first.
      scan: compile a stage's two kinds of blocks once each, with stacked parameters: see
        `zoo.layers.blocks`.
      remat: compute the blocks' inner values again in the backward pass instead of keeping them.
      dtype: of the computation; parameters, softmax, statistics and logits stay float32.
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
            turns = [partial(block, shifted=False), partial(block, shifted=True)]
            x = run(turns, x, stage_rates, prefix=f"stage{i}_")
            self.sow("intermediates", f"stage{i}", x)  # last: [B, H/32, W/32, 8 * width]

        # Head
        x = jnp.mean(norm(name="norm")(x), axis=(1, 2))  # [B, 8 * width]
        return classify(self, x, self.num_classes, self.dtype, kernel_init=trunc_normal)


# Buffers of the references: constants of the window's size.
CONSTANTS = (r"\.relative_position_index$", r"\.attn_mask$", r"\.relative_coords_table$")
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
    ignored_keys=CONSTANTS,
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
# Timm counts a stage's merging to the stage after it.
to_next_stage = ((r"^layers/(\d)/downsample/", r"layers/\1+1/downsample/"),)
family.checkpoint_keys("timm", (*MICROSOFT, *to_next_stage, (r"^head$", "head/fc")))
