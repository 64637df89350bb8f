"""PVT: a pyramid of transformers, whose attention looks at fewer keys where the grid is fine.

Pyramid Vision Transformer: A Versatile Backbone for Dense Prediction without Convolutions, Wang et
al. 2021, arXiv:2102.12122, Table 1. Reference: the authors' whai362/PVT `classification/pvt.py`.

Differences from the paper: none known. Where the reference resamples its position embeddings at
every call with images of another size, here `zoo.load_torch(image_size=...)` does so, once.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from zoo.layers.blocks import run_stage
from zoo.layers.drop_path import DropPath, stage_drop_path_rates
from zoo.layers.head import classify
from zoo.layers.image_input import takes_images
from zoo.layers.mlp import Mlp
from zoo.layers.position import add_positions, resample_tokens, trunc_normal
from zoo.layers.reduced_attention import ReducedAttention
from zoo.layers.tokens import normalized_patches, prepend_tokens
from zoo.registry import Family


class Block(nn.Module):
    """Pre-norm residual block of attention to a coarser grid and MLP. [B, N, C] -> [B, N, C].

    Attributes:
      num_heads: Number of attention heads; divides C.
      mlp_ratio: Width of the MLP's hidden layer over C.
      ratio: Side of the patches that make one key each, in tokens.
      grid: Height and width (H, W) of the grid of tokens. With a class token, `ratio` is 1.
      drop_path: Drop path rate of either branch.
      dropout: Dropout rate after attention and in the MLP.
      dtype: Dtype of the computation.
    """

    num_heads: int
    mlp_ratio: int
    ratio: int
    grid: tuple[int, int]
    drop_path: float | jax.Array = 0.0
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        norm = partial(nn.LayerNorm, epsilon=1e-6, dtype=self.dtype)
        settings: dict[str, Any] = dict(dropout=self.dropout, dtype=self.dtype)
        attention = ReducedAttention(
            self.num_heads, self.ratio, self.grid, **settings, name="attention"
        )
        y = attention(norm(name="norm1")(x), train=train)
        x = x + DropPath(self.drop_path)(y, train=train)
        y = norm(name="norm2")(x)
        mlp = partial(Mlp, kernel_init=trunc_normal, **settings, name="mlp")
        y = mlp(self.mlp_ratio * x.shape[-1])(y, train=train)
        return x + DropPath(self.drop_path)(y, train=train)


class PVT(nn.Module):
    """Images [B, H, W, C], 32 pixels each way and more -> logits [B, num_classes].

    The parameters belong to one image size: that of `init`, or of `zoo.load_torch(image_size=...)`.
    The stages' patches are of 4x4 pixels, then of 2x2 tokens; an odd row or column at the end is
    left out.

    Attributes:
      depths: Number of blocks in each of the four stages.
      dims: Width of the tokens in each stage.
      num_heads: Number of attention heads in each stage.
      mlp_ratios: Width of the MLP's hidden layer over that of the tokens, in each stage.
      ratios: Side of the patches that make one key each, in tokens, in each stage; the last is 1.
      block: Constructor of the blocks; called with a stage's number of heads, MLP ratio, ratio and
        grid.
      num_classes: Number of classes; 0 removes the head and returns the class token [B, C].
      dropout: Dropout rate after the position embeddings, after attention and in the MLPs.
      drop_path: Stochastic depth rate of the last block, growing linearly from 0 in the first.
      scan: Whether to compile equal blocks once, as a scan over stacked parameters; see
        zoo.layers.blocks.
      remat: Whether to rematerialize block activations in the backward pass.
      dtype: Dtype of the computation; parameters, softmax, normalisation statistics and logits stay
        float32.
    """

    depths: Sequence[int]
    dims: Sequence[int] = (64, 128, 320, 512)
    num_heads: Sequence[int] = (1, 2, 5, 8)
    mlp_ratios: Sequence[int] = (8, 8, 4, 4)
    ratios: Sequence[int] = (8, 4, 2, 1)
    block: Callable[..., nn.Module] = Block
    num_classes: int = 1000
    dropout: float = 0.0
    drop_path: float = 0.0
    scan: bool = False
    remat: bool = False
    dtype: Any = jnp.float32

    @takes_images(at_least=32)
    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        run = partial(run_stage, train=train, scan=self.scan, remat=self.remat)

        # Stages: patches, positions, blocks
        x = images
        for i, rates in enumerate(stage_drop_path_rates(self.drop_path, self.depths), 1):
            name, size = ("stem", 4) if i == 1 else (f"stage{i}_patch", 2)
            settings: dict[str, Any] = dict(name=name, dtype=self.dtype)
            x = normalized_patches(x, self.dims[i - 1], size, size, **settings)
            # [B, H/4, W/4, C], and half the sides in each further stage
            if i == 1:
                self.sow("intermediates", "stem", x)
            (batch, *grid, width), is_last = x.shape, i == len(self.depths)
            x = x.reshape(batch, -1, width)  # [B, N, C]
            if is_last:
                x = prepend_tokens(self, x, "class_token")  # [B, 1 + N, C]
            x = add_positions(self, x, f"pos_embed{i}")
            x = nn.Dropout(self.dropout, deterministic=not train)(x)
            shape = (self.num_heads[i - 1], self.mlp_ratios[i - 1], self.ratios[i - 1], tuple(grid))
            block = partial(self.block, *shape, dropout=self.dropout, dtype=self.dtype)
            tokens = run([block], x, rates, prefix=f"stage{i}_")
            x = tokens[:, int(is_last) :].reshape(batch, *grid, width)
            self.sow("intermediates", f"stage{i}", x)

        # Head
        x = nn.LayerNorm(1e-6, self.dtype, name="norm")(tokens[:, 0])  # [B, C]
        return classify(self, x, self.num_classes, self.dtype, kernel_init=trunc_normal)


family = Family(
    "pvt",
    dict(
        paper="Pyramid Vision Transformer, arXiv:2102.12122",
        year=2021,
        accuracy_source="whai362/PVT",
        interpolation="bicubic",
    ),
    # Like torch.nn.functional.interpolate in the reference.
    resampling=((r"pos_embed\d$", partial(resample_tokens, method="linear", antialias=False)),),
)


@family.variant(reference="whai362/PVT pvt_tiny", top1=75.1)
def pvt_tiny(**kwargs) -> PVT:
    """13,229,288 parameters, 1.93 G multiply-adds, 75.1 % top-1."""
    return PVT((2, 2, 2, 2), **kwargs)


@family.variant(reference="whai362/PVT pvt_small", top1=79.8)
def pvt_small(**kwargs) -> PVT:
    """24,485,864 parameters, 3.82 G multiply-adds, 79.8 % top-1."""
    return PVT((3, 4, 6, 3), **kwargs)


@family.variant(reference="whai362/PVT pvt_medium", top1=81.2)
def pvt_medium(**kwargs) -> PVT:
    """44,208,104 parameters, 6.66 G multiply-adds, 81.2 % top-1."""
    return PVT((3, 4, 18, 3), **kwargs)


@family.variant(reference="whai362/PVT pvt_large", top1=81.7)
def pvt_large(**kwargs) -> PVT:
    """61,369,320 parameters, 9.81 G multiply-adds, 81.7 % top-1."""
    return PVT((3, 8, 27, 3), **kwargs)


NAMES = (
    (r"^class_token$", "cls_token"),
    (r"^stem_(conv|norm)$", r"stage1_patch_\1"),
    (r"^stage(\d)_patch_conv$", r"patch_embed\1/proj"),
    (r"^stage(\d)_patch_norm$", r"patch_embed\1/norm"),
    (r"^stage(\d)_block(\d+)/", r"block\1/\2-1/"),
    (r"/attention/", "/attn/"),
    (r"/reduce_conv$", "/sr"),
    (r"/reduce_norm$", "/norm"),
)
family.checkpoint_keys("whai362/PVT", NAMES)
