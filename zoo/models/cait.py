"""CaiT: deep vision transformers with layer scale, talking heads and late class attention.

Going deeper with Image Transformers, Touvron et al. 2021, arXiv:2103.17239, Tables 3 and 5. Talking
heads: Shazeer et al. 2020, arXiv:2003.02436. Reference: timm `cait_xxs24_224`, `cait_xxs36_224`,
`cait_xs24_384`, `cait_s24_224`, `cait_s36_384`, which are the authors' too; XS-24 and S-36 have
published weights for 384 pixels only.

Three ideas: each branch has a learned scale per channel that starts near zero (layer scale), so
that deep networks train; the heads are mixed before and after the softmax (talking heads); patches
attend to each other without a class token, which then attends to them in two blocks of its own
(class attention).

Differences from the paper: none.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from zoo.layers.attention import attend, merge_heads, sow_map, split_heads, split_qkv
from zoo.layers.blocks import run_blocks, run_stage, stage_ends
from zoo.layers.dense import Dense, einsum
from zoo.layers.drop_path import DropPath, rule_drop_path_rates
from zoo.layers.head import classify
from zoo.layers.image_input import takes_images
from zoo.layers.mlp import Mlp
from zoo.layers.position import add_positions, resample_tokens, trunc_normal
from zoo.layers.tokens import patch_embedding, prepend_tokens
from zoo.models.vit import TIMM
from zoo.registry import Family


class TalkingHeads(nn.Module):
    """Talking-heads self-attention, [B, N, C] -> [B, N, C].

    Linear maps mix the heads' logits, and after the softmax their weights. Both are in float32 or
    wider; the attention map for `zoo.features` is the softmax itself.

    Attributes:
      num_heads: Number of attention heads; divides C.
      dropout: Dropout rate after the output projection.
      dtype: Dtype of the computation.
    """

    num_heads: int
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        width, wide = x.shape[-1], jnp.promote_types(self.dtype, jnp.float32)
        qkv = Dense(3 * width, dtype=self.dtype, kernel_init=trunc_normal, name="qkv")(x)
        query, key, value = split_qkv(qkv, self.num_heads)
        query = query * (width // self.num_heads) ** -0.5
        square = (self.num_heads, self.num_heads)
        mix = partial(nn.Einsum, square, "bhnm,hg->bgnm", dtype=wide, kernel_init=trunc_normal)
        logits = einsum("bnhd,bmhd->bhnm", query, key, preferred_element_type=wide)
        weights = nn.softmax(mix(name="mix_logits")(logits))  # [B, heads, N, N]
        sow_map(self, weights)
        weights = mix(name="mix_weights")(weights).astype(value.dtype)
        x = merge_heads(einsum("bhnm,bmhd->bnhd", weights, value))
        x = Dense(width, dtype=self.dtype, kernel_init=trunc_normal, name="proj")(x)
        return nn.Dropout(self.dropout, deterministic=not train)(x)


class ClassAttention(nn.Module):
    """Class attention: the first token attends to all tokens, [B, 1 + N, C] -> [B, 1, C].

    Attributes:
      num_heads: Number of attention heads; divides C.
      dropout: Dropout rate after the output projection.
      dtype: Dtype of the computation; the softmax is in float32 or wider.
    """

    num_heads: int
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        dense = partial(Dense, x.shape[-1], dtype=self.dtype, kernel_init=trunc_normal)
        query = split_heads(dense(name="query")(x[:, :1]), self.num_heads)
        key = split_heads(dense(name="key")(x), self.num_heads)
        value = split_heads(dense(name="value")(x), self.num_heads)
        x = dense(name="proj")(merge_heads(attend(self, query, key, value)))  # [B, 1, C]
        return nn.Dropout(self.dropout, deterministic=not train)(x)


class Block(nn.Module):
    """Pre-norm residual attention and MLP with layer scale, [B, N, C] -> [B, N, C].

    Only the first tokens change, as many as attention returns: all, or the class token.

    Attributes:
      attention: `TalkingHeads` or `ClassAttention`.
      num_heads: Number of attention heads; divides C.
      layer_scale: Initial scale of the branches.
      drop_path: Drop path rate of either branch.
      dropout: Dropout rate after attention and in the MLP.
      dtype: Dtype of the computation.
    """

    attention: Callable[..., nn.Module]
    num_heads: int
    layer_scale: float
    drop_path: float | jax.Array = 0.0
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        norm = partial(nn.LayerNorm, epsilon=1e-6, dtype=self.dtype)
        settings: dict[str, Any] = dict(dropout=self.dropout, dtype=self.dtype)
        y = norm(name="norm1")(x)
        y = self.attention(self.num_heads, **settings, name="attention")(y, train=train)
        changed, kept = jnp.split(x, [y.shape[1]], axis=1)
        y = self.scaled(y, "layer_scale1")
        changed = changed + DropPath(self.drop_path)(y, train=train)
        y = norm(name="norm2")(changed)
        y = Mlp(4 * x.shape[-1], **settings, kernel_init=trunc_normal, name="mlp")(y, train=train)
        y = self.scaled(y, "layer_scale2")
        changed = changed + DropPath(self.drop_path)(y, train=train)
        return jnp.concatenate([changed, kept], axis=1)

    def scaled(self, y: jax.Array, name: str) -> jax.Array:
        """Layer scale: multiplies a branch by the parameter `name`, one factor per channel."""
        init = nn.initializers.constant(self.layer_scale)
        return y * self.param(name, init, y.shape[-1:]).astype(y.dtype)[None, None]


class CaiT(nn.Module):
    """CaiT, images [B, H, W, C] whose sides are multiples of 16 -> logits [B, num_classes].

    The parameters belong to one image size: that of `init`, or of `zoo.load_torch(image_size=...)`.

    Attributes:
      width: Width of a token, C.
      depth: Number of blocks of the patches; two blocks of the class token follow.
      num_heads: Number of attention heads in each block.
      layer_scale: Initial scale of the branches; the deeper the network, the smaller.
      num_classes: Number of classes; 0 removes the head and returns the class token [B, C].
      dropout: Dropout rate after the position embedding, after attention and in the MLPs.
      drop_path: Stochastic depth rate, the same in all blocks of the patches.
      scan: Whether to compile the blocks of the patches once, as a scan over stacked parameters;
        see zoo.layers.blocks.
      remat: Whether to rematerialize activations of the blocks of the patches in the backward pass.
      dtype: Dtype of the computation; parameters, softmax, normalisation statistics and logits stay
        float32.
    """

    width: int
    depth: int
    num_heads: int
    layer_scale: float = 1e-5
    num_classes: int = 1000
    dropout: float = 0.0
    drop_path: float = 0.0
    scan: bool = False
    remat: bool = False
    dtype: Any = jnp.float32

    @takes_images()
    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        settings: dict[str, Any] = dict(dropout=self.dropout, dtype=self.dtype)
        block = partial(Block, num_heads=self.num_heads, layer_scale=self.layer_scale, **settings)

        # Stem: patches, positions
        x = patch_embedding(images, 16, self.width, self.dtype)  # [B, H/16, W/16, C]
        self.sow("intermediates", "stem", x)
        grid = x.shape
        x = add_positions(self, x.reshape(grid[0], -1, self.width))  # [B, N, C]
        x = nn.Dropout(self.dropout, deterministic=not train)(x)

        # Blocks of the patches, whose quarters are the stages, and of the class token
        patch_block = partial(block, TalkingHeads)
        (rates,) = rule_drop_path_rates("constant", self.drop_path, (self.depth,))
        flags: dict[str, Any] = dict(scan=self.scan, remat=self.remat)
        outputs = run_blocks([patch_block], x, rates, train=train, **flags)
        for i, end in enumerate(stage_ends(self.depth), 1):
            self.sow("intermediates", f"stage{i}", outputs[end - 1].reshape(grid))
        x = prepend_tokens(self, outputs[-1], "class_token")  # [B, 1 + N, C]
        class_block = partial(block, ClassAttention)
        x = run_stage([class_block], x, [0.0, 0.0], train=train, prefix="class_")

        # Head
        x = nn.LayerNorm(1e-6, self.dtype, name="norm")(x[:, 0])  # [B, C]
        return classify(self, x, self.num_classes, self.dtype, kernel_init=trunc_normal)


family = Family(
    "cait",
    dict(
        paper="Going deeper with Image Transformers, arXiv:2103.17239",
        year=2021,
        accuracy_source="timm results-imagenet.csv, weights fb_dist_in1k (distilled)",
        distilled=True,
        interpolation="bicubic",
        crop=1.0,
    ),
    resampling=((r"pos_embed$", resample_tokens),),
)


@family.variant(reference="timm cait_xxs24_224", top1=78.400, top5=94.326)
def cait_xxs24(**kwargs) -> CaiT:
    """11,956,264 parameters, 2.52 G multiply-adds, 78.4 % top-1."""
    return CaiT(192, 24, 4, **kwargs)


@family.variant(reference="timm cait_xxs36_224", top1=79.750, top5=94.866)
def cait_xxs36(**kwargs) -> CaiT:
    """17,299,720 parameters, 3.76 G multiply-adds, 79.8 % top-1."""
    return CaiT(192, 36, 4, **kwargs)


@family.variant(
    reference="timm cait_xs24_384",
    image_size=384,
    top1=84.1,
    accuracy_source="the authors' README_cait (distilled)",
)
def cait_xs24(**kwargs) -> CaiT:
    """26,670,088 parameters, 19.24 G multiply-adds, 84.1 % top-1 (at 384 pixels)."""
    return CaiT(288, 24, 6, **kwargs)


@family.variant(reference="timm cait_s24_224", top1=83.484, top5=96.586)
def cait_s24(**kwargs) -> CaiT:
    """46,916,200 parameters, 9.33 G multiply-adds, 83.5 % top-1."""
    return CaiT(384, 24, 8, **kwargs)


@family.variant(reference="timm cait_s36_384", image_size=384, top1=85.458, top5=97.480)
def cait_s36(**kwargs) -> CaiT:
    """68,366,632 parameters, 47.91 G multiply-adds, 85.5 % top-1 (at 384 pixels)."""
    return CaiT(384, 36, 8, layer_scale=1e-6, **kwargs)


# The authors' names are timm's.
CLASS_BLOCKS = (
    (r"^class_block(\d+)", r"blocks_token_only/\1-1"),
    (r"/layer_scale(\d)$", r"/gamma_\1"),
    (r"/attention/mix_logits$", "/attention/proj_l"),
    (r"/attention/mix_weights$", "/attention/proj_w"),
    (r"/attention/(q|k|v)(uery|ey|alue)$", r"/attention/\1"),
)
family.checkpoint_keys("timm", (*CLASS_BLOCKS, *TIMM))
