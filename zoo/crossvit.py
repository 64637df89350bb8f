"""CrossViT: two transformers on patches of two sizes, whose class tokens visit the other's patches.

CrossViT: Cross-Attention Multi-Scale Vision Transformer for Image Classification, Chen et al. 2021,
arXiv:2103.14899, section 3 and Table 1. Reference: timm `crossvit_tiny_240`, `crossvit_small_240`,
`crossvit_base_240`; the authors' checkpoints `crossvit_tiny_224`, ... load as well.

Differences from the paper: none. The second branch sees the image at 14/15 of its size (224 of 240
pixels), to the nearest multiple of its patch, through PyTorch's bicubic interpolation.

Beside the names of all families: "stem" and "stage1" ... "stage3" are the second, main branch's
(patches of 16 pixels); the first one's (12 pixels) are "branch1_stem", "branch1_stage1", ...
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from zoo.layers.attention import attend, heads, merged
from zoo.layers.blocks import run_blocks
from zoo.layers.drop_path import DropPath, linspace_rates
from zoo.layers.mlp import gelu
from zoo.layers.position import add_positions, resample_tokens, trunc_normal
from zoo.registry import Family
from zoo.vit import Block, patch_embedding, prepend_tokens

PATCHES = (12, 16)
BRANCHES = (1, 2)


class Fusion(nn.Module):
    """A branch's class token attends to the other's patches. [B, 1, C], [B, N, C'] -> [B, 1, C].

    The token is projected to the other branch's width, and back.
    """

    num_heads: int
    drop_path: float = 0.0
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, token: jax.Array, patches: jax.Array, *, train: bool) -> jax.Array:
        norm = partial(nn.LayerNorm, epsilon=1e-6, dtype=self.dtype)
        dense = partial(nn.Dense, dtype=self.dtype, kernel_init=trunc_normal)
        own, other = token.shape[-1], patches.shape[-1]
        token = dense(other, name="project")(gelu(norm(name="project_norm")(token)))
        tokens = norm(name="norm")(jnp.concatenate([token, patches], axis=1))  # [B, 1 + N, C']
        query = heads(dense(other, name="query")(tokens[:, :1]), self.num_heads)
        key, value = (heads(dense(other, name=name)(tokens), self.num_heads) for name in ("key", "value"))
        y = dense(other, name="proj")(merged(attend(self, query, key, value)))
        y = nn.Dropout(self.dropout, deterministic=not train)(y)
        token = token + DropPath(self.drop_path)(y, train=train)
        return dense(own, name="revert")(gelu(norm(name="revert_norm")(token)))


class CrossViT(nn.Module):
    """Images [B, H, W, C], sides multiples of 12 -> logits [B, num_classes].

    The parameters belong to one image size: that of `init`, or of `zoo.load_torch(image_size=...)`.
    The logits are the mean of both branches' classifiers.

    Attributes:
      widths: of a token in each branch.
      depths: number of blocks of each branch in a stage.
      num_heads: of attention, in both branches.
      stages: how often the class tokens cross over.
      num_classes: 0 for no classifier; the embedding comes out, both class tokens side by side.
      dropout: rate after the position embeddings, after attention and in the MLPs.
      drop_path: rate of stochastic depth in the last block, growing linearly from 0 in the first.
      dtype: of the computation; parameters, softmax, statistics and logits stay float32.
    """

    widths: Sequence[int]
    num_heads: int
    depths: Sequence[int] = (1, 4)
    stages: int = 3
    num_classes: int = 1000
    dropout: float = 0.0
    drop_path: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        # Stem: patches, class token and positions of each branch
        branches, grids = [], []
        for i, width in zip(BRANCHES, self.widths, strict=True):
            x = self.patches(i, images, width)  # [B, H/p, W/p, C]
            grids.append(x.shape[1:3])
            x = x.reshape(x.shape[0], -1, width)  # [B, N, C]
            x = prepend_tokens(self, x, f"branch{i}_class_token")  # [B, 1 + N, C]
            x = add_positions(self, x, f"branch{i}_pos_embed")
            branches.append(nn.Dropout(self.dropout, deterministic=not train)(x))

        # Stages
        settings = dict(dropout=self.dropout, dtype=self.dtype)
        rates = linspace_rates(self.drop_path, self.stages * max(self.depths))
        for stage in range(1, self.stages + 1):
            here = rates[(stage - 1) * max(self.depths) :][: max(self.depths)]
            for i, depth in zip(BRANCHES, self.depths, strict=True):
                block = partial(Block, self.num_heads, **settings)
                prefix = f"stage{stage}_branch{i}_"
                outputs = run_blocks([block], branches[i - 1], here[:depth], train=train, prefix=prefix)
                branches[i - 1] = outputs[-1]
            fused = []
            for i, (own, other) in zip(BRANCHES, [branches, branches[::-1]], strict=True):
                fuse = Fusion(
                    self.num_heads, here[-1], **settings, name=f"stage{stage}_branch{i}_fusion"
                )
                token = fuse(own[:, :1], other[:, 1:], train=train)
                fused.append(jnp.concatenate([token, own[:, 1:]], axis=1))
            branches = fused
            for i, x, grid in zip(BRANCHES, branches, grids, strict=True):
                self.sow_branch(i, f"stage{stage}", x[:, 1:].reshape(x.shape[0], *grid, -1))

        # Head
        norm = partial(nn.LayerNorm, epsilon=1e-6, dtype=self.dtype)
        tokens = [norm(name=f"branch{i}_norm")(branches[i - 1][:, 0]) for i in BRANCHES]
        embedding = jnp.concatenate(tokens, axis=-1)  # [B, sum of the widths]
        self.sow("intermediates", "embedding", embedding)
        if not self.num_classes:
            return embedding
        head_dtype = jnp.promote_types(self.dtype, jnp.float32)
        head = partial(nn.Dense, self.num_classes, dtype=head_dtype, kernel_init=trunc_normal)
        logits = [head(name=f"branch{i}_head")(tokens[i - 1]) for i in BRANCHES]
        return (logits[0] + logits[1]) / 2
