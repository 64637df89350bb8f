"""CrossViT: two transformers on patches of two sizes, fused by cross-attention of class tokens.

CrossViT: Cross-Attention Multi-Scale Vision Transformer for Image Classification, Chen et al. 2021,
arXiv:2103.14899, section 3 and Table 1. Reference: timm `crossvit_tiny_240`, `crossvit_small_240`,
`crossvit_base_240`; the authors' checkpoints `crossvit_tiny_224`, ... load as well.

Differences from the paper: none. The second branch sees the image at 14/15 of its size (224 of 240
pixels), to the nearest multiple of its patch, through PyTorch's bicubic interpolation.

Names of `zoo.features`: "stem" and "stage1" ... "stage3", which all families have, are outputs of
the second, main branch (patches of 16 pixels); those of the first branch (12 pixels) are
"branch1_stem", "branch1_stage1", ...
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from zoo.layers.attention import attend, merge_heads, split_heads
from zoo.layers.blocks import run_stage
from zoo.layers.conv import Conv
from zoo.layers.dense import Dense
from zoo.layers.drop_path import DropPath, stage_drop_path_rates
from zoo.layers.head import logits_layer
from zoo.layers.image_input import takes_images
from zoo.layers.image_size import require_multiples
from zoo.layers.mlp import gelu
from zoo.layers.position import add_positions, resample_tokens, trunc_normal
from zoo.layers.tokens import prepend_tokens
from zoo.layers.transformer import TransformerBlock
from zoo.registry import Family

BRANCHES = 1, 2
PATCHES = 12, 16
MAIN = 2


class Fusion(nn.Module):
    """Cross-attention of a branch's class token to the other branch's patches.

    [B, 1, C], [B, N, C'] -> [B, 1, C]. The token is projected to the other branch's width and back.

    Attributes:
      num_heads: Number of attention heads; divides C'.
      drop_path: Drop path rate of the attention.
      dropout: Dropout rate after the attention's output projection.
      dtype: Dtype of the computation; the softmax is in float32 or wider.
    """

    num_heads: int
    drop_path: float = 0.0
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, token: jax.Array, patches: jax.Array, *, train: bool) -> jax.Array:
        norm = partial(nn.LayerNorm, epsilon=1e-6, dtype=self.dtype)
        dense = partial(Dense, dtype=self.dtype, kernel_init=trunc_normal)
        own, other = token.shape[-1], patches.shape[-1]
        token = dense(other, name="project")(gelu(norm(name="project_norm")(token)))
        tokens = norm(name="norm")(jnp.concatenate([token, patches], axis=1))  # [B, 1 + N, C']
        query = split_heads(dense(other, name="query")(tokens[:, :1]), self.num_heads)
        key = split_heads(dense(other, name="key")(tokens), self.num_heads)
        value = split_heads(dense(other, name="value")(tokens), self.num_heads)
        y = dense(other, name="proj")(merge_heads(attend(self, query, key, value)))
        y = nn.Dropout(self.dropout, deterministic=not train)(y)
        token = token + DropPath(self.drop_path)(y, train=train)
        return dense(own, name="revert")(gelu(norm(name="revert_norm")(token)))


class CrossViT(nn.Module):
    """CrossViT, images [B, H, W, C] whose sides are multiples of 12 -> logits [B, num_classes].

    The parameters belong to one image size: that of `init`, or of `zoo.load_torch(image_size=...)`.
    The logits are the mean of both branches' logits.

    Attributes:
      widths: Width of a token in each branch.
      num_heads: Number of attention heads in each block, in both branches.
      depths: Number of blocks of each branch in a stage.
      stages: Number of stages, each of which ends with a fusion.
      num_classes: Number of classes; 0 removes the heads and returns the concatenated class tokens
        [B, C + C'].
      dropout: Dropout rate after the position embeddings, after attention and in the MLPs.
      drop_path: Stochastic depth rate of the last block, growing linearly from 0 in the first.
      dtype: Dtype of the computation; parameters, softmax, normalisation statistics and logits stay
        float32.
    """

    widths: Sequence[int]
    num_heads: int
    depths: Sequence[int] = (1, 4)
    stages: int = 3
    num_classes: int = 1000
    dropout: float = 0.0
    drop_path: float = 0.0
    dtype: Any = jnp.float32

    @takes_images()
    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        # Stem: patches, class token and positions of each branch
        views = dict(zip(BRANCHES, branch_inputs(images), strict=True))
        branches, grids = {}, {}
        for i, width, patch in zip(BRANCHES, self.widths, PATCHES, strict=True):
            conv = partial(Conv, strides=patch, padding="VALID", dtype=self.dtype)
            x = conv(width, (patch, patch), name=f"branch{i}_stem_conv")(views[i])
            self.sow("intermediates", output_name(i, "stem"), x)  # [B, H/p, W/p, C]
            grids[i] = x.shape
            x = x.reshape(x.shape[0], -1, width)  # [B, N, C]
            x = prepend_tokens(self, x, f"branch{i}_class_token")  # [B, 1 + N, C]
            x = add_positions(self, x, f"branch{i}_pos_embed")
            branches[i] = nn.Dropout(self.dropout, deterministic=not train)(x)

        # Stages
        settings: dict[str, Any] = dict(dropout=self.dropout, dtype=self.dtype)
        block = partial(TransformerBlock, self.num_heads, **settings)
        rates = stage_drop_path_rates(self.drop_path, self.stages * (max(self.depths),))
        for stage, stage_rates in enumerate(rates, 1):
            for i, depth in zip(BRANCHES, self.depths, strict=True):
                prefix = f"stage{stage}_branch{i}_"
                run = partial(run_stage, [block], train=train, prefix=prefix)
                branches[i] = run(branches[i], stage_rates[:depth])
            tokens = {}
            for i, other in zip(BRANCHES, reversed(BRANCHES), strict=True):
                name = f"stage{stage}_branch{i}_fusion"
                fuse = Fusion(self.num_heads, stage_rates[-1], **settings, name=name)
                tokens[i] = fuse(branches[i][:, :1], branches[other][:, 1:], train=train)
            for i in BRANCHES:
                patches = branches[i][:, 1:]
                branches[i] = jnp.concatenate([tokens[i], patches], axis=1)
                name = output_name(i, f"stage{stage}")
                self.sow("intermediates", name, patches.reshape(grids[i]))  # [B, H/p, W/p, C]

        # Head
        norm = partial(nn.LayerNorm, epsilon=1e-6, dtype=self.dtype)
        tokens = [norm(name=f"branch{i}_norm")(branches[i][:, 0]) for i in BRANCHES]  # [B, C] each
        embedding = jnp.concatenate(tokens, axis=-1)
        self.sow("intermediates", "embedding", embedding)
        if not self.num_classes:
            return embedding
        head = partial(logits_layer, self.num_classes, self.dtype, kernel_init=trunc_normal)
        logits = [
            head(name=f"branch{i}_head")(token) for i, token in zip(BRANCHES, tokens, strict=True)
        ]
        return (logits[0] + logits[1]) / 2


def output_name(branch: int, name: str) -> str:
    """Name of a sown output: the main branch's has no prefix, the other's "branch1_"."""
    return name if branch == MAIN else f"branch{branch}_{name}"


def branch_inputs(images: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Inputs of the two branches: the images, and the same resized to about 14/15 of their size.

    Raises:
      ValueError: The first branch's patches do not cover the image exactly.
    """
    patch, other = PATCHES
    require_multiples(images, patch, "CrossViT", example=240)
    smaller = images
    for axis in (1, 2):
        smaller = resize_axis(smaller, other * round(images.shape[axis] * 14 / 15 / other), axis)
    return images, smaller


def resize_axis(images: jax.Array, size: int, axis: int) -> jax.Array:
    """Bicubic interpolation along one axis as in PyTorch.

    a = -0.75, edges are repeated, and there is no antialiasing filter.
    """
    old = images.shape[axis]
    centres = (np.arange(size) + 0.5) * old / size - 0.5
    first = np.floor(centres).astype(int) - 1
    shape = [1] * images.ndim
    shape[axis] = size
    total = jnp.zeros((), images.dtype)
    for tap in range(4):
        weights = cubic(np.abs(centres - first - tap)).reshape(shape)
        at = np.clip(first + tap, 0, old - 1)
        total += jnp.take(images, at, axis=axis) * jnp.asarray(weights, images.dtype)
    return total


def cubic(distance: np.ndarray, a: float = -0.75) -> np.ndarray:
    """Kernel of cubic convolution interpolation (Keys 1981) at distances in [0, 2]."""
    near = (a + 2) * distance**3 - (a + 3) * distance**2 + 1
    far = a * (distance**3 - 5 * distance**2 + 8 * distance - 4)
    return np.where(distance <= 1, near, far)


family = Family(
    "crossvit",
    dict(
        paper="CrossViT: Cross-Attention Multi-Scale Vision Transformer for Image Classification, "
        "arXiv:2103.14899",
        year=2021,
        image_size=240,
        interpolation="bicubic",
    ),
    resampling=((r"pos_embed$", resample_tokens),),
)


@family.variant(
    reference="timm crossvit_tiny_240",
    top1=73.352,
    top5=91.906,
    accuracy_source="timm, crossvit_tiny_240.in1k",
)
def crossvit_ti(**kwargs) -> CrossViT:
    """7,014,800 parameters, 1.56 G multiply-adds, 73.4 % top-1."""
    return CrossViT((96, 192), 3, **kwargs)


@family.variant(
    reference="timm crossvit_small_240",
    top1=81.036,
    top5=95.466,
    accuracy_source="timm, crossvit_small_240.in1k",
)
def crossvit_s(**kwargs) -> CrossViT:
    """26,856,272 parameters, 5.62 G multiply-adds, 81.0 % top-1."""
    return CrossViT((192, 384), 6, **kwargs)


@family.variant(
    reference="timm crossvit_base_240",
    top1=82.212,
    top5=95.826,
    accuracy_source="timm, crossvit_base_240.in1k",
)
def crossvit_b(**kwargs) -> CrossViT:
    """105,025,232 parameters, 21.19 G multiply-adds, 82.2 % top-1."""
    return CrossViT((384, 768), 12, **kwargs)


SHARED = (
    (r"^branch(\d)_stem_conv$", r"patch_embed/\1-1/proj"),
    (r"^stage(\d)_branch(\d)_block(\d+)/", r"blocks/\1-1/blocks/\2-1/\3-1/"),
    (r"/attention/", "/attn/"),
    (r"^stage(\d)_branch(\d)_fusion/project_norm$", r"blocks/\1-1/projs/\2-1/0"),
    (r"^stage(\d)_branch(\d)_fusion/project$", r"blocks/\1-1/projs/\2-1/2"),
    (r"^stage(\d)_branch(\d)_fusion/revert_norm$", r"blocks/\1-1/revert_projs/\2-1/0"),
    (r"^stage(\d)_branch(\d)_fusion/revert$", r"blocks/\1-1/revert_projs/\2-1/2"),
    (r"^stage(\d)_branch(\d)_fusion/norm$", r"blocks/\1-1/fusion/\2-1/norm1"),
    (r"^stage(\d)_branch(\d)_fusion/([qkv])\w+$", r"blocks/\1-1/fusion/\2-1/attn/w\3"),
    (r"^stage(\d)_branch(\d)_fusion/proj$", r"blocks/\1-1/fusion/\2-1/attn/proj"),
    (r"^branch(\d)_(norm|head)$", r"\2/\1-1"),
)
for source, at in [("timm", "_"), ("ibm", "/")]:
    tokens = (
        (r"^branch(\d)_class_token$", rf"cls_token{at}\1-1"),
        (r"^branch(\d)_pos_embed$", rf"pos_embed{at}\1-1"),
    )
    family.checkpoint_keys(source, (*SHARED, *tokens))
