"""DeiT: vision transformers trained on ImageNet-1k alone, some taught by a convolutional network.

Training data-efficient image transformers & distillation through attention, Touvron et al. 2020,
arXiv:2012.12877, Table 1. Reference: timm `deit_tiny_patch16_224`, `deit_small_patch16_224`,
`deit_base_patch16_224` and `deit_tiny_distilled_patch16_224` ..., which are the authors' too.

Without distillation the network is ViT; only its training differs. A distilled network has a second
token and head that learn the teacher's predictions. The logits of both heads are sown, as
"class_logits" and "distilled_logits", for the two terms of the loss.

Differences from the paper:
- the heads' logits are averaged, not their probabilities (as in the authors' code), and the network
  returns that average in training too (as in timm);
- the kernels of the blocks are initialised as in this package's ViT, not as truncated normals.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from zoo.layers.blocks import run_blocks, stage_ends
from zoo.layers.drop_path import drop_path_rates
from zoo.layers.head import logits_layer
from zoo.layers.image_input import takes_images
from zoo.layers.position import add_positions, resample_tokens, trunc_normal
from zoo.layers.tokens import patch_embedding, prepend_tokens
from zoo.layers.transformer import TransformerBlock
from zoo.models.vit import TIMM, ViT
from zoo.registry import Family


class DistilledViT(nn.Module):
    """Distilled DeiT, images [B, H, W, C] -> the mean of two heads' logits [B, num_classes].

    The sides of the images are multiples of 16.
    The parameters belong to one image size: that of `init`, or of `zoo.load_torch(image_size=...)`.

    Attributes:
      width: Width of a token, C.
      depth: Number of blocks.
      num_heads: Number of attention heads in each block.
      num_classes: Number of classes; 0 removes the heads and returns the mean of the class and the
        distillation token [B, C].
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
    num_classes: int = 1000
    dropout: float = 0.0
    drop_path: float = 0.0
    scan: bool = False
    remat: bool = False
    dtype: Any = jnp.float32

    @takes_images()
    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        # Stem: patches, class token, distillation token, positions
        x = patch_embedding(images, 16, self.width, self.dtype)  # [B, H/16, W/16, C]
        self.sow("intermediates", "stem", x)
        batch, height, width, _ = x.shape
        x = x.reshape(batch, height * width, self.width)  # [B, N, C]
        x = prepend_tokens(self, x, "class_token", "distillation_token")  # [B, 2 + N, C]
        x = add_positions(self, x)
        x = nn.Dropout(self.dropout, deterministic=not train)(x)

        # Blocks. Their quarters are the stages.
        block = partial(TransformerBlock, self.num_heads, dropout=self.dropout, dtype=self.dtype)
        rates = drop_path_rates(self.drop_path, self.depth)
        outputs = run_blocks([block], x, rates, train=train, scan=self.scan, remat=self.remat)
        for i, end in enumerate(stage_ends(self.depth), 1):
            grid = outputs[end - 1][:, 2:].reshape(batch, height, width, -1)
            self.sow("intermediates", f"stage{i}", grid)  # [B, H/16, W/16, C]

        # Heads
        x = nn.LayerNorm(1e-6, self.dtype, name="norm")(outputs[-1])
        embedding = (x[:, 0] + x[:, 1]) / 2  # [B, C]
        self.sow("intermediates", "embedding", embedding)
        if not self.num_classes:
            return embedding
        head = partial(logits_layer, self.num_classes, self.dtype, kernel_init=trunc_normal)
        class_logits = head(name="head")(x[:, 0])
        distilled_logits = head(name="distilled_head")(x[:, 1])
        self.sow("intermediates", "class_logits", class_logits)
        self.sow("intermediates", "distilled_logits", distilled_logits)
        return (class_logits + distilled_logits) / 2


family = Family(
    "deit",
    dict(
        paper="Training data-efficient image transformers & distillation through attention, "
        "arXiv:2012.12877",
        year=2020,
        accuracy_source="timm results-imagenet.csv, weights fb_in1k",
        interpolation="bicubic",
        crop=0.9,
    ),
    resampling=((r"pos_embed$", resample_tokens),),
)


@family.variant(reference="timm deit_tiny_patch16_224", top1=72.190, top5=91.100)
def deit_ti(**kwargs) -> ViT:
    """5,717,416 parameters, 1.25 G multiply-adds, 72.2 % top-1."""
    return ViT(16, 192, 12, 3, **kwargs)


@family.variant(reference="timm deit_small_patch16_224", top1=79.856, top5=95.056)
def deit_s(**kwargs) -> ViT:
    """22,050,664 parameters, 4.60 G multiply-adds, 79.9 % top-1."""
    return ViT(16, 384, 12, 6, **kwargs)


@family.variant(reference="timm deit_base_patch16_224", top1=81.980, top5=95.740)
def deit_b(**kwargs) -> ViT:
    """86,567,656 parameters, 17.56 G multiply-adds, 82.0 % top-1."""
    return ViT(16, 768, 12, 12, **kwargs)


@family.variant(
    reference="timm deit_tiny_distilled_patch16_224", top1=74.538, top5=91.898, distilled=True
)
def deit_ti_distilled(**kwargs) -> DistilledViT:
    """5,910,800 parameters, 1.26 G multiply-adds, 74.5 % top-1."""
    return DistilledViT(192, 12, 3, **kwargs)


@family.variant(
    reference="timm deit_small_distilled_patch16_224", top1=81.204, top5=95.378, distilled=True
)
def deit_s_distilled(**kwargs) -> DistilledViT:
    """22,436,432 parameters, 4.62 G multiply-adds, 81.2 % top-1."""
    return DistilledViT(384, 12, 6, **kwargs)


@family.variant(
    reference="timm deit_base_distilled_patch16_224", top1=83.384, top5=96.492, distilled=True
)
def deit_b_distilled(**kwargs) -> DistilledViT:
    """87,338,192 parameters, 17.66 G multiply-adds, 83.4 % top-1."""
    return DistilledViT(768, 12, 12, **kwargs)


# The authors' names are timm's.
DISTILLED = ((r"^distillation_token$", "dist_token"), (r"^distilled_head$", "head_dist"))
family.checkpoint_keys("timm", (*TIMM, *DISTILLED))
