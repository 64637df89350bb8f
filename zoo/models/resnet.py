"""ResNet: residual networks, and the plain networks they were compared with.

Deep Residual Learning for Image Recognition, He et al. 2015, arXiv:1512.03385, Table 1, and with
wider bottlenecks, Wide Residual Networks, Zagoruyko and Komodakis 2016, arXiv:1605.07146.
Reference: torchvision `resnet18` ... `resnet152`, `wide_resnet*_2`; timm `resnet200`, whose depths
(3, 24, 36, 3) are those of Identity Mappings in Deep Residual Networks, arXiv:1603.05027.

Differences from the paper:
- the stride of a bottleneck is in its 3x3 convolution, not in the first 1x1 ("v1.5");
- shortcuts that change shape are projections (option B).
"""

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from zoo.layers.blocks import run_stage
from zoo.layers.conv import square_conv
from zoo.layers.drop_path import DropPath, stage_drop_path_rates
from zoo.layers.head import classify, pool_head_map
from zoo.layers.image_input import takes_images
from zoo.layers.initializers import torch_default
from zoo.layers.joins import residual_sum
from zoo.layers.pool import max_pool
from zoo.registry import CIFAR, Family


class BasicBlock(nn.Module):
    """Two 3x3 convolutions. [B, H, W, C] -> [B, H / strides, W / strides, features].

    Where the shape changes, the shortcut is a projection (option B); without `residual` there is
    none.
    """

    features: int
    strides: int
    conv: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]
    residual: bool = True
    drop_path: float = 0.0

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        y = self.conv(self.features, 3, self.strides, name="conv1")(x)
        y = nn.relu(self.norm(name="norm1")(y))
        y = self.conv(self.features, 3, name="conv2")(y)
        y = self.norm(name="norm2")(y)
        y = DropPath(self.drop_path)(y, train=train)
        if not self.residual:
            return nn.relu(y)
        if x.shape != y.shape:
            x = self.conv(y.shape[-1], 1, self.strides, name="shortcut_conv")(x)
            x = self.norm(name="shortcut_norm")(x)
        return residual_sum(x, y)


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 convolutions. [B, H, W, C] -> [B, H / strides, W / strides, 4 * features].

    The 3x3 convolution has `groups` groups of `group_width / 64 * features` features each. Where
    the shape changes, the shortcut is a projection (option B); without `residual` there is none.
    """

    features: int
    strides: int
    conv: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]
    residual: bool = True
    drop_path: float = 0.0
    groups: int = 1
    group_width: int = 64

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        inner = self.groups * (self.features * self.group_width // 64)
        y = self.conv(inner, 1, name="conv1")(x)
        y = nn.relu(self.norm(name="norm1")(y))
        y = self.conv(inner, 3, self.strides, self.groups, name="conv2")(y)
        y = nn.relu(self.norm(name="norm2")(y))
        y = self.conv(4 * self.features, 1, name="conv3")(y)
        y = self.norm(name="norm3")(y)
        y = DropPath(self.drop_path)(y, train=train)
        if not self.residual:
            return nn.relu(y)
        if x.shape != y.shape:
            x = self.conv(y.shape[-1], 1, self.strides, name="shortcut_conv")(x)
            x = self.norm(name="shortcut_norm")(x)
        return residual_sum(x, y)


@cache  # one object for each pair, so that a model equals itself made again
def bottleneck(groups: int, group_width: int) -> Callable[..., nn.Module]:
    """Returns the constructor of a `Bottleneck` of these groups."""
    return partial(Bottleneck, groups=groups, group_width=group_width)


class ResNet(nn.Module):
    """Images [B, H, W, C] of any size from 32 up -> logits [B, num_classes].

    Attributes:
      depths: Number of blocks in each of the four stages.
      block: Constructor of the blocks, `BasicBlock`, `Bottleneck` or a `bottleneck`.
      widen: Factor of all widths but the stem's: 64 * widen in stage 1, twice that in stage 2, ...
      residual: Whether blocks have shortcuts; False gives the plain network.
      stem: "imagenet", a 7x7 convolution of stride 2 and maximum pooling, or "cifar" for images of
        32 pixels, a 3x3 convolution alone.
      drop_path: Stochastic depth rate of the last block; block l of L has l / L of it.
      num_classes: Number of classes; 0 removes the head and returns the pooled features [B, C].
      scan: Whether to compile equal blocks once, as a scan over stacked parameters; see
        zoo.layers.blocks. All but a stage's first block are equal.
      remat: Whether to rematerialize the activations of these blocks in the backward pass.
      dtype: Dtype of the computation; parameters, normalisation statistics and logits stay float32.
    """

    depths: Sequence[int]
    block: Callable[..., nn.Module]
    widen: int = 1
    residual: bool = True
    stem: str = "imagenet"
    drop_path: float = 0.0
    num_classes: int = 1000
    scan: bool = False
    remat: bool = False
    dtype: Any = jnp.float32

    @takes_images()
    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        conv = partial(square_conv, dtype=self.dtype)
        norm = partial(nn.BatchNorm, use_running_average=not train, momentum=0.9, dtype=self.dtype)
        block = partial(self.block, conv=conv, norm=norm, residual=self.residual)

        # Stem
        if self.stem not in ("imagenet", "cifar"):
            raise ValueError(f'stem is "imagenet" or "cifar", not {self.stem!r}.')
        small = self.stem == "cifar"
        x = conv(64, 3 if small else 7, 1 if small else 2, name="stem_conv")(images)
        x = nn.relu(norm(name="stem_norm")(x))  # [B, H/2, W/2, 64]
        x = x if small else max_pool(x, 3, 2, padding=1)  # [B, H/4, W/4, 64]
        self.sow("intermediates", "stem", x)

        # Stages
        run = partial(run_stage, train=train, scan=self.scan, remat=self.remat)
        first_rate = self.drop_path / sum(self.depths)
        all_rates = stage_drop_path_rates(self.drop_path, self.depths, first_rate)
        for i, rates in enumerate(all_rates, 1):
            features = 64 * self.widen * 2 ** (i - 1)
            first = partial(block, features, strides=1 if i == 1 else 2)
            others = partial(block, features, strides=1)
            x = run([others], x, rates, first=first, prefix=f"stage{i}_")
            self.sow("intermediates", f"stage{i}", x)  # last: [B, H/32, W/32, 512 or 2048]

        # Head
        x = pool_head_map(self, x)  # [B, 512 or 2048]
        return classify(self, x, self.num_classes, self.dtype, kernel_init=torch_default)


family = Family(
    "resnet",
    dict(
        paper="Deep Residual Learning for Image Recognition, arXiv:1512.03385",
        year=2015,
        accuracy_source="torchvision, weights IMAGENET1K_V1",
    ),
)
wide = partial(family.variant, paper="Wide Residual Networks, arXiv:1605.07146", year=2016)


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


@family.variant(
    reference="timm resnet200",
    year=2016,
    top1=78.2,
    top5=94.0,
    accuracy_source="arXiv:1603.05027, Table 5: 21.8 / 6.0 % error of the original unit, "
    "320 pixels",
    accuracy_size=320,
)
def resnet200(**kwargs) -> ResNet:
    """64,673,832 parameters, 15.01 G multiply-adds, 78.2 % top-1."""
    return ResNet((3, 24, 36, 3), Bottleneck, **kwargs)


@wide(reference="torchvision wide_resnet50_2", top1=78.468, top5=94.086)
def wide_resnet50_2(**kwargs) -> ResNet:
    """68,883,240 parameters, 11.40 G multiply-adds, 78.5 % top-1."""
    return ResNet((3, 4, 6, 3), bottleneck(1, 128), **kwargs)


@wide(reference="torchvision wide_resnet101_2", top1=78.848, top5=94.284)
def wide_resnet101_2(**kwargs) -> ResNet:
    """126,886,696 parameters, 22.75 G multiply-adds, 78.8 % top-1."""
    return ResNet((3, 4, 23, 3), bottleneck(1, 128), **kwargs)


@wide(accuracy_source="")
def wrn_68_3(**kwargs) -> ResNet:
    """373,251,240 parameters, 66.75 G multiply-adds: WRN-68-3 of the ensemble that won ILSVRC 2016.

    Its authors published the name only. ResNet-101's depths give 68 layers of basic blocks.
    """
    return ResNet((3, 4, 23, 3), BasicBlock, widen=3, **kwargs)


@family.variant(**CIFAR, accuracy_source="")
def resnet18_cifar(**kwargs) -> ResNet:
    """11,173,962 parameters, 0.56 G multiply-adds: what is called ResNet-18 on CIFAR.

    It is not in the paper, whose networks for CIFAR are `resnet20_cifar` and others; it spread with
    github.com/kuangliu/pytorch-cifar.
    """
    return ResNet((2, 2, 2, 2), BasicBlock, **{"stem": "cifar", "num_classes": 10} | kwargs)


@family.variant(**CIFAR, accuracy_source="")
def resnet34_cifar(**kwargs) -> ResNet:
    """21,282,122 parameters, 1.16 G multiply-adds: ResNet-34 with the stem of `resnet18_cifar`."""
    return ResNet((3, 4, 6, 3), BasicBlock, **{"stem": "cifar", "num_classes": 10} | kwargs)


@family.variant(top1=72.06, accuracy_source="paper, Table 2: 27.94 % error, 10-crop", crops=10)
def plain18(**kwargs) -> ResNet:
    """11,515,688 parameters: ResNet-18 without shortcuts."""
    return ResNet((2, 2, 2, 2), BasicBlock, residual=False, **kwargs)


@family.variant(top1=71.46, accuracy_source="paper, Table 2: 28.54 % error, 10-crop", crops=10)
def plain34(**kwargs) -> ResNet:
    """21,623,848 parameters: ResNet-34 without shortcuts; deeper than plain18, and worse."""
    return ResNet((3, 4, 6, 3), BasicBlock, residual=False, **kwargs)


# Torchvision's names, which are also timm's.
TORCHVISION = (
    (r"^stem_conv$", "conv1"),
    (r"^stem_norm$", "bn1"),
    (r"^head$", "fc"),
    (r"^stage(\d)_block(\d+)", r"layer\1/\2-1"),
    (r"/norm(\d)$", r"/bn\1"),
    (r"/shortcut_conv$", "/downsample/0"),
    (r"/shortcut_norm$", "/downsample/1"),
)
family.checkpoint_keys("torchvision", TORCHVISION)
