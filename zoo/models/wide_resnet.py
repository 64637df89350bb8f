"""WRN: wide residual networks for CIFAR, shallow and k times as wide.

Wide Residual Networks, Zagoruyko and Komodakis 2016, arXiv:1605.07146, Table 1, block B(3, 3).
Reference: github.com/xternalz/WideResNet-pytorch, which equals the authors' Torch code.
`wrn_28_10_cifar` has depth 28 and width 10; both are attributes. The wide networks for ImageNet,
`wide_resnet50_2`, `wide_resnet101_2` and `wrn_68_3`, are in `zoo.models.resnet`.

Differences from the paper: none. As in the authors' code a block that changes the width activates
its input before the branch and the shortcut part ways.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from zoo.layers.conv import square_conv
from zoo.layers.head import classify, pool_head_map
from zoo.layers.image_input import takes_images
from zoo.layers.initializers import torch_default
from zoo.registry import CIFAR, Family


class WideBlock(nn.Module):
    """Pre-activated 3x3 convolutions. [B, H, W, C] -> [B, H / strides, W / strides, features]."""

    features: int
    strides: int
    dropout: float
    conv: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        y = nn.relu(self.norm(name="norm1")(x))
        if x.shape[-1] != self.features:
            x = self.conv(self.features, 1, self.strides, name="shortcut_conv")(y)
        y = self.conv(self.features, 3, self.strides, name="conv1")(y)
        y = nn.relu(self.norm(name="norm2")(y))
        y = nn.Dropout(self.dropout, deterministic=not train)(y)
        return x + self.conv(self.features, 3, name="conv2")(y)


class WideResNet(nn.Module):
    """Images [B, H, W, C] of any size, 32 by design -> logits [B, num_classes].

    Attributes:
      depth: Number of convolutions, 6 n + 4 for n blocks in each of the three stages.
      width: Factor k of the widths; the stages have 16 k, 32 k and 64 k features.
      num_classes: Number of classes; 0 removes the head and returns the pooled features [B, C].
      dropout: Dropout rate between the two convolutions of each block.
      dtype: Dtype of the computation; parameters, normalisation statistics and logits stay float32.
    """

    depth: int
    width: int
    num_classes: int = 10
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @takes_images()
    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        blocks, remainder = divmod(self.depth - 4, 6)
        if blocks < 1 or remainder:
            raise ValueError(
                f"depth is 6 n + 4, such as 16, 22, 28 or 40, not {self.depth}. "
                "(WRN-68-3, of ILSVRC 2016, is an ImageNet model: wrn_68_3.)"
            )
        conv = partial(square_conv, dtype=self.dtype)
        norm = partial(nn.BatchNorm, use_running_average=not train, momentum=0.9, dtype=self.dtype)
        block = partial(WideBlock, dropout=self.dropout, conv=conv, norm=norm)

        # Stem
        x = conv(16, 3, name="stem_conv")(images)  # [B, H, W, 16]
        self.sow("intermediates", "stem", x)

        # Stages
        for i in range(1, 4):
            for j in range(1, blocks + 1):
                features, strides = 8 * self.width * 2**i, 2 if i > 1 and j == 1 else 1
                x = block(features, strides, name=f"stage{i}_block{j}")(x, train=train)
            self.sow("intermediates", f"stage{i}", x)  # last: [B, H/4, W/4, 64 * width]

        # Head
        x = nn.relu(norm(name="head_norm")(x))
        x = pool_head_map(self, x)  # [B, 64 * width]
        return classify(self, x, self.num_classes, self.dtype, kernel_init=torch_default)


family = Family(
    "wide_resnet",
    dict(paper="Wide Residual Networks, arXiv:1605.07146", year=2016, **CIFAR),
)


@family.variant(reference="xternalz WideResNet(16, widen_factor=8)")
def wrn_16_8_cifar(*, depth: int = 16, width: int = 8, **kwargs) -> WideResNet:
    """10,961,370 parameters, 1.55 G multiply-adds. With `dropout=0.4` 98.5 % top-1 on SVHN."""
    return WideResNet(depth, width, **kwargs)


@family.variant(
    reference="xternalz WideResNet(28, widen_factor=10)",
    top1=96.0,
    accuracy_source="authors' repository, CIFAR-10: 4.00 % error, median of 5 runs",
)
def wrn_28_10_cifar(*, depth: int = 28, width: int = 10, **kwargs) -> WideResNet:
    """36,479,194 parameters, 5.24 G multiply-adds, 96.0 % top-1 on CIFAR-10."""
    return WideResNet(depth, width, **kwargs)


@family.variant(reference="xternalz WideResNet(40, widen_factor=4)")
def wrn_40_4_cifar(*, depth: int = 40, width: int = 4, **kwargs) -> WideResNet:
    """8,949,210 parameters, 1.30 G multiply-adds."""
    return WideResNet(depth, width, **kwargs)


family.checkpoint_keys(
    "xternalz",
    (
        (r"^stem_conv$", "conv1"),
        (r"^head_norm$", "bn1"),
        (r"^head$", "fc"),
        (r"^stage(\d)_block(\d+)", r"block\1/layer/\2-1"),
        (r"/norm(\d)$", r"/bn\1"),
        (r"/shortcut_conv$", "/convShortcut"),
    ),
)
