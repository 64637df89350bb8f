"""MobileNet (v1): depthwise separable convolutions, with width and resolution multipliers.

MobileNets: Efficient Convolutional Neural Networks for Mobile Vision Applications, Howard et al.
2017, arXiv:1704.04861, Table 1. Reference: timm `mobilenetv1_100`.

Differences from the paper: ReLU6 instead of ReLU, as in the authors' code.

The paper's Tables 6 and 7, with one multiplier changed at a time:

| `width`      | parameters | top-1 % |   | `resolution` | pixels | top-1 % |
| ------------ | ---------- | ------- | - | ------------ | ------ | ------- |
| 1.0          |  4,231,976 |    70.6 |   | 1            |    224 |    70.6 |
| 0.75         |  2,585,560 |    68.4 |   | 6 / 7        |    192 |    69.1 |
| 0.5          |  1,331,592 |    63.7 |   | 5 / 7        |    160 |    67.2 |
| 0.25         |    470,072 |    50.6 |   | 4 / 7        |    128 |    64.4 |
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from zoo.layers import initializers
from zoo.layers.conv import Conv
from zoo.layers.head import classify, pool_head_map
from zoo.layers.image_input import takes_images
from zoo.layers.initializers import kaiming_fan_in, kaiming_fan_out
from zoo.layers.width import scaled
from zoo.registry import Family

dense_init = initializers.variance_scaling(1 / 3, "fan_out", "uniform")

# Number of features and of blocks in each stage; all but the first begin with stride 2.
STAGES = ((64, 1), (128, 2), (256, 2), (512, 6), (1024, 2))


class SeparableBlock(nn.Module):
    """Depthwise 3x3 and pointwise 1x1 convolution, each with BatchNorm and ReLU6.

    [B, H, W, C] -> [B, H / strides, W / strides, features].

    Attributes:
      features: Number of output channels.
      strides: Stride of the depthwise convolution.
      conv: Constructor of a convolution.
      norm: Constructor of a BatchNorm.
    """

    features: int
    strides: int
    conv: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        channels = x.shape[-1]
        depthwise = partial(self.conv, feature_group_count=channels, kernel_init=kaiming_fan_in)
        x = depthwise(channels, (3, 3), self.strides, padding=1, name="depthwise_conv")(x)
        x = nn.relu6(self.norm(name="depthwise_norm")(x))
        x = self.conv(self.features, (1, 1), name="pointwise_conv")(x)
        return nn.relu6(self.norm(name="pointwise_norm")(x))


class MobileNetV1(nn.Module):
    """MobileNet, images [B, H, W, C] of any size -> logits [B, num_classes].

    Attributes:
      width: Width multiplier: factor of the features of every layer, rounded to multiples of 8.
      resolution: Resolution multiplier: factor by which images are resized first, height and width.
      num_classes: Number of classes; 0 removes the head and returns the pooled features [B, C].
      dtype: Dtype of the computation; parameters, normalisation statistics and logits stay float32.
    """

    width: float = 1.0
    resolution: float = 1.0
    num_classes: int = 1000
    dtype: Any = jnp.float32

    @takes_images()
    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        conv = partial(Conv, use_bias=False, kernel_init=kaiming_fan_out, dtype=self.dtype)
        norm = partial(nn.BatchNorm, use_running_average=not train, momentum=0.9, dtype=self.dtype)

        # Stem
        x = resize(images, self.resolution)  # [B, resolution * H, resolution * W, C]
        x = conv(scaled(32, self.width), (3, 3), 2, padding=1, name="stem_conv")(x)
        x = nn.relu6(norm(name="stem_norm")(x))  # [B, H/2, W/2, 32 * width]
        self.sow("intermediates", "stem", x)

        # Stages
        for i, (features, depth) in enumerate(STAGES, 1):
            for j in range(1, depth + 1):
                strides = 2 if i > 1 and j == 1 else 1
                block = partial(SeparableBlock, scaled(features, self.width), strides, conv, norm)
                x = block(name=f"stage{i}_block{j}")(x)
            self.sow("intermediates", f"stage{i}", x)  # last: [B, H/32, W/32, 1024 * width]

        # Head
        x = pool_head_map(self, x)
        return classify(self, x, self.num_classes, self.dtype, kernel_init=dense_init)


def resize(images: jax.Array, factor: float) -> jax.Array:
    """Resizes images to `factor` times their height and width, rounded.

    Interpolation is bilinear, with antialiasing where images shrink.
    """
    if factor == 1:
        return images
    batch, height, width, channels = images.shape
    shape = (batch, round(factor * height), round(factor * width), channels)
    return jax.image.resize(images, shape, "bilinear")


family = Family(
    "mobilenet_v1",
    dict(
        paper="MobileNets: Efficient Convolutional Neural Networks, arXiv:1704.04861",
        year=2017,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        interpolation="bicubic",
        accuracy_source="timm, weights mobilenetv1_100.ra4_e3600_r224_in1k",
    ),
)


@family.variant(reference="timm mobilenetv1_100", top1=75.388, top5=92.310)
def mobilenet_v1(**kwargs) -> MobileNetV1:
    """4,231,976 parameters, 0.57 G multiply-adds, 75.4 % top-1."""
    return MobileNetV1(**kwargs)


family.checkpoint_keys(
    "timm",
    (
        (r"^stem_conv$", "conv_stem"),
        (r"^stem_norm$", "bn1"),
        (r"^stage(\d)_block(\d)", r"blocks/\1-1/\2-1"),
        (r"/depthwise_conv$", "/conv_dw"),
        (r"/depthwise_norm$", "/bn1"),
        (r"/pointwise_conv$", "/conv_pw"),
        (r"/pointwise_norm$", "/bn2"),
        (r"^head$", "classifier"),
    ),
)
