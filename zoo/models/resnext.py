"""ResNeXt: bottlenecks whose 3x3 convolution has groups ("cardinality").

Aggregated Residual Transformations for Deep Neural Networks, Xie et al. 2016, arXiv:1611.05431,
Table 1 and the form (c) of Figure 3. `32x4d` is 32 groups of 4 features in stage 1.
Reference: torchvision `resnext50_32x4d` ... ; `resnext101_32x4d` is timm's, of the same blocks.

Differences from the paper: none in the networks; those of `zoo.models.resnet`, whose
blocks these are.
"""

from zoo.models.resnet import TORCHVISION, ResNet, bottleneck
from zoo.registry import Family

family = Family(
    "resnext",
    dict(
        paper="Aggregated Residual Transformations for Deep Neural Networks, arXiv:1611.05431",
        year=2016,
        accuracy_source="torchvision, weights IMAGENET1K_V1",
    ),
)


@family.variant(reference="torchvision resnext50_32x4d", top1=77.618, top5=93.698)
def resnext50_32x4d(**kwargs) -> ResNet:
    """25,028,904 parameters, 4.23 G multiply-adds, 77.6 % top-1."""
    return ResNet((3, 4, 6, 3), bottleneck(32, 4), **kwargs)


@family.variant(
    reference="timm resnext101_32x4d",
    top1=78.8,
    top5=94.4,
    accuracy_source="authors' repository: 21.2 / 5.6 % error",
)
def resnext101_32x4d(**kwargs) -> ResNet:
    """44,177,704 parameters, 7.97 G multiply-adds, 78.8 % top-1."""
    return ResNet((3, 4, 23, 3), bottleneck(32, 4), **kwargs)


@family.variant(reference="torchvision resnext101_32x8d", top1=79.312, top5=94.526)
def resnext101_32x8d(**kwargs) -> ResNet:
    """88,791,336 parameters, 16.41 G multiply-adds, 79.3 % top-1."""
    return ResNet((3, 4, 23, 3), bottleneck(32, 8), **kwargs)


@family.variant(reference="torchvision resnext101_64x4d", top1=83.246, top5=96.454, crop=224 / 232)
def resnext101_64x4d(**kwargs) -> ResNet:
    """83,455,272 parameters, 15.46 G multiply-adds, 83.2 % top-1 (the paper's recipe: 79.6 %)."""
    return ResNet((3, 4, 23, 3), bottleneck(64, 4), **kwargs)


family.checkpoint_keys("torchvision", TORCHVISION)
