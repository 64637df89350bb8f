"""NesT: transformers on the blocks of an image, which a convolution and pooling merge by fours.

Nested Hierarchical Transformer: Towards Accurate, Data-Efficient and Interpretable Visual
Understanding, Zhang et al. 2021, arXiv:2105.12723, section 3 and Table A1. Reference: timm
`nest_tiny`, `nest_small`, `nest_base`.

Differences from the paper: max pooling is padded on both sides. The authors' weights (timm
`nest_tiny_jx`, ...) expect it padded on the right and at the bottom only, `same_padding=True`, and
the accuracies below are theirs.
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from zoo.layers.attention import attend, split_qkv
from zoo.layers.blocks import run_stage
from zoo.layers.conv import Conv
from zoo.layers.dense import Dense
from zoo.layers.drop_path import DropPath, stage_drop_path_rates
from zoo.layers.head import classify, pool_head_map
from zoo.layers.image_input import takes_images
from zoo.layers.image_size import require_multiples
from zoo.layers.mlp import Mlp
from zoo.layers.pool import max_pool
from zoo.layers.position import add_positions, resample_grid, trunc_normal
from zoo.layers.sharding import reshape_batch
from zoo.layers.tokens import patch_embedding
from zoo.layers.windows import from_windows, to_windows
from zoo.registry import Family

PATCH_SIZE = 4  # pixels


class BlockAttention(nn.Module):
    """Self-attention within each block of the image. [B, blocks, N, C] -> [B, blocks, N, C].

    The output projection takes the first feature of every head, then the second, and so on.
    """

    num_heads: int
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        dense = partial(Dense, dtype=self.dtype, kernel_init=trunc_normal)
        shape, width = x.shape, x.shape[-1]
        x = reshape_batch(x, (-1, *shape[-2:]))  # [B * blocks, N, C]
        qkv = dense(3 * width, name="qkv")(x)  # [B * blocks, N, 3 * C]
        y = attend(self, *split_qkv(qkv, self.num_heads))
        y = reshape_batch(y.swapaxes(2, 3), shape)  # from [B * blocks, N, C / heads, heads]
        y = dense(width, name="proj")(y)
        return nn.Dropout(self.dropout, deterministic=not train)(y)


class Block(nn.Module):
    """Pre-norm residual block of attention and MLP. [B, blocks, N, C] -> [B, blocks, N, C].

    Attributes:
      num_heads: Number of attention heads; divides C.
      drop_path: Drop path rate of either branch.
      dropout: Dropout rate after attention and in the MLP.
      dtype: Dtype of the computation.
    """

    num_heads: int
    drop_path: float | jax.Array = 0.0
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        norm = partial(nn.LayerNorm, epsilon=1e-6, dtype=self.dtype)
        settings: dict[str, Any] = dict(dropout=self.dropout, dtype=self.dtype)
        attention = BlockAttention(self.num_heads, **settings, name="attention")
        mlp = Mlp(4 * x.shape[-1], kernel_init=trunc_normal, **settings, name="mlp")
        y = attention(norm(name="norm1")(x), train=train)
        x = x + DropPath(self.drop_path)(y, train=train)
        y = mlp(norm(name="norm2")(x), train=train)
        return x + DropPath(self.drop_path)(y, train=train)


class Aggregation(nn.Module):
    """3x3 convolution, normalisation, max pooling. [B, H, W, C] -> [B, H/2, W/2, features]."""

    features: int
    same_padding: bool
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        conv = partial(Conv, padding=1, kernel_init=trunc_normal, dtype=self.dtype)
        x = conv(self.features, (3, 3), name="conv")(x)
        x = nn.LayerNorm(1e-6, self.dtype, name="norm")(x)
        if self.same_padding:
            return max_pool(x, 3, 2, "SAME")
        return max_pool(x, 3, 2, padding=1)


class NesT(nn.Module):
    """Square images [B, H, H, C], sides multiples of 16 -> logits [B, num_classes].

    The parameters belong to one image size: that of `init`, or of `zoo.load_torch(image_size=...)`.
    At all levels of the hierarchy a block of the image is as many tokens: 14 x 14 of 224 pixels.

    Attributes:
      depths: Number of transformer blocks in each level; the last level is one block of the image.
      width: Width of the tokens in the first level; every further level doubles it.
      num_heads: Number of attention heads in the first level; every further level doubles it.
      same_padding: Whether to pad max pooling as the authors' weights expect, on the right and at
        the bottom only.
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
    width: int
    num_heads: int
    same_padding: bool = False
    num_classes: int = 1000
    dropout: float = 0.0
    drop_path: float = 0.0
    scan: bool = False
    remat: bool = False
    dtype: Any = jnp.float32

    @takes_images()
    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        side = block_side(images, len(self.depths))

        # Stem
        x = patch_embedding(images, PATCH_SIZE, self.width, self.dtype)  # [B, H/4, W/4, width]
        self.sow("intermediates", "stem", x)

        # Stages
        run = partial(run_stage, train=train, scan=self.scan, remat=self.remat)
        for i, rates in enumerate(stage_drop_path_rates(self.drop_path, self.depths), 1):
            width, num_heads = (size * 2 ** (i - 1) for size in (self.width, self.num_heads))
            if i > 1:
                aggregation = partial(Aggregation, width, self.same_padding, self.dtype)
                x = aggregation(name=f"stage{i}_merge")(x)
            batch, height, *_ = x.shape
            windows = to_windows(x, side)  # [B * blocks, N, width]
            x = reshape_batch(windows, (batch, -1, side * side, width))  # [B, blocks, N, width]
            x = add_positions(self, x, f"stage{i}_pos_embed")
            block = partial(Block, num_heads, dropout=self.dropout, dtype=self.dtype)
            x = run([block], x, rates, prefix=f"stage{i}_")
            x = from_windows(x, height, height, side)
            self.sow("intermediates", f"stage{i}", x)  # last: [B, H/16, W/16, 4 * width]

        # Head
        x = nn.LayerNorm(1e-6, self.dtype, name="norm")(x)
        x = pool_head_map(self, x)  # [B, 4 * width]
        return classify(self, x, self.num_classes, self.dtype, kernel_init=trunc_normal)


def block_side(images: jax.Array, levels: int) -> int:
    """Returns the side of the blocks, in tokens, that is the same in all levels.

    The last level is one block, and each level before has four times as many as the next.

    Raises:
      ValueError: The image is not square, or such blocks do not cover it exactly.
    """
    unit = PATCH_SIZE * 2 ** (levels - 1)
    require_multiples(images, unit, f"NesT of {levels} levels", square=True)
    return images.shape[1] // unit


def resample_blocks(value: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Resamples position embeddings to blocks of another size, bicubic.

    [1, blocks, n * n, C] -> [1, blocks, m * m, C] = `shape`.
    """
    (old, old_side), (new, new_side) = (
        (math.isqrt(blocks * tokens), math.isqrt(tokens))
        for blocks, tokens in (value.shape[1:3], shape[1:3])
    )
    grid = from_windows(value, old, old, old_side)
    return to_windows(resample_grid(grid, (1, new, new, shape[-1])), new_side).reshape(shape)


family = Family(
    "nest",
    dict(
        paper="Nested Hierarchical Transformer: Towards Accurate, Data-Efficient and "
        "Interpretable Visual Understanding, arXiv:2105.12723",
        year=2021,
        interpolation="bicubic",
    ),
    resampling=((r"pos_embed$", resample_blocks),),
)


@family.variant(
    reference="timm nest_tiny",
    top1=81.428,
    top5=95.630,
    accuracy_source="timm, nest_tiny_jx.goog_in1k",
)
def nest_tiny(**kwargs) -> NesT:
    """17,057,608 parameters, 5.81 G multiply-adds, 81.4 % top-1."""
    return NesT((2, 2, 8), 96, 3, **kwargs)


@family.variant(
    reference="timm nest_small",
    top1=83.132,
    top5=96.330,
    accuracy_source="timm, nest_small_jx.goog_in1k",
)
def nest_small(**kwargs) -> NesT:
    """38,351,176 parameters, 10.32 G multiply-adds, 83.1 % top-1."""
    return NesT((2, 2, 20), 96, 3, **kwargs)


@family.variant(
    reference="timm nest_base",
    top1=83.552,
    top5=96.364,
    accuracy_source="timm, nest_base_jx.goog_in1k",
)
def nest_base(**kwargs) -> NesT:
    """67,723,368 parameters, 17.93 G multiply-adds, 83.6 % top-1."""
    return NesT((2, 2, 20), 128, 4, **kwargs)


family.checkpoint_keys(
    "timm",
    (
        (r"^stem_conv$", "patch_embed/proj"),
        (r"^stage(\d)_pos_embed$", r"levels/\1-1/pos_embed"),
        (r"^stage(\d)_merge/", r"levels/\1-1/pool/"),
        (r"^stage(\d)_block(\d+)/", r"levels/\1-1/transformer_encoder/\2-1/"),
        (r"/attention/", "/attn/"),
    ),
)
