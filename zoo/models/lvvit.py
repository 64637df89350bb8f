"""LV-ViT: vision transformers trained on a label for every token.

All Tokens Matter: Token Labeling for Training Better Vision Transformers, Jiang et al. 2021,
arXiv:2104.10858, Tables 1 and 2. Reference: the authors' `lvvit_t`, `lvvit_s`, `lvvit_m`
(github.com/zihangJiang/TokenLabeling).

A second head classifies each patch; its logits are sown as "token_logits", [B, H/16, W/16,
num_classes], for the loss on token labels. In training the network returns the class token's logits
alone. In evaluation half of the token logits' maximum over all patches is added to them.

MixToken mixes images after the stem: with `mixed`, a boolean mask [H/16, W/16], the tokens where it
is True come from the image at the mirrored position in the batch. Their logits go back to that
image.

Differences from the paper: evaluation is as above, as in the authors' code; the caller chooses the
mask and whether tokens are mixed.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from zoo.layers.blocks import run_blocks, stage_ends
from zoo.layers.conv import Conv
from zoo.layers.drop_path import drop_path_rates
from zoo.layers.head import logits_layer
from zoo.layers.image_input import takes_images
from zoo.layers.initializers import torch_default
from zoo.layers.position import add_positions, resample_tokens, trunc_normal
from zoo.layers.tokens import prepend_tokens
from zoo.layers.transformer import TransformerBlock
from zoo.models.vit import TIMM
from zoo.registry import Family

Block = partial(TransformerBlock, qkv_bias=False, epsilon=1e-5, kernel_init=trunc_normal)


class LVViT(nn.Module):
    """LV-ViT, images [B, H, W, C] whose sides are multiples of 16 -> logits [B, num_classes].

    The parameters belong to one image size: that of `init`, or of `zoo.load_torch(image_size=...)`.

    Attributes:
      width: Width of a token, C.
      depth: Number of blocks.
      num_heads: Number of attention heads in each block.
      divisor: Number by which the blocks' residual branches are divided.
      num_classes: Number of classes; 0 removes the heads and returns the class token [B, C].
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
    divisor: float = 1.0
    num_classes: int = 1000
    dropout: float = 0.0
    drop_path: float = 0.0
    scan: bool = False
    remat: bool = False
    dtype: Any = jnp.float32

    @takes_images(multiples_of=16)
    @nn.compact
    def __call__(
        self, images: jax.Array, *, train: bool = False, mixed: jax.Array | None = None
    ) -> jax.Array:
        # Stem: convolutions, patches, class token, positions
        x = self.stem(images, train)  # [B, H/16, W/16, C]
        self.sow("intermediates", "stem", x)
        batch, height, width, _ = x.shape
        x = mix_tokens(x, mixed).reshape(batch, height * width, self.width)  # [B, N, C]
        x = add_positions(self, prepend_tokens(self, x, "class_token"))  # [B, 1 + N, C]
        x = nn.Dropout(self.dropout, deterministic=not train)(x)

        # Blocks. Their quarters are the stages.
        settings: dict[str, Any] = dict(
            branch_scale=1 / self.divisor, dropout=self.dropout, dtype=self.dtype
        )
        block = partial(Block, self.num_heads, 3.0, **settings)
        rates = drop_path_rates(self.drop_path, self.depth)
        outputs = run_blocks([block], x, rates, train=train, scan=self.scan, remat=self.remat)
        for i, end in enumerate(stage_ends(self.depth), 1):
            grid = outputs[end - 1][:, 1:].reshape(batch, height, width, -1)
            self.sow("intermediates", f"stage{i}", grid)  # [B, H/16, W/16, C]

        # Heads
        x = nn.LayerNorm(1e-5, self.dtype, name="norm")(outputs[-1])
        self.sow("intermediates", "embedding", x[:, 0])  # [B, C]
        if not self.num_classes:
            return x[:, 0]
        head = partial(logits_layer, self.num_classes, self.dtype, kernel_init=trunc_normal)
        logits, token_logits = head(name="head")(x[:, 0]), head(name="token_head")(x[:, 1:])
        grid = mix_tokens(token_logits.reshape(batch, height, width, -1), mixed)
        self.sow("intermediates", "token_logits", grid)  # [B, H/16, W/16, num_classes]
        return logits if train else logits + 0.5 * jnp.max(token_logits, axis=1)

    def stem(self, images: jax.Array, train: bool) -> jax.Array:
        """Three convolutions and a patch embedding, [B, H, W, C] -> [B, H/16, W/16, width].

        The convolutions have half the resolution, so the patches are 8x8 of their pixels.
        """
        conv = partial(Conv, kernel_init=torch_default, dtype=self.dtype)
        norm = partial(nn.BatchNorm, use_running_average=not train, momentum=0.9, dtype=self.dtype)
        x = images
        for i, (size, strides) in enumerate([(7, 2), (3, 1), (3, 1)], 1):
            same: dict[str, Any] = dict(padding=size // 2, use_bias=False)
            x = conv(64, (size, size), strides, **same, name=f"stem_conv{i}")(x)
            x = nn.relu(norm(name=f"stem_norm{i}")(x))  # [B, H/2, W/2, 64]
        return conv(self.width, (8, 8), 8, padding="VALID", name="stem_patches")(x)


def mix_tokens(grid: jax.Array, mixed: jax.Array | None) -> jax.Array:
    """Mixes tokens [B, h, w, C] of a batch with those of the reversed batch where `mixed` is True.

    `mixed` is a boolean mask [h, w]; None for no mixing. The function is its own inverse.
    """
    return grid if mixed is None else jnp.where(mixed[None, :, :, None], grid[::-1], grid)


family = Family(
    "lvvit",
    dict(
        paper="All Tokens Matter: Token Labeling for Training Better Vision Transformers, "
        "arXiv:2104.10858",
        year=2021,
        accuracy_source="the authors' README (trained on token labels made by NFNet-F6)",
        distilled=True,
        interpolation="bicubic",
        crop=0.9,
    ),
    resampling=((r"pos_embed$", resample_tokens),),
)


@family.variant(reference="TokenLabeling lvvit_t", top1=79.1)
def lvvit_t(**kwargs) -> LVViT:
    """8,534,720 parameters, 2.87 G multiply-adds, 79.1 % top-1."""
    return LVViT(240, 12, 4, **kwargs)


@family.variant(reference="TokenLabeling lvvit_s", top1=83.3)
def lvvit_s(**kwargs) -> LVViT:
    """26,151,824 parameters, 6.55 G multiply-adds, 83.3 % top-1."""
    return LVViT(384, 16, 6, divisor=2.0, **kwargs)


@family.variant(reference="TokenLabeling lvvit_m", top1=84.0, crop=1.0)
def lvvit_m(**kwargs) -> LVViT:
    """55,830,544 parameters, 12.68 G multiply-adds, 84.0 % top-1."""
    return LVViT(512, 20, 8, divisor=2.0, **kwargs)


STEM = (
    (r"^stem_patches$", "patch_embed/proj"),
    (r"^stem_conv(\d)$", r"patch_embed/conv\1"),
    (r"^stem_norm(\d)$", r"patch_embed/bn\1"),
    (r"^token_head$", "aux_head"),
)
family.checkpoint_keys("TokenLabeling", (*STEM, *TIMM))
