"""SENet: residual networks with squeeze-and-excitation, a gate on every channel of every branch.

Squeeze-and-Excitation Networks, Hu et al. 2017, arXiv:1709.01507, Tables 1 and 2 (SENet-154: the
appendix). Reference: timm `legacy_seresnet*`, `legacy_seresnext*`, `legacy_senet154`, which are
the authors' Caffe networks.
The gate itself is `zoo.layers.squeeze_excite.SqueezeExcite`, for a branch of any network.

Differences from the paper: none in the bottleneck networks (the stride of SE-ResNet is in the
first 1x1 convolution, as in He's paper; pooling has no padding but goes over the end, as in Caffe).
SE-ResNet-18 and 34 are not in the paper; they have one more ReLU before the gate.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from zoo.layers.conv import square_conv
from zoo.layers.head import classify, pool_head_map
from zoo.layers.image_input import takes_images
from zoo.layers.initializers import torch_default
from zoo.layers.joins import residual_sum
from zoo.layers.pool import max_pool
from zoo.layers.squeeze_excite import SqueezeExcite
from zoo.registry import Family

REDUCTION = 16


class SEBasicBlock(nn.Module):
    """Two 3x3 convolutions and a gate. [B, H, W, C] -> [B, H / strides, W / strides, features]."""

    features: int
    strides: int
    conv: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]
    gate: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        y = self.conv(self.features, 3, self.strides, name="conv1")(x)
        y = nn.relu(self.norm(name="norm1")(y))
        y = self.conv(self.features, 3, name="conv2")(y)
        y = nn.relu(self.norm(name="norm2")(y))
        y = self.gate(self.features // REDUCTION, name="se")(y)
        return residual_sum(shortcut(self, x, y.shape), y)


class SEBottleneck(nn.Module):
    """1x1, 3x3, 1x1 convolutions and a gate.

    [B, H, W, C] -> [B, H / strides, W / strides, 4 * features]. The first convolution has
    `inner[0] * features` outputs, the second `inner[1] * features` in `groups` groups. The stride
    is in the first with `stride_first`, else in the second. Where it is 2, the convolution of the
    shortcut has kernels of size `projection`.
    """

    features: int
    strides: int
    conv: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]
    gate: Callable[..., nn.Module]
    inner: tuple[int, int] = (1, 1)
    groups: int = 1
    stride_first: bool = False
    projection: int = 1

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        first, second = (self.strides, 1) if self.stride_first else (1, self.strides)
        narrow, wide = (factor * self.features for factor in self.inner)
        y = self.conv(narrow, 1, first, name="conv1")(x)
        y = nn.relu(self.norm(name="norm1")(y))
        y = self.conv(wide, 3, second, groups=self.groups, name="conv2")(y)
        y = nn.relu(self.norm(name="norm2")(y))
        y = self.conv(4 * self.features, 1, name="conv3")(y)
        y = self.norm(name="norm3")(y)
        y = self.gate(4 * self.features // REDUCTION, name="se")(y)
        kernel_size = self.projection if self.strides > 1 else 1
        return residual_sum(shortcut(self, x, y.shape, kernel_size), y)


def shortcut(
    block: nn.Module, x: jax.Array, shape: Sequence[int], kernel_size: int = 1
) -> jax.Array:
    """Returns x, or its projection where the block changes the shape."""
    if x.shape == shape:
        return x
    x = block.conv(shape[-1], kernel_size, block.strides, name="shortcut_conv")(x)
    return block.norm(name="shortcut_norm")(x)


class SENet(nn.Module):
    """Images [B, H, W, C] of any size from 32 up -> logits [B, num_classes].

    Attributes:
      depths: Number of blocks in each of the four stages.
      block: Constructor of the blocks, `SEBasicBlock` or `SEBottleneck`.
      stem: Numbers of features of the stem's convolutions: one 7x7, or several 3x3.
      num_classes: Number of classes; 0 removes the head and returns the pooled features [B, C].
      dropout: Dropout rate before the classifier.
      dtype: Dtype of the computation; parameters, normalisation statistics and logits stay float32.
    """

    depths: Sequence[int]
    block: Callable[..., nn.Module]
    stem: Sequence[int] = (64,)
    num_classes: int = 1000
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @takes_images(at_least=3)
    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        conv = partial(square_conv, dtype=self.dtype)
        norm = partial(nn.BatchNorm, use_running_average=not train, momentum=0.9, dtype=self.dtype)
        gate = partial(SqueezeExcite, dtype=self.dtype)
        block = partial(self.block, conv=conv, norm=norm, gate=gate)

        # Stem
        x, kernel_size = images, 7 if len(self.stem) == 1 else 3
        for i, features in enumerate(self.stem, 1):
            x = conv(features, kernel_size, 2 if i == 1 else 1, name=f"stem_conv{i}")(x)
            x = nn.relu(norm(name=f"stem_norm{i}")(x))  # [B, H/2, W/2, 64 or 128]
        x = max_pool(x, 3, 2, ceil_mode=True)  # [B, H/4, W/4, 64 or 128]
        self.sow("intermediates", "stem", x)

        # Stages
        for i, depth in enumerate(self.depths):
            for j in range(depth):
                features, strides = 64 * 2**i, 2 if i > 0 and j == 0 else 1
                x = block(features, strides, name=f"stage{i + 1}_block{j + 1}")(x)
            self.sow("intermediates", f"stage{i + 1}", x)  # last: [B, H/32, W/32, 512 or 2048]

        # Head
        x = pool_head_map(self, x)  # [B, 512 or 2048]
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return classify(self, x, self.num_classes, self.dtype, kernel_init=torch_default)


SEResNetBottleneck = partial(SEBottleneck, stride_first=True)
SEResNeXtBottleneck = partial(SEBottleneck, inner=(2, 2), groups=32)
SENetBottleneck = partial(SEBottleneck, inner=(2, 4), groups=64, projection=3)

family = Family(
    "senet",
    dict(
        paper="Squeeze-and-Excitation Networks, arXiv:1709.01507",
        year=2017,
        accuracy_source="timm's evaluation of the authors' weights",
    ),
)


@family.variant(reference="timm legacy_seresnet18", interpolation="bicubic", accuracy_source="")
def seresnet18(**kwargs) -> SENet:
    """11,778,592 parameters, 1.81 G multiply-adds."""
    return SENet((2, 2, 2, 2), SEBasicBlock, **kwargs)


@family.variant(reference="timm legacy_seresnet34", accuracy_source="")
def seresnet34(**kwargs) -> SENet:
    """21,958,868 parameters, 3.66 G multiply-adds."""
    return SENet((3, 4, 6, 3), SEBasicBlock, **kwargs)


@family.variant(reference="timm legacy_seresnet50", top1=77.650, top5=93.732)
def seresnet50(**kwargs) -> SENet:
    """28,088,024 parameters, 3.86 G multiply-adds, 77.7 % top-1 (the paper's recipe: 76.7 %)."""
    return SENet((3, 4, 6, 3), SEResNetBottleneck, **kwargs)


@family.variant(reference="timm legacy_seresnet101", top1=78.370, top5=94.264)
def seresnet101(**kwargs) -> SENet:
    """49,326,872 parameters, 7.57 G multiply-adds, 78.4 % top-1 (the paper's recipe: 77.6 %)."""
    return SENet((3, 4, 23, 3), SEResNetBottleneck, **kwargs)


@family.variant(reference="timm legacy_seresnet152", top1=78.662, top5=94.370)
def seresnet152(**kwargs) -> SENet:
    """66,821,848 parameters, 11.29 G multiply-adds, 78.7 % top-1 (the paper's recipe: 78.4 %)."""
    return SENet((3, 8, 36, 3), SEResNetBottleneck, **kwargs)


@family.variant(reference="timm legacy_seresnext50_32x4d", top1=79.080, top5=94.428)
def seresnext50_32x4d(**kwargs) -> SENet:
    """27,559,896 parameters, 4.23 G multiply-adds, 79.1 % top-1 (the paper's recipe: 78.9 %)."""
    return SENet((3, 4, 6, 3), SEResNeXtBottleneck, **kwargs)


@family.variant(reference="timm legacy_seresnext101_32x4d", top1=80.274, top5=95.032)
def seresnext101_32x4d(**kwargs) -> SENet:
    """48,955,416 parameters, 7.97 G multiply-adds, 80.3 % top-1 (the paper's recipe: 79.3 %)."""
    return SENet((3, 4, 23, 3), SEResNeXtBottleneck, **kwargs)


@family.variant(reference="timm legacy_senet154", top1=81.320, top5=95.502)
def senet154(*, dropout: float = 0.2, **kwargs) -> SENet:
    """115,088,984 parameters, 20.69 G multiply-adds, 81.3 % top-1."""
    return SENet((3, 8, 36, 3), SENetBottleneck, (64, 64, 128), dropout=dropout, **kwargs)


family.checkpoint_keys(
    "timm",
    (
        (r"^stem_conv(\d)$", r"layer0/conv\1"),
        (r"^stem_norm(\d)$", r"layer0/bn\1"),
        (r"^head$", "last_linear"),
        (r"^stage(\d)_block(\d+)", r"layer\1/\2-1"),
        (r"/norm(\d)$", r"/bn\1"),
        (r"/shortcut_conv$", "/downsample/0"),
        (r"/shortcut_norm$", "/downsample/1"),
        (r"/se/reduce$", "/se_module/fc1"),
        (r"/se/expand$", "/se_module/fc2"),
    ),
)
