"""ResNet v2: pre-activated residual units, so that the shortcuts are identities from end to end.

Identity Mappings in Deep Residual Networks, He et al. 2016, arXiv:1603.05027, Figure 4 (e).

| names            | reference                | stem       | stride    | projection of   |
| ---------------- | ------------------------ | ---------- | --------- | --------------- |
| resnetv2_*       | timm                     | conv, pool | 3x3       | activated input |
| preresnet*       | pytorchcv (as He's Torch | conv, BN,  | first 1x1 | activated input |
|                  | code)                    | ReLU, pool |           |                 |
| preresnet*_cifar | github.com/bearpaw/      | conv       | 3x3       | raw input       |
|                  | pytorch-classification   |            |           |                 |

Differences from the paper: in `resnetv2_*` and `preresnet*_cifar` the stride is in the 3x3
convolution. The paper's first unit of a stage activates its input before branch and shortcut part
ways; `preresnet*_cifar` projects the input as it comes (`project_raw=False` gives the paper's).
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
from zoo.layers.pool import max_pool
from zoo.registry import CIFAR, Family


class PreBasicBlock(nn.Module):
    """Two 3x3 convolutions, pre-activated.

    [B, H, W, C] -> [B, H / strides, W / strides, features].
    """

    features: int
    strides: int
    project_raw: bool
    conv: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        y = nn.relu(self.norm(name="norm1")(x))
        x = shortcut(self, x, x if self.project_raw else y, self.features)
        y = self.conv(self.features, 3, self.strides, name="conv1")(y)
        y = nn.relu(self.norm(name="norm2")(y))
        return x + self.conv(self.features, 3, name="conv2")(y)


class PreBottleneck(nn.Module):
    """1x1, 3x3, 1x1 convolutions, pre-activated.

    [B, H, W, C] -> [B, H / strides, W / strides, 4 * features]. The stride is in the first
    convolution with `stride_first`, else in the second.
    """

    features: int
    strides: int
    project_raw: bool
    conv: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]
    stride_first: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        first, second = (self.strides, 1) if self.stride_first else (1, self.strides)
        y = nn.relu(self.norm(name="norm1")(x))
        x = shortcut(self, x, x if self.project_raw else y, 4 * self.features)
        y = self.conv(self.features, 1, first, name="conv1")(y)
        y = nn.relu(self.norm(name="norm2")(y))
        y = self.conv(self.features, 3, second, name="conv2")(y)
        y = nn.relu(self.norm(name="norm3")(y))
        return x + self.conv(4 * self.features, 1, name="conv3")(y)


def shortcut(block: nn.Module, x: jax.Array, projected: jax.Array, features: int) -> jax.Array:
    """Returns x, or the 1x1 convolution of `projected` where the block changes the shape."""
    if x.shape[-1] == features and block.strides == 1:
        return x
    return block.conv(features, 1, block.strides, name="shortcut_conv")(projected)


class ResNetV2(nn.Module):
    """Images [B, H, W, C] of any size from 32 up -> logits [B, num_classes].

    Attributes:
      depths: Number of blocks in each stage.
      block: Constructor of the blocks, `PreBasicBlock` or `PreBottleneck`.
      stem: "imagenet" for a 7x7 convolution and pooling, both of stride 2; "cifar" for a 3x3
        convolution.
      stem_norm: Whether the stem has BatchNorm and ReLU.
      project_raw: Whether projections take the block's input rather than its activated input.
      num_classes: Number of classes; 0 removes the head and returns the pooled features [B, C].
      dtype: Dtype of the computation; parameters, normalisation statistics and logits stay float32.
    """

    depths: Sequence[int]
    block: Callable[..., nn.Module]
    stem: str = "imagenet"
    stem_norm: bool = False
    project_raw: bool = False
    num_classes: int = 1000
    dtype: Any = jnp.float32

    @takes_images()
    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        conv = partial(square_conv, dtype=self.dtype)
        norm = partial(nn.BatchNorm, use_running_average=not train, momentum=0.9, dtype=self.dtype)
        block = partial(self.block, project_raw=self.project_raw, conv=conv, norm=norm)
        width, size, strides = (16, 3, 1) if self.stem == "cifar" else (64, 7, 2)

        # Stem
        x = conv(width, size, strides, name="stem_conv")(images)  # [B, H, W, 16], [B, H/2, W/2, 64]
        if self.stem_norm:
            x = nn.relu(norm(name="stem_norm")(x))
        if self.stem == "imagenet":
            x = max_pool(x, 3, 2, padding=1)  # [B, H/4, W/4, 64]
        self.sow("intermediates", "stem", x)

        # Stages
        for i, depth in enumerate(self.depths):
            for j in range(depth):
                features, strides = width * 2**i, 2 if i > 0 and j == 0 else 1
                x = block(features, strides, name=f"stage{i + 1}_block{j + 1}")(x)
            self.sow("intermediates", f"stage{i + 1}", x)  # last: [B, H/32, W/32, 512 or 2048]

        # Head
        x = nn.relu(norm(name="head_norm")(x))
        x = pool_head_map(self, x)  # [B, 512 or 2048]
        return classify(self, x, self.num_classes, self.dtype, kernel_init=torch_default)


# One family for each reference, as their names differ.
metadata = dict(paper="Identity Mappings in Deep Residual Networks, arXiv:1603.05027", year=2016)
half = dict(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
timm = Family("resnet_v2", dict(interpolation="bicubic", **metadata, **half))
pytorchcv = Family("resnet_v2", metadata)
bearpaw = Family("resnet_v2", dict(**metadata, **CIFAR))
HeBottleneck = partial(PreBottleneck, stride_first=True)
CifarResNetV2 = partial(ResNetV2, stem="cifar", project_raw=True)


@timm.variant(reference="timm resnetv2_50", crop=0.95)
def resnetv2_50(**kwargs) -> ResNetV2:
    """25,549,352 parameters, 4.09 G multiply-adds."""
    return ResNetV2((3, 4, 6, 3), PreBottleneck, **kwargs)


@timm.variant(reference="timm resnetv2_101", crop=0.95)
def resnetv2_101(**kwargs) -> ResNetV2:
    """44,541,480 parameters, 7.80 G multiply-adds."""
    return ResNetV2((3, 4, 23, 3), PreBottleneck, **kwargs)


@timm.variant(reference="timm resnetv2_152")
def resnetv2_152(**kwargs) -> ResNetV2:
    """60,185,128 parameters, 11.51 G multiply-adds."""
    return ResNetV2((3, 8, 36, 3), PreBottleneck, **kwargs)


@pytorchcv.variant(reference="pytorchcv preresnet18")
def preresnet18(**kwargs) -> ResNetV2:
    """11,687,848 parameters, 1.81 G multiply-adds."""
    return ResNetV2((2, 2, 2, 2), PreBasicBlock, stem_norm=True, **kwargs)


@pytorchcv.variant(reference="pytorchcv preresnet50")
def preresnet50(**kwargs) -> ResNetV2:
    """25,549,480 parameters, 3.86 G multiply-adds."""
    return ResNetV2((3, 4, 6, 3), HeBottleneck, stem_norm=True, **kwargs)


@pytorchcv.variant(reference="pytorchcv preresnet101")
def preresnet101(**kwargs) -> ResNetV2:
    """44,541,608 parameters, 7.57 G multiply-adds."""
    return ResNetV2((3, 4, 23, 3), HeBottleneck, stem_norm=True, **kwargs)


@pytorchcv.variant(
    reference="pytorchcv preresnet152",
    top1=78.9,
    top5=94.5,
    accuracy_source="paper, Table 5: 21.1 / 5.5 % error, 320 pixels",
    accuracy_size=320,
)
def preresnet152(**kwargs) -> ResNetV2:
    """60,185,256 parameters, 11.28 G multiply-adds, 78.9 % top-1."""
    return ResNetV2((3, 8, 36, 3), HeBottleneck, stem_norm=True, **kwargs)


@pytorchcv.variant(
    reference="pytorchcv preresnet200",
    top1=79.3,
    top5=94.7,
    accuracy_source="paper, Table 5: 20.7 / 5.3 % error, 320 pixels",
    accuracy_size=320,
)
def preresnet200(**kwargs) -> ResNetV2:
    """64,666,280 parameters, 14.78 G multiply-adds, 79.3 % top-1."""
    return ResNetV2((3, 24, 36, 3), HeBottleneck, stem_norm=True, **kwargs)


@bearpaw.variant(
    reference="bearpaw preresnet(110, BasicBlock)",
    top1=93.63,
    accuracy_source="paper, Table 2, CIFAR-10: 6.37 % error",
)
def preresnet110_cifar(*, num_classes: int = 10, **kwargs) -> ResNetV2:
    """1,730,522 parameters, 0.25 G multiply-adds, 93.6 % top-1 on CIFAR-10."""
    return CifarResNetV2((18, 18, 18), PreBasicBlock, num_classes=num_classes, **kwargs)


@bearpaw.variant(
    reference="bearpaw preresnet(164, Bottleneck)",
    top1=94.54,
    accuracy_source="paper, Table 2, CIFAR-10: 5.46 % error",
)
def preresnet164_cifar(*, num_classes: int = 10, **kwargs) -> ResNetV2:
    """1,703,258 parameters, 0.25 G multiply-adds, 94.5 % top-1 on CIFAR-10."""
    return CifarResNetV2((18, 18, 18), PreBottleneck, num_classes=num_classes, **kwargs)


@bearpaw.variant(
    reference="bearpaw preresnet(1001, Bottleneck)",
    top1=95.08,
    accuracy_source="paper, Table 4, CIFAR-10: 4.92 % error; 4.62 % with batches of 64",
)
def preresnet1001_cifar(*, num_classes: int = 10, **kwargs) -> ResNetV2:
    """10,327,706 parameters, 1.49 G multiply-adds, 95.1 % top-1 on CIFAR-10."""
    return CifarResNetV2((111, 111, 111), PreBottleneck, num_classes=num_classes, **kwargs)


timm.checkpoint_keys(
    "timm",
    (
        (r"^stem_conv$", "stem/conv"),
        (r"^head_norm$", "norm"),
        (r"^head$", "head/fc"),
        (r"^stage(\d)_block(\d+)", r"stages/\1-1/blocks/\2-1"),
        (r"/shortcut_conv$", "/downsample/conv"),
    ),
    dense_as_conv1x1=("head",),
)
pytorchcv.checkpoint_keys(
    "pytorchcv",
    (
        (r"^stem_(\w+)$", r"features/init_block/\1"),
        (r"^head_norm$", "features/post_activ/norm"),
        (r"^head$", "output"),
        (r"^stage(\d)_block(\d+)/shortcut_conv$", r"features/stage\1/unit\2/identity_conv"),
        (r"^stage(\d)_block(\d+)/([a-z]+)(\d)$", r"features/stage\1/unit\2/body/conv\4/\3"),
        (r"/norm$", "/bn"),
    ),
)
bearpaw.checkpoint_keys(
    "bearpaw",
    (
        (r"^stem_conv$", "conv1"),
        (r"^head_norm$", "bn"),
        (r"^head$", "fc"),
        (r"^stage(\d)_block(\d+)", r"layer\1/\2-1"),
        (r"/norm(\d)$", r"/bn\1"),
        (r"/shortcut_conv$", "/downsample/0"),
    ),
)
