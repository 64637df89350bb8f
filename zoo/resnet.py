"""ResNet: residual networks, and the plain networks they were compared with.

Deep Residual Learning for Image Recognition, He et al. 2015, arXiv:1512.03385, Table 1.
Reference: torchvision `resnet18` ... `resnet152`.

Differences from the paper:
- the stride of a bottleneck is in its 3x3 convolution, not in the first 1x1 ("v1.5");
- shortcuts that change shape are projections (option B).
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from zoo.layers.conv import Conv
from zoo.layers.pool import max_pool
from zoo.registry import Family

conv_init = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
dense_init = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


class BasicBlock(nn.Module):
    """Two 3x3 convolutions. [B, H, W, C] -> [B, H / strides, W / strides, features]."""

    features: int
    strides: int
    residual: bool
    conv: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]

    expansion = 1

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        y = self.conv(self.features, 3, self.strides, name="conv1")(x)
        y = nn.relu(self.norm(name="norm1")(y))
        y = self.conv(self.features, 3, name="conv2")(y)
        y = self.norm(name="norm2")(y)
        return nn.relu(y + shortcut(self, x, y.shape) if self.residual else y)


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 convolutions. [B, H, W, C] -> [B, H / strides, W / strides, 4 * features]."""

    features: int
    strides: int
    residual: bool
    conv: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]

    expansion = 4

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        y = self.conv(self.features, 1, name="conv1")(x)
        y = nn.relu(self.norm(name="norm1")(y))
        y = self.conv(self.features, 3, self.strides, name="conv2")(y)
        y = nn.relu(self.norm(name="norm2")(y))
        y = self.conv(self.expansion * self.features, 1, name="conv3")(y)
        y = self.norm(name="norm3")(y)
        return nn.relu(y + shortcut(self, x, y.shape) if self.residual else y)


def shortcut(block: BasicBlock | Bottleneck, x: jax.Array, shape: Sequence[int]) -> jax.Array:
    """The identity, or a projection where the block changes the shape (option B)."""
    if x.shape == shape:
        return x
    x = block.conv(shape[-1], 1, block.strides, name="shortcut_conv")(x)
    return block.norm(name="shortcut_norm")(x)


class ResNet(nn.Module):
    """Images [B, H, W, C] of any size from 32 up -> logits [B, num_classes].

    Attributes:
      depths: number of blocks in each of the four stages.
      block: `BasicBlock` or `Bottleneck`.
      width: features of the first stage; they double with every stage.
      residual: False gives the plain network, without shortcuts.
      num_classes: 0 for no classifier; the pooled embedding comes out.
      dtype: of the computation; parameters, statistics and logits stay float32.
    """

    depths: Sequence[int]
    block: Callable[..., nn.Module]
    width: int = 64
    residual: bool = True
    num_classes: int = 1000
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        conv = partial(same_conv, dtype=self.dtype)
        norm = partial(nn.BatchNorm, use_running_average=not train, momentum=0.9, dtype=self.dtype)
        block = partial(self.block, residual=self.residual, conv=conv, norm=norm)

        # Stem
        x = conv(self.width, 7, 2, name="stem_conv")(images)  # [B, H/2, W/2, 64]
        x = nn.relu(norm(name="stem_norm")(x))
        x = max_pool(x, 3, 2, padding=1)  # [B, H/4, W/4, 64]
        self.sow("intermediates", "stem", x)

        # Stages
        for i, depth in enumerate(self.depths):
            for j in range(depth):
                features, strides = self.width * 2**i, 2 if i > 0 and j == 0 else 1
                x = block(features, strides, name=f"stage{i + 1}_block{j + 1}")(x)
            self.sow("intermediates", f"stage{i + 1}", x)  # last: [B, H/32, W/32, 512 * expansion]

        # Head
        x = jnp.mean(x, axis=(1, 2))  # [B, 512 * expansion]
        self.sow("intermediates", "embedding", x)
        if not self.num_classes:
            return x
        head_dtype = jnp.promote_types(self.dtype, jnp.float32)
        return nn.Dense(self.num_classes, dtype=head_dtype, kernel_init=dense_init, name="head")(x)


def same_conv(features: int, size: int, strides: int = 1, **kwargs) -> nn.Module:
    """A square convolution without bias, padded by half its size on both sides."""
    return Conv(
        features,
        (size, size),
        strides,
        padding=size // 2,
        use_bias=False,
        kernel_init=conv_init,
        **kwargs,
    )


family = Family(
    "resnet",
    dict(
        paper="Deep Residual Learning for Image Recognition, arXiv:1512.03385",
        year=2015,
        source="torchvision, weights IMAGENET1K_V1",
    ),
)


@family.variant(reference="torchvision resnet18", top1=69.758, top5=89.078)
def resnet18(**kwargs) -> ResNet:
    """11,689,512 parameters, 1.81 G multiply-adds, 69.8 % top-1."""
    return ResNet((2, 2, 2, 2), BasicBlock, **kwargs)


@family.variant(reference="torchvision resnet34", top1=73.314, top5=91.420)
def resnet34(**kwargs) -> ResNet:
    """21,797,672 parameters, 3.66 G multiply-adds, 73.3 % top-1."""
    return ResNet((3, 4, 6, 3), BasicBlock, **kwargs)


@family.variant(reference="torchvision resnet50", top1=76.130, top5=92.862)
def resnet50(**kwargs) -> ResNet:
    """25,557,032 parameters, 4.09 G multiply-adds, 76.1 % top-1."""
    return ResNet((3, 4, 6, 3), Bottleneck, **kwargs)


@family.variant(reference="torchvision resnet101", top1=77.374, top5=93.546)
def resnet101(**kwargs) -> ResNet:
    """44,549,160 parameters, 7.80 G multiply-adds, 77.4 % top-1."""
    return ResNet((3, 4, 23, 3), Bottleneck, **kwargs)


@family.variant(reference="torchvision resnet152", top1=78.312, top5=94.046)
def resnet152(**kwargs) -> ResNet:
    """60,192,808 parameters, 11.51 G multiply-adds, 78.3 % top-1."""
    return ResNet((3, 8, 36, 3), Bottleneck, **kwargs)


@family.variant(top1=72.06, source="paper, Table 2: 27.94 % error, 10-crop")
def plain18(**kwargs) -> ResNet:
    """11,515,688 parameters: ResNet-18 without shortcuts."""
    return ResNet((2, 2, 2, 2), BasicBlock, residual=False, **kwargs)


@family.variant(top1=71.46, source="paper, Table 2: 28.54 % error, 10-crop")
def plain34(**kwargs) -> ResNet:
    """21,623,848 parameters: ResNet-34 without shortcuts; deeper than plain18, and worse."""
    return ResNet((3, 4, 6, 3), BasicBlock, residual=False, **kwargs)


family.naming(
    "torchvision",
    (
        (r"^stem_conv$", "conv1"),
        (r"^stem_norm$", "bn1"),
        (r"^head$", "fc"),
        (r"^stage(\d)_block(\d+)", r"layer\1/\2-1"),
        (r"/norm(\d)$", r"/bn\1"),
        (r"/shortcut_conv$", "/downsample/0"),
        (r"/shortcut_norm$", "/downsample/1"),
    ),
)
