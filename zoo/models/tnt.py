"""TNT: a transformer on the pixels of each patch, within one on the patches.

Transformer in Transformer, Han et al. 2021, arXiv:2103.00112, Table 1. Reference: timm
`tnt_s_legacy_patch16_224`, `tnt_b_patch16_224`.

In each block the 4x4 "pixels" of every patch (of 4x4 real ones each) attend to each other, and are
then added to their patch's token. There are two versions. The first ("legacy") computes the pixels
from the whole image, normalises each by itself before they are added to the patch and has a bias
there. The second, of the authors' code and weights, computes them from each patch alone, normalises
all of a patch together, and normalises again what is added. Only TNT-S has weights of the first;
`tnt_s` with `legacy=False` is timm's `tnt_s_patch16_224`, for its weights of the second.

Differences from the paper: queries and keys have one layer, values another (as in the authors'
code); drop path treats each patch's pixels as an example.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from zoo.layers.attention import attend, merge_heads, split_heads
from zoo.layers.blocks import run_blocks, stage_ends
from zoo.layers.conv import Conv
from zoo.layers.dense import Dense
from zoo.layers.drop_path import DropPath, drop_path_rates
from zoo.layers.head import classify
from zoo.layers.image_input import takes_images
from zoo.layers.initializers import torch_default
from zoo.layers.mlp import Mlp
from zoo.layers.position import add_positions, resample_tokens, trunc_normal
from zoo.layers.sharding import reshape_batch
from zoo.layers.tokens import prepend_tokens
from zoo.registry import Family


class Attention(nn.Module):
    """Self-attention, [B, N, C] -> [B, N, C]; only the output projection has a bias."""

    num_heads: int
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        width = x.shape[-1]
        dense = partial(Dense, dtype=self.dtype, kernel_init=trunc_normal)
        qk = dense(2 * width, use_bias=False, name="qk")(x)
        value = dense(width, use_bias=False, name="value")(x)
        qkv = (*jnp.split(qk, 2, axis=-1), value)
        x = merge_heads(attend(self, *(split_heads(tokens, self.num_heads) for tokens in qkv)))
        x = dense(width, name="proj")(x)
        return nn.Dropout(self.dropout, deterministic=not train)(x)


class Block(nn.Module):
    """Pixels [B * N, 16, c] and tokens [B, 1 + N, C] -> pixels and tokens of the same shapes.

    Attributes:
      num_heads: Number of attention heads for the tokens.
      pixel_heads: Number of attention heads for the pixels.
      legacy: Whether it is the first version, see above.
      drop_path: Drop path rate of each branch.
      dropout: Dropout rate after attention and in the MLPs.
      dtype: Dtype of the computation.
    """

    num_heads: int
    pixel_heads: int
    legacy: bool
    drop_path: float | jax.Array = 0.0
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: tuple[jax.Array, jax.Array], *, train: bool
    ) -> tuple[jax.Array, jax.Array]:
        pixels, tokens = x
        norm = partial(nn.LayerNorm, epsilon=1e-5, dtype=self.dtype)
        pixels = self.transformer(pixels, "pixel_", self.pixel_heads, train)
        batch, count, width = tokens.shape
        patch_shape = (batch, count - 1, -1)  # [B, N, 16 * c]
        y = pixels if self.legacy else reshape_batch(pixels, patch_shape)
        y = reshape_batch(norm(name="pixel_norm")(y), patch_shape)
        dense = partial(Dense, use_bias=self.legacy, dtype=self.dtype, kernel_init=trunc_normal)
        y = dense(width, name="pixel_proj")(y)  # [B, N, C]
        y = y if self.legacy else norm(name="patch_norm")(y)
        tokens = tokens + jnp.pad(y, ((0, 0), (1, 0), (0, 0)))  # nothing for the class token
        return pixels, self.transformer(tokens, "", self.num_heads, train)

    def transformer(self, x: jax.Array, prefix: str, num_heads: int, train: bool) -> jax.Array:
        """Pre-norm residual block of attention and MLP, whose layers' names begin with `prefix`.

        [B, N, C] -> [B, N, C].
        """
        norm = partial(nn.LayerNorm, epsilon=1e-5, dtype=self.dtype)
        settings: dict[str, Any] = dict(dropout=self.dropout, dtype=self.dtype)
        y = norm(name=f"{prefix}norm1")(x)
        y = Attention(num_heads, **settings, name=f"{prefix}attention")(y, train=train)
        x = x + DropPath(self.drop_path)(y, train=train)
        y = norm(name=f"{prefix}norm2")(x)
        mlp = partial(Mlp, 4 * x.shape[-1], **settings, kernel_init=trunc_normal)
        y = mlp(name=f"{prefix}mlp")(y, train=train)
        return x + DropPath(self.drop_path)(y, train=train)


class TNT(nn.Module):
    """Images [B, H, W, C], sides multiples of 16 -> logits [B, num_classes].

    The parameters belong to one image size: that of `init`, or of `zoo.load_torch(image_size=...)`.

    Attributes:
      width: Width of a patch's token, C.
      depth: Number of blocks.
      num_heads: Number of attention heads for the tokens.
      pixel_width: Number of features of a pixel, c.
      pixel_heads: Number of attention heads for the pixels.
      legacy: Whether it is the first version, see above.
      num_classes: Number of classes; 0 removes the head and returns the class token [B, C].
      dropout: Dropout rate after the position embedding, after attention and in the MLPs.
      drop_path: Stochastic depth rate of the last block, growing linearly from 0 in the first.
      scan: Whether to compile equal blocks once, as a scan over stacked parameters; see
        zoo.layers.blocks.
      remat: Whether to rematerialize block activations in the backward pass.
      dtype: Dtype of the computation; parameters, softmax, normalisation statistics and logits stay
        float32.
    """

    width: int
    depth: int
    num_heads: int
    pixel_width: int
    pixel_heads: int = 4
    legacy: bool = False
    num_classes: int = 1000
    dropout: float = 0.0
    drop_path: float = 0.0
    scan: bool = False
    remat: bool = False
    dtype: Any = jnp.float32

    @takes_images(multiples_of=16)
    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        # Stem: pixels, patches, class token, positions
        norm = partial(nn.LayerNorm, epsilon=1e-5, dtype=self.dtype)
        pixels = self.pixels(images)  # [B, N, 16, c]
        batch, height, width = images.shape[0], images.shape[1] // 16, images.shape[2] // 16
        x = norm(name="stem_norm1")(pixels.reshape(batch, height * width, -1))
        dense = partial(Dense, dtype=self.dtype, kernel_init=trunc_normal)
        x = norm(name="stem_norm2")(dense(self.width, name="stem_proj")(x))  # [B, N, C]
        self.sow("intermediates", "stem", x.reshape(batch, height, width, -1))
        x = add_positions(self, prepend_tokens(self, x, "class_token"))  # [B, 1 + N, C]
        x = nn.Dropout(self.dropout, deterministic=not train)(x)

        # Blocks. Their quarters are the stages.
        settings: dict[str, Any] = dict(legacy=self.legacy, dropout=self.dropout, dtype=self.dtype)
        block = partial(Block, self.num_heads, self.pixel_heads, **settings)
        x = reshape_batch(pixels, (-1, *pixels.shape[2:])), x
        rates = drop_path_rates(self.drop_path, self.depth)
        outputs = run_blocks([block], x, rates, train=train, scan=self.scan, remat=self.remat)
        for i, end in enumerate(stage_ends(self.depth), 1):
            grid = outputs[end - 1][1][:, 1:].reshape(batch, height, width, -1)
            self.sow("intermediates", f"stage{i}", grid)  # [B, H/16, W/16, C]

        # Head
        x = norm(name="norm")(outputs[-1][1][:, 0])  # [B, C]
        return classify(self, x, self.num_classes, self.dtype, kernel_init=trunc_normal)

    def pixels(self, images: jax.Array) -> jax.Array:
        """Returns the features of each patch's 4x4 pixels, [B, H, W, C] -> [B, N, 16, c]."""
        settings: dict[str, Any] = dict(padding=3, kernel_init=torch_default, dtype=self.dtype)
        conv = Conv(self.pixel_width, (7, 7), 4, **settings, name="stem_conv")
        batch = images.shape[0]
        if self.legacy:
            pixels = patches(conv(images), 4)  # [B, N, 4, 4, c]
        else:
            patch_images = patches(images, 16)  # [B, N, 16, 16, C]
            pixels = conv(reshape_batch(patch_images, (-1, *patch_images.shape[2:])))
            pixels = reshape_batch(pixels, (*patch_images.shape[:2], 4, 4, -1))
        # In the reference's layout, [1, c, 4, 4].
        positions = self.param("pixel_pos_embed", trunc_normal, (1, self.pixel_width, 4, 4))
        positions = positions.astype(pixels.dtype).transpose(0, 2, 3, 1)[None]
        return (pixels + positions).reshape(batch, -1, 16, self.pixel_width)


def patches(x: jax.Array, side: int) -> jax.Array:
    """Cuts x into patches, [B, H, W, C] -> [B, H / side * W / side, side, side, C]."""
    batch, height, width, channels = x.shape
    x = reshape_batch(x, (batch, height // side, side, width // side, side, channels))
    return reshape_batch(x.swapaxes(2, 3), (batch, -1, side, side, channels))


family = Family(
    "tnt",
    dict(
        paper="Transformer in Transformer, arXiv:2103.00112",
        year=2021,
        accuracy_source="timm results-imagenet.csv, weights in1k",
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        interpolation="bicubic",
        crop=0.9,
    ),
    resampling=((r"params/pos_embed$", resample_tokens),),
)


@family.variant(reference="timm tnt_s_legacy_patch16_224", top1=81.512, top5=95.742)
def tnt_s(**kwargs) -> TNT:
    """23,755,336 parameters, 5.22 G multiply-adds, 81.5 % top-1."""
    return TNT(384, 12, 6, 24, legacy=True, **kwargs)


@family.variant(reference="timm tnt_b_patch16_224", top1=82.864, top5=96.230)
def tnt_b(**kwargs) -> TNT:
    """65,428,680 parameters, 14.05 G multiply-adds, 82.9 % top-1."""
    return TNT(640, 12, 10, 40, **kwargs)


family.checkpoint_keys(
    "timm",
    (
        (r"^class_token$", "cls_token"),
        (r"^pos_embed$", "patch_pos"),
        (r"^pixel_pos_embed$", "pixel_pos"),
        (r"^stem_conv$", "pixel_embed/proj"),
        (r"^stem_norm(\d)$", r"norm\1_proj"),
        (r"^stem_proj$", "proj"),
        (r"^block(\d+)", r"blocks/\1-1"),
        (r"/pixel_norm$", "/norm1_proj"),
        (r"/patch_norm$", "/norm2_proj"),
        (r"/pixel_proj$", "/proj"),
        (r"/pixel_norm1$", "/norm_in"),
        (r"/pixel_norm2$", "/norm_mlp_in"),
        (r"/pixel_attention/", "/attn_in/"),
        (r"/pixel_mlp/", "/mlp_in/"),
        (r"/norm1$", "/norm_out"),
        (r"/norm2$", "/norm_mlp"),
        (r"/attention/", "/attn_out/"),
        (r"/value$", "/v"),
    ),
)
