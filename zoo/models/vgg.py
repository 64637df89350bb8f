"""VGG: depth from 3x3 convolutions alone.

Very Deep Convolutional Networks for Large-Scale Image Recognition, Simonyan and Zisserman 2014,
arXiv:1409.1556, Table 1. Reference: torchvision `vgg11` ... `vgg19_bn`.

Differences from the paper: images of other sizes than 224 are pooled to 7x7 before the classifier,
as torchvision does, unless the head is `fully_convolutional`; the variants with BatchNorm are
torchvision's. Weights start as torchvision's do (He normal), so that deep configurations train
without starting from configuration A.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from zoo.layers import initializers
from zoo.layers.conv import Conv
from zoo.layers.dense import Dense
from zoo.layers.head import classify
from zoo.layers.image_input import takes_images
from zoo.layers.initializers import kaiming_fan_out
from zoo.layers.lrn import local_response_norm
from zoo.layers.pool import adaptive_average_pool, flatten, max_pool
from zoo.layers.windows import sliding_windows
from zoo.registry import Family

dense_init = initializers.normal(0.01)

WIDTHS = (64, 128, 256, 512, 512)


class VGG(nn.Module):
    """Images [B, H, W, C] of any size from 32 up -> logits [B, num_classes].

    Attributes:
      depths: Number of convolutions in each of the five stages.
      pointwise: Whether the third convolution of a stage is 1x1 (configuration C).
      lrn: Whether local response normalisation follows the first convolution (configuration A-LRN).
      batch_norm: Whether BatchNorm follows every convolution.
      num_classes: Number of classes; 0 removes the head and returns the features of fc7 [B, 4096].
      dropout: Dropout rate after fc6 and fc7.
      fully_convolutional: Whether the three layers of the head slide over the maps, as convolutions
        of 7x7, 1x1 and 1x1 pixels (section 3.2 of the paper): the logits are then those of each
        position, [B, H/32 - 6, W/32 - 6, num_classes], of images from 224 pixels up. The parameters
        are the same.
      dtype: Dtype of the computation; parameters, normalisation statistics and logits stay float32.
    """

    depths: Sequence[int]
    pointwise: bool = False
    lrn: bool = False
    batch_norm: bool = False
    num_classes: int = 1000
    dropout: float = 0.5
    fully_convolutional: bool = False
    dtype: Any = jnp.float32

    @takes_images(at_least=32)
    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        conv = partial(Conv, dtype=self.dtype, kernel_init=kaiming_fan_out)
        norm = partial(nn.BatchNorm, use_running_average=not train, momentum=0.9, dtype=self.dtype)
        dense = partial(Dense, kernel_init=dense_init)

        # Stages
        x = images
        for i, (depth, features) in enumerate(zip(self.depths, WIDTHS, strict=True), 1):
            for j in range(1, depth + 1):
                size = 1 if self.pointwise and j == 3 else 3
                x = conv(features, (size, size), padding=size // 2, name=f"stage{i}_conv{j}")(x)
                if self.batch_norm:
                    x = norm(name=f"stage{i}_norm{j}")(x)
                x = nn.relu(x)
                if self.lrn and (i, j) == (1, 1):
                    x = local_response_norm(x)
            x = max_pool(x, 2, 2)  # [B, H / 2**i, W / 2**i, features]
            self.sow("intermediates", f"stage{i}", x)

        # Head
        self.sow("intermediates", "head_map", x)
        if self.fully_convolutional:
            x = sliding_windows(x, 7)  # [B, H/32 - 6, W/32 - 6, 25088], channels first
        else:
            x = adaptive_average_pool(x, 7)  # [B, 7, 7, 512]
            x = flatten(x)  # [B, 25088], channels first
        for name in ("fc6", "fc7"):
            x = nn.relu(dense(4096, dtype=self.dtype, name=name)(x))
            x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return classify(self, x, self.num_classes, self.dtype, kernel_init=dense_init)


A = (1, 1, 2, 2, 2)
B = (2, 2, 2, 2, 2)
C = D = (2, 2, 3, 3, 3)
E = (2, 2, 4, 4, 4)

family = Family(
    "vgg",
    dict(
        paper="Very Deep Convolutional Networks for Large-Scale Image Recognition, arXiv:1409.1556",
        year=2014,
        accuracy_source="torchvision, weights IMAGENET1K_V1",
    ),
)


@family.variant(reference="torchvision vgg11", top1=69.020, top5=88.628)
def vgg11(**kwargs) -> VGG:
    """Configuration A: 132,863,336 parameters, 7.61 G multiply-adds, 69.0 % top-1."""
    return VGG(A, **kwargs)


@family.variant(
    top1=70.3,
    top5=89.5,
    accuracy_source="paper, Table 3: 29.7 / 10.5 % error, one scale",
    accuracy_size=256,
)
def vgg11_lrn(**kwargs) -> VGG:
    """Configuration A-LRN: 132,863,336 parameters, 7.61 G multiply-adds."""
    return VGG(A, lrn=True, **kwargs)


@family.variant(reference="torchvision vgg13", top1=69.928, top5=89.246)
def vgg13(**kwargs) -> VGG:
    """Configuration B: 133,047,848 parameters, 11.31 G multiply-adds, 69.9 % top-1."""
    return VGG(B, **kwargs)


@family.variant(
    top1=71.9,
    top5=90.6,
    accuracy_source="paper, Table 3: 28.1 / 9.4 % error, Q = 256",
    accuracy_size=256,
)
def vgg16_c(**kwargs) -> VGG:
    """Configuration C: 133,638,952 parameters, 11.77 G multiply-adds."""
    return VGG(C, pointwise=True, **kwargs)


@family.variant(reference="torchvision vgg16", top1=71.592, top5=90.382)
def vgg16(**kwargs) -> VGG:
    """Configuration D: 138,357,544 parameters, 15.47 G multiply-adds, 71.6 % top-1."""
    return VGG(D, **kwargs)


@family.variant(reference="torchvision vgg19", top1=72.376, top5=90.876)
def vgg19(**kwargs) -> VGG:
    """Configuration E: 143,667,240 parameters, 19.63 G multiply-adds, 72.4 % top-1."""
    return VGG(E, **kwargs)


@family.variant(reference="torchvision vgg11_bn", top1=70.370, top5=89.810)
def vgg11_bn(**kwargs) -> VGG:
    """132,868,840 parameters, 7.61 G multiply-adds, 70.4 % top-1."""
    return VGG(A, batch_norm=True, **kwargs)


@family.variant(reference="torchvision vgg13_bn", top1=71.586, top5=90.374)
def vgg13_bn(**kwargs) -> VGG:
    """133,053,736 parameters, 11.31 G multiply-adds, 71.6 % top-1."""
    return VGG(B, batch_norm=True, **kwargs)


@family.variant(reference="torchvision vgg16_bn", top1=73.360, top5=91.516)
def vgg16_bn(**kwargs) -> VGG:
    """138,365,992 parameters, 15.47 G multiply-adds, 73.4 % top-1."""
    return VGG(D, batch_norm=True, **kwargs)


@family.variant(reference="torchvision vgg19_bn", top1=74.218, top5=91.842)
def vgg19_bn(**kwargs) -> VGG:
    """143,678,248 parameters, 19.63 G multiply-adds, 74.2 % top-1."""
    return VGG(E, batch_norm=True, **kwargs)


def torchvision_names(model: VGG) -> list[tuple[str, str]]:
    """Returns positions in torchvision's `features`: conv, (BatchNorm,) ReLU, ..., pooling."""
    names, position = [], 0
    for i, depth in enumerate(model.depths, 1):
        for j in range(1, depth + 1):
            names.append((f"^stage{i}_conv{j}$", f"features/{position}"))
            names.append((f"^stage{i}_norm{j}$", f"features/{position + 1}"))
            position += 3 if model.batch_norm else 2
        position += 1
    layers = (("fc6", 0), ("fc7", 3), ("head", 6))
    return names + [(f"^{ours}$", f"classifier/{at}") for ours, at in layers]


family.checkpoint_keys("torchvision", torchvision_names)
