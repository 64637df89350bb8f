"""ViT: a transformer encoder on patches of the image.

An Image is Worth 16x16 Words, Dosovitskiy et al. 2020, arXiv:2010.11929, Table 1 (Ti and S: DeiT,
arXiv:2012.12877, Table 1). Reference: torchvision `vit_b_16`, `vit_b_32`, `vit_l_16`, `vit_l_32`,
`vit_h_14`; timm `vit_tiny_patch16_224`, `vit_small_patch16_224` and the others' checkpoints too.

Differences from the paper: no layer between class token and classifier, as in its fine-tuning.
With `pooling="mean"` there is no class token, and the mean of all tokens is classified, as in
Better plain ViT baselines, Beyer et al. 2022, arXiv:2205.01580.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from zoo.layers.blocks import run_blocks, stage_ends
from zoo.layers.drop_path import drop_path_rates
from zoo.layers.head import classify
from zoo.layers.image_input import takes_images
from zoo.layers.position import add_positions, resample_tokens, trunc_normal
from zoo.layers.tokens import patch_embedding, prepend_tokens
from zoo.layers.transformer import TransformerBlock
from zoo.registry import Family


class ViT(nn.Module):
    """Images [B, H, W, C], sides multiples of the patch's -> logits [B, num_classes].

    The parameters belong to one image size: that of `init`, or of `zoo.load_torch(image_size=...)`.

    Attributes:
      patch: Side of a patch, in pixels.
      width: Width of the tokens, C.
      depth: Number of blocks.
      num_heads: Number of attention heads in each block.
      pooling: "token" classifies the class token, "mean" (without one) the mean of all tokens.
      num_classes: Number of classes; 0 removes the head and returns the pooled features [B, C].
      dropout: Dropout rate after the position embedding, after attention and in the MLPs.
      drop_path: Stochastic depth rate of the last block, growing linearly from 0 in the first.
      scan: Whether to compile equal blocks once, as a scan over stacked parameters; see
        zoo.layers.blocks.
      remat: Whether to rematerialize block activations in the backward pass.
      dtype: Dtype of the computation; parameters, softmax, normalisation statistics and logits stay
        float32.
    """

    patch: int
    width: int
    depth: int
    num_heads: int
    pooling: str = "token"
    num_classes: int = 1000
    dropout: float = 0.0
    drop_path: float = 0.0
    scan: bool = False
    remat: bool = False
    dtype: Any = jnp.float32

    @takes_images()
    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        # Stem: patches, class token, positions
        x = patch_embedding(images, self.patch, self.width, self.dtype)  # [B, H/p, W/p, C]
        self.sow("intermediates", "stem", x)
        batch, height, width, _ = x.shape
        x = x.reshape(batch, height * width, self.width)  # [B, N, C]
        if self.pooling == "token":
            x = prepend_tokens(self, x, "class_token")  # [B, 1 + N, C]
        x = add_positions(self, x)
        x = nn.Dropout(self.dropout, deterministic=not train)(x)

        # Blocks. Their quarters are the stages.
        block = partial(TransformerBlock, self.num_heads, dropout=self.dropout, dtype=self.dtype)
        rates = drop_path_rates(self.drop_path, self.depth)
        settings: dict[str, Any] = dict(train=train, scan=self.scan, remat=self.remat)
        outputs = run_blocks([block], x, rates, **settings)
        for i, end in enumerate(stage_ends(self.depth), 1):
            grid = outputs[end - 1][:, -height * width :].reshape(batch, height, width, -1)
            self.sow("intermediates", f"stage{i}", grid)  # [B, H/p, W/p, C]

        # Head
        x = nn.LayerNorm(1e-6, self.dtype, name="norm")(outputs[-1])
        x = x[:, 0] if self.pooling == "token" else jnp.mean(x, axis=1)  # [B, C]
        return classify(self, x, self.num_classes, self.dtype, kernel_init=trunc_normal)


family = Family(
    "vit",
    dict(
        paper="An Image is Worth 16x16 Words, arXiv:2010.11929",
        year=2020,
        accuracy_source="torchvision, weights IMAGENET1K_V1",
    ),
    resampling=((r"pos_embed$", resample_tokens),),
)
half = (0.5, 0.5, 0.5)
AUGREG = dict(mean=half, std=half, interpolation="bicubic", crop=0.9, pretraining="ImageNet-21k")


@family.variant(
    reference="timm vit_tiny_patch16_224",
    top1=75.466,
    accuracy_source="timm, vit_tiny_patch16_224.augreg_in21k_ft_in1k",
    **AUGREG,
)
def vit_ti_16(**kwargs) -> ViT:
    """5,717,416 parameters, 1.25 G multiply-adds, 75.5 % top-1 (pre-trained on ImageNet-21k)."""
    return ViT(16, 192, 12, 3, **kwargs)


@family.variant(
    reference="timm vit_small_patch16_224",
    top1=81.386,
    accuracy_source="timm, vit_small_patch16_224.augreg_in21k_ft_in1k",
    **AUGREG,
)
def vit_s_16(**kwargs) -> ViT:
    """22,050,664 parameters, 4.60 G multiply-adds, 81.4 % top-1 (pre-trained on ImageNet-21k)."""
    return ViT(16, 384, 12, 6, **kwargs)


@family.variant(reference="torchvision vit_b_16", top1=81.072, top5=95.318)
def vit_b_16(**kwargs) -> ViT:
    """86,567,656 parameters, 17.56 G multiply-adds, 81.1 % top-1."""
    return ViT(16, 768, 12, 12, **kwargs)


@family.variant(reference="torchvision vit_b_32", top1=75.912, top5=92.466)
def vit_b_32(**kwargs) -> ViT:
    """88,224,232 parameters, 4.41 G multiply-adds, 75.9 % top-1."""
    return ViT(32, 768, 12, 12, **kwargs)


@family.variant(reference="torchvision vit_l_16", top1=79.662, top5=94.638, crop=224 / 242)
def vit_l_16(**kwargs) -> ViT:
    """304,326,632 parameters, 61.55 G multiply-adds, 79.7 % top-1."""
    return ViT(16, 1024, 24, 16, **kwargs)


@family.variant(reference="torchvision vit_l_32", top1=76.972, top5=93.070)
def vit_l_32(**kwargs) -> ViT:
    """306,535,400 parameters, 15.38 G multiply-adds, 77.0 % top-1."""
    return ViT(32, 1024, 24, 16, **kwargs)


@family.variant(
    reference="torchvision vit_h_14",
    top1=85.708,
    top5=97.730,
    accuracy_source="torchvision, weights IMAGENET1K_SWAG_LINEAR_V1",
    pretraining="Instagram-3.6B",
    interpolation="bicubic",
    crop=1.0,
)
def vit_h_14(**kwargs) -> ViT:
    """632,045,800 parameters, 167.30 G multiply-adds, 85.7 % top-1 (trunk pre-trained, frozen)."""
    return ViT(14, 1280, 32, 16, **kwargs)


# Names of timm's vision transformers, DeiT's among them.
TIMM = (
    (r"^class_token$", "cls_token"),
    (r"^stem_conv$", "patch_embed/proj"),
    (r"^block(\d+)", r"blocks/\1-1"),
    (r"/attention/", "/attn/"),
)
family.checkpoint_keys("timm", TIMM)
family.checkpoint_keys(
    "torchvision",
    (
        (r"^stem_conv$", "conv_proj"),
        (r"^pos_embed$", "encoder/pos_embedding"),
        (r"^block(\d+)/", r"encoder/layers/encoder_layer_\1-1/"),
        (r"/norm(\d)$", r"/ln_\1"),
        (r"/attention/qkv$", "/self_attention/in_proj_"),
        (r"/attention/proj$", "/self_attention/out_proj"),
        (r"/mlp/fc1$", "/mlp/0"),
        (r"/mlp/fc2$", "/mlp/3"),
        (r"^norm$", "encoder/ln"),
        (r"^head$", "heads/head"),
    ),
)
