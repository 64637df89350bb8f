"""ConvNeXt: a ResNet rebuilt with the choices of vision transformers.

A ConvNet for the 2020s, Liu et al. 2022, arXiv:2201.03545, section 3 and Table 9. Reference:
torchvision `convnext_tiny` ... `convnext_large`, timm `convnext_xlarge`; checkpoints of either and
of the authors load.

Differences from the paper: none. The accuracies are torchvision's, whose recipe is another one.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from zoo.layers.blocks import run_stage
from zoo.layers.conv import Conv
from zoo.layers.drop_path import DropPath, stage_drop_path_rates
from zoo.layers.head import classify, pool_head_map
from zoo.layers.image_input import takes_images
from zoo.layers.mlp import Mlp
from zoo.layers.position import trunc_normal
from zoo.registry import Family


class Block(nn.Module):
    """Residual block of a 7x7 depthwise convolution and an MLP, [B, H, W, C] -> [B, H, W, C].

    Attributes:
      layer_scale: Initial scale of the branch, a learned factor per channel.
      drop_path: Drop path rate of the branch.
      dtype: Dtype of the computation.
    """

    layer_scale: float = 1e-6
    drop_path: float | jax.Array = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        width = x.shape[-1]
        settings = dict(dtype=self.dtype, kernel_init=trunc_normal)
        conv = partial(Conv, padding=3, feature_group_count=width, **settings)
        y = conv(width, (7, 7), name="conv")(x)
        y = nn.LayerNorm(1e-6, self.dtype, name="norm")(y)
        y = Mlp(4 * width, **settings, name="mlp")(y, train=train)
        scale = self.param("layer_scale", nn.initializers.constant(self.layer_scale), (width,))
        y = y * scale.astype(y.dtype).reshape(1, 1, 1, width)
        return x + DropPath(self.drop_path)(y, train=train)


class Downsample(nn.Module):
    """LayerNorm and a 2x2 convolution with stride 2, [B, H, W, C] -> [B, H/2, W/2, features].

    Attributes:
      features: Number of output channels.
      dtype: Dtype of the computation.
    """

    features: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        conv = partial(Conv, padding="VALID", dtype=self.dtype, kernel_init=trunc_normal)
        x = nn.LayerNorm(1e-6, self.dtype, name="norm")(x)
        return conv(self.features, (2, 2), 2, name="conv")(x)


class ConvNeXt(nn.Module):
    """ConvNeXt, images [B, H, W, C] of any size from 32 up -> logits [B, num_classes].

    Attributes:
      depths: Number of blocks in each of the four stages.
      dims: Width of each stage.
      layer_scale: Initial scale of every block's branch.
      num_classes: Number of classes; 0 removes the head and returns the pooled features [B, C].
      drop_path: Stochastic depth rate of the last block, growing linearly from 0 in the first.
      scan: Whether to compile equal blocks once, as a scan over stacked parameters; see
        zoo.layers.blocks.
      remat: Whether to rematerialize block activations in the backward pass.
      dtype: Dtype of the computation; parameters, normalisation statistics and logits stay float32.
    """

    depths: Sequence[int]
    dims: Sequence[int]
    layer_scale: float = 1e-6
    num_classes: int = 1000
    drop_path: float = 0.0
    scan: bool = False
    remat: bool = False
    dtype: Any = jnp.float32

    @takes_images(at_least=32)
    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        conv = partial(Conv, padding="VALID", dtype=self.dtype, kernel_init=trunc_normal)
        norm = partial(nn.LayerNorm, epsilon=1e-6, dtype=self.dtype)

        # Stem
        x = conv(self.dims[0], (4, 4), 4, name="stem_conv")(images)  # [B, H/4, W/4, dims[0]]
        x = norm(name="stem_norm")(x)
        self.sow("intermediates", "stem", x)

        # Stages
        block = partial(Block, self.layer_scale, dtype=self.dtype)
        run = partial(run_stage, [block], train=train, scan=self.scan, remat=self.remat)
        stages = zip(self.dims, stage_drop_path_rates(self.drop_path, self.depths), strict=True)
        for i, (width, rates) in enumerate(stages, 1):
            if i > 1:
                x = Downsample(width, self.dtype, name=f"stage{i}_downsample")(x)
            x = run(x, rates, prefix=f"stage{i}_")
            self.sow("intermediates", f"stage{i}", x)  # last: [B, H/32, W/32, dims[3]]

        # Head
        x = norm(name="norm")(pool_head_map(self, x))  # [B, dims[3]]
        return classify(self, x, self.num_classes, self.dtype, kernel_init=trunc_normal)


family = Family(
    "convnext",
    dict(
        paper="A ConvNet for the 2020s, arXiv:2201.03545",
        year=2022,
        accuracy_source="torchvision, weights IMAGENET1K_V1",
    ),
)


@family.variant(reference="torchvision convnext_tiny", top1=82.520, top5=96.146, crop=224 / 236)
def convnext_tiny(**kwargs) -> ConvNeXt:
    """28,589,128 parameters, 4.46 G multiply-adds, 82.5 % top-1."""
    return ConvNeXt((3, 3, 9, 3), (96, 192, 384, 768), **kwargs)


@family.variant(reference="torchvision convnext_small", top1=83.616, top5=96.650, crop=224 / 230)
def convnext_small(**kwargs) -> ConvNeXt:
    """50,223,688 parameters, 8.68 G multiply-adds, 83.6 % top-1."""
    return ConvNeXt((3, 3, 27, 3), (96, 192, 384, 768), **kwargs)


@family.variant(reference="torchvision convnext_base", top1=84.062, top5=96.870, crop=224 / 232)
def convnext_base(**kwargs) -> ConvNeXt:
    """88,591,464 parameters, 15.35 G multiply-adds, 84.1 % top-1."""
    return ConvNeXt((3, 3, 27, 3), (128, 256, 512, 1024), **kwargs)


@family.variant(reference="torchvision convnext_large", top1=84.414, top5=96.976, crop=224 / 232)
def convnext_large(**kwargs) -> ConvNeXt:
    """197,767,336 parameters, 34.36 G multiply-adds, 84.4 % top-1."""
    return ConvNeXt((3, 3, 27, 3), (192, 384, 768, 1536), **kwargs)


@family.variant(
    reference="timm convnext_xlarge",
    top1=86.970,
    top5=98.204,
    accuracy_source="timm, convnext_xlarge.fb_in22k_ft_in1k at 224",
    pretraining="ImageNet-22k",
    interpolation="bicubic",
)
def convnext_xlarge(**kwargs) -> ConvNeXt:
    """350,196,968 parameters, 60.92 G multiply-adds, 87.0 % top-1 (pre-trained on ImageNet-22k)."""
    return ConvNeXt((3, 3, 27, 3), (256, 512, 1024, 2048), **kwargs)


family.checkpoint_keys(
    "torchvision",
    (
        (r"^stem_conv$", "features/0/0"),
        (r"^stem_norm$", "features/0/1"),
        *((rf"^stage{i}_block(\d+)/", rf"features/{2 * i - 1}/\1-1/block/") for i in range(1, 5)),
        *((rf"^stage{i}_downsample/", f"features/{2 * i - 2}/") for i in range(2, 5)),
        (r"/block/layer_scale$", "/layer_scale"),
        (r"/block/conv$", "/block/0"),
        (r"/block/norm$", "/block/2"),
        (r"/mlp/fc1$", "/3"),
        (r"/mlp/fc2$", "/5"),
        (r"/norm$", "/0"),
        (r"/conv$", "/1"),
        (r"^norm$", "classifier/0"),
        (r"^head$", "classifier/2"),
    ),
    dense_as_conv1x1=(r".*/layer_scale",),
)
family.checkpoint_keys(
    "timm",
    (
        (r"^stem_conv$", "stem/0"),
        (r"^stem_norm$", "stem/1"),
        (r"^stage(\d)_block(\d+)/", r"stages/\1-1/blocks/\2-1/"),
        (r"^stage(\d)_downsample/norm$", r"stages/\1-1/downsample/0"),
        (r"^stage(\d)_downsample/conv$", r"stages/\1-1/downsample/1"),
        (r"/conv$", "/conv_dw"),
        (r"/layer_scale$", "/gamma"),
        (r"^norm$", "head/norm"),
        (r"^head$", "head/fc"),
    ),
)
family.checkpoint_keys(
    "facebookresearch",
    (
        (r"^stem_conv$", "downsample_layers/0/0"),
        (r"^stem_norm$", "downsample_layers/0/1"),
        (r"^stage(\d)_block(\d+)/", r"stages/\1-1/\2-1/"),
        (r"^stage(\d)_downsample/norm$", r"downsample_layers/\1-1/0"),
        (r"^stage(\d)_downsample/conv$", r"downsample_layers/\1-1/1"),
        (r"/conv$", "/dwconv"),
        (r"/mlp/fc(\d)$", r"/pwconv\1"),
        (r"/layer_scale$", "/gamma"),
    ),
)
