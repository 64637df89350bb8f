"""RegNet: networks drawn from a design space, each generated from a handful of numbers.

Designing Network Design Spaces, Radosavovic et al. 2020, arXiv:2003.13678, section 3.3 and
Tables 2 to 4. X is a residual network of grouped bottlenecks as wide as the block itself; Y adds
squeeze-and-excitation. Reference: torchvision `regnet_x_400mf` ... `regnet_y_16gf`, and timm
`regnety_040`, `regnety_080`, `regnety_160`, which keep the paper's rounding.

Differences from the paper: where rounding the width of a stage to whole groups would take off more
than a tenth of it, torchvision rounds up; of the networks here that changes regnet_y_8gf alone.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from zoo.layers import initializers
from zoo.layers.conv import Conv
from zoo.layers.head import classify, pool_head_map
from zoo.layers.image_input import takes_images
from zoo.layers.initializers import kaiming_fan_out
from zoo.layers.joins import residual_sum
from zoo.layers.squeeze_excite import SqueezeExcite
from zoo.layers.width import scaled
from zoo.registry import Family

dense_init = initializers.normal(0.01)

STEM_WIDTH = 32


def generate(depth: int, width: int, slope: float, multiplier: float) -> list[tuple[int, int]]:
    """Returns (width, depth) of each stage, before widths are rounded to whole groups.

    Section 3.3: block j should be `width + slope * j` wide; it gets `width` times the nearest power
    of `multiplier`, in steps of 8. Blocks of equal width form a stage.

    Args:
      depth: Total number of blocks.
      width: Width of the first block.
      slope: Growth of the width from block to block.
      multiplier: Ratio of the widths of successive stages, before rounding to steps of 8.
    """
    linear = width + slope * np.arange(depth)
    powers = np.round(np.log(linear / width) / np.log(multiplier))
    widths = 8 * np.round(width * multiplier**powers / 8)
    return [(int(w), int(n)) for w, n in zip(*np.unique(widths, return_counts=True), strict=True)]


class Block(nn.Module):
    """1x1, grouped 3x3, 1x1 convolutions. [B, H, W, C] -> [B, H / strides, W / strides, features].

    `squeeze` is the width of the bottleneck of squeeze-and-excitation over C; 0 for none.
    """

    features: int
    strides: int
    group_width: int
    squeeze: float
    conv: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        groups = self.features // self.group_width
        y = self.conv(self.features, (1, 1), name="conv1")(x)
        y = nn.relu(self.norm(name="norm1")(y))
        y = self.conv(
            self.features,
            (3, 3),
            self.strides,
            padding=1,
            feature_group_count=groups,
            name="conv2",
        )(y)
        y = nn.relu(self.norm(name="norm2")(y))
        if self.squeeze:
            y = SqueezeExcite(round(self.squeeze * x.shape[-1]), dtype=y.dtype, name="se")(y)
        y = self.conv(self.features, (1, 1), name="conv3")(y)
        y = self.norm(name="norm3")(y)
        if x.shape != y.shape:
            x = self.conv(self.features, (1, 1), self.strides, name="shortcut_conv")(x)
            x = self.norm(name="shortcut_norm")(x)
        return residual_sum(x, y)


class RegNet(nn.Module):
    """Images [B, H, W, C] of any size from 32 up -> logits [B, num_classes].

    Attributes:
      depth: Total number of blocks; this and the next three are the design, see `generate`.
      width: Width of the first block.
      slope: Growth of the width from block to block.
      multiplier: Ratio of the widths of successive stages, before rounding.
      group_width: Number of channels in one group of the 3x3 convolutions.
      squeeze: Width of the bottleneck of squeeze-and-excitation over that of the block's input,
        0.25 in RegNetY; 0 for none.
      nearest_width: Whether to round widths to whole groups as in the paper, also down by more
        than a tenth.
      num_classes: Number of classes; 0 removes the head and returns the pooled features [B, C].
      dtype: Dtype of the computation; parameters, normalisation statistics and logits stay float32.
    """

    depth: int
    width: int
    slope: float
    multiplier: float
    group_width: int
    squeeze: float = 0.0
    nearest_width: bool = False
    num_classes: int = 1000
    dtype: Any = jnp.float32

    @takes_images()
    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        conv = partial(Conv, use_bias=False, kernel_init=kaiming_fan_out, dtype=self.dtype)
        norm = partial(nn.BatchNorm, use_running_average=not train, momentum=0.9, dtype=self.dtype)

        # Stem
        x = conv(STEM_WIDTH, (3, 3), 2, padding=1, name="stem_conv")(images)  # [B, H/2, W/2, 32]
        x = nn.relu(norm(name="stem_norm")(x))
        self.sow("intermediates", "stem", x)

        # Stages
        stages = generate(self.depth, self.width, self.slope, self.multiplier)
        for i, (width, depth) in enumerate(stages, 1):
            group_width = min(self.group_width, width)
            nearest = group_width * round(width / group_width)
            width = nearest if self.nearest_width else scaled(width, divisor=group_width)
            block = partial(Block, width, group_width=group_width, squeeze=self.squeeze)
            for j in range(1, depth + 1):
                strides = 2 if j == 1 else 1
                x = block(strides, conv=conv, norm=norm, name=f"stage{i}_block{j}")(x)
            self.sow("intermediates", f"stage{i}", x)  # [B, H / 2**(i+1), W / 2**(i+1), width]

        # Head
        x = pool_head_map(self, x)  # [B, width]
        return classify(self, x, self.num_classes, self.dtype, kernel_init=dense_init)


family = Family(
    "regnet",
    dict(
        paper="Designing Network Design Spaces, arXiv:2003.13678",
        year=2020,
        accuracy_source="torchvision, weights IMAGENET1K_V1",
    ),
)


@family.variant(reference="torchvision regnet_x_400mf", top1=72.834, top5=90.950)
def regnet_x_400mf(**kwargs) -> RegNet:
    """5,495,976 parameters, 0.41 G multiply-adds, 72.8 % top-1."""
    return RegNet(22, 24, 24.48, 2.54, 16, **kwargs)


@family.variant(reference="torchvision regnet_x_800mf", top1=75.212, top5=92.348)
def regnet_x_800mf(**kwargs) -> RegNet:
    """7,259,656 parameters, 0.80 G multiply-adds, 75.2 % top-1."""
    return RegNet(16, 56, 35.73, 2.28, 16, **kwargs)


@family.variant(reference="torchvision regnet_x_1_6gf", top1=77.040, top5=93.440)
def regnet_x_1_6gf(**kwargs) -> RegNet:
    """9,190,136 parameters, 1.60 G multiply-adds, 77.0 % top-1."""
    return RegNet(18, 80, 34.01, 2.25, 24, **kwargs)


@family.variant(reference="torchvision regnet_x_3_2gf", top1=78.364, top5=93.992)
def regnet_x_3_2gf(**kwargs) -> RegNet:
    """15,296,552 parameters, 3.18 G multiply-adds, 78.4 % top-1."""
    return RegNet(25, 88, 26.31, 2.25, 48, **kwargs)


@family.variant(reference="torchvision regnet_x_8gf", top1=79.344, top5=94.686)
def regnet_x_8gf(**kwargs) -> RegNet:
    """39,572,648 parameters, 8.00 G multiply-adds, 79.3 % top-1."""
    return RegNet(23, 80, 49.56, 2.88, 120, **kwargs)


@family.variant(reference="torchvision regnet_x_16gf", top1=80.058, top5=94.944)
def regnet_x_16gf(**kwargs) -> RegNet:
    """54,278,536 parameters, 15.94 G multiply-adds, 80.1 % top-1."""
    return RegNet(22, 216, 55.59, 2.1, 128, **kwargs)


@family.variant(reference="torchvision regnet_y_400mf", top1=74.046, top5=91.716)
def regnet_y_400mf(**kwargs) -> RegNet:
    """4,344,144 parameters, 0.40 G multiply-adds, 74.0 % top-1."""
    return RegNet(16, 48, 27.89, 2.09, 8, 0.25, **kwargs)


@family.variant(reference="torchvision regnet_y_800mf", top1=76.420, top5=93.136)
def regnet_y_800mf(**kwargs) -> RegNet:
    """6,432,512 parameters, 0.83 G multiply-adds, 76.4 % top-1."""
    return RegNet(14, 56, 38.84, 2.4, 16, 0.25, **kwargs)


@family.variant(reference="torchvision regnet_y_1_6gf", top1=77.950, top5=93.966)
def regnet_y_1_6gf(**kwargs) -> RegNet:
    """11,202,430 parameters, 1.61 G multiply-adds, 78.0 % top-1."""
    return RegNet(27, 48, 20.71, 2.65, 24, 0.25, **kwargs)


@family.variant(reference="torchvision regnet_y_3_2gf", top1=78.948, top5=94.576)
def regnet_y_3_2gf(**kwargs) -> RegNet:
    """19,436,338 parameters, 3.18 G multiply-adds, 78.9 % top-1."""
    return RegNet(21, 80, 42.63, 2.66, 24, 0.25, **kwargs)


@family.variant(reference="torchvision regnet_y_8gf", top1=80.032, top5=95.048)
def regnet_y_8gf(**kwargs) -> RegNet:
    """39,381,472 parameters, 8.47 G multiply-adds, 80.0 % top-1."""
    return RegNet(17, 192, 76.82, 2.19, 56, 0.25, **kwargs)


@family.variant(reference="torchvision regnet_y_16gf", top1=80.424, top5=95.240)
def regnet_y_16gf(**kwargs) -> RegNet:
    """83,590,140 parameters, 15.91 G multiply-adds, 80.4 % top-1."""
    return RegNet(18, 200, 106.23, 2.48, 112, 0.25, **kwargs)


timm_figures = partial(
    family.variant,
    accuracy_source="timm results-imagenet.csv, weights pycls_in1k",
    interpolation="bicubic",
)


@timm_figures(reference="timm regnety_040", top1=79.246, top5=94.666)
def regnety_040(**kwargs) -> RegNet:
    """20,646,656 parameters, 3.97 G multiply-adds, 79.2 % top-1."""
    return RegNet(22, 96, 31.41, 2.24, 64, 0.25, nearest_width=True, **kwargs)


@timm_figures(reference="timm regnety_080", top1=79.874, top5=94.834)
def regnety_080(**kwargs) -> RegNet:
    """39,180,068 parameters, 7.96 G multiply-adds, 79.9 % top-1."""
    return RegNet(17, 192, 76.82, 2.19, 56, 0.25, nearest_width=True, **kwargs)


@timm_figures(reference="timm regnety_160", top1=80.284, top5=94.982)
def regnety_160(**kwargs) -> RegNet:
    """The network of regnet_y_16gf: 83,590,140 parameters, 15.91 G multiply-adds, 80.3 % top-1."""
    return RegNet(18, 200, 106.23, 2.48, 112, 0.25, nearest_width=True, **kwargs)


family.checkpoint_keys(
    "torchvision",
    (
        (r"^stem_conv$", "stem/0"),
        (r"^stem_norm$", "stem/1"),
        (r"^head$", "fc"),
        (r"^stage(\d)_block(\d+)", r"trunk_output/block\1/block\1-\2-1/f"),
        (r"/f/shortcut_conv$", "/proj/0"),
        (r"/f/shortcut_norm$", "/proj/1"),
        (r"/conv1$", "/a/0"),
        (r"/norm1$", "/a/1"),
        (r"/conv2$", "/b/0"),
        (r"/norm2$", "/b/1"),
        (r"/conv3$", "/c/0"),
        (r"/norm3$", "/c/1"),
        (r"/se/reduce$", "/se/fc1"),
        (r"/se/expand$", "/se/fc2"),
    ),
)

family.checkpoint_keys(
    "timm",
    (
        (r"^stem_conv$", "stem/conv"),
        (r"^stem_norm$", "stem/bn"),
        (r"^head$", "head/fc"),
        (r"^stage(\d)_block(\d+)", r"s\1/b\2"),
        (r"/conv(\d)$", r"/conv\1/conv"),
        (r"/norm(\d)$", r"/conv\1/bn"),
        (r"/shortcut_conv$", "/downsample/conv"),
        (r"/shortcut_norm$", "/downsample/bn"),
        (r"/se/reduce$", "/se/fc1"),
        (r"/se/expand$", "/se/fc2"),
    ),
)
