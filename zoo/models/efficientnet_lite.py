"""EfficientNet-Lite: EfficientNet for small devices and integer arithmetic.

Higher accuracy on vision models with EfficientNet-Lite, Liu 2020, and the authors' code at
github.com/tensorflow/tpu. No squeeze-and-excitation, ReLU6, and neither stem nor head is scaled,
nor the depth of the first and last stage. Reference: timm `tf_efficientnet_lite0` ... `lite4`.

Differences from the authors: Lite 3 and 4 are evaluated at 300 and 380 pixels (theirs: 280, 300).
"""

from zoo.models.efficientnet import (
    EfficientNet,
    efficientnet,
    efficientnet_pytorch_names,
    timm_names,
)
from zoo.registry import Family


def efficientnet_lite(width: float, depth: float, rate: float, **kwargs) -> EfficientNet:
    """EfficientNet-Lite: B0 scaled, except for stem, head and the depth of the outer stages.

    Args:
      width: Factor of the features, which are rounded to multiples of 8.
      depth: Factor of the number of blocks, except in the first and the last stage.
      rate: Dropout rate before the head.
      **kwargs: Further attributes of `EfficientNet`.
    """
    first, *middle, last = efficientnet(width, depth, rate).stages
    stages = (first._replace(depth=1), *middle, last._replace(depth=1))
    settings = {"dropout": rate, "same_padding": True, "epsilon": 1e-3} | kwargs
    return EfficientNet(stages, 32, 1280, lite=True, **settings)


family = Family(
    "efficientnet_lite",
    dict(
        paper="Higher accuracy on vision models with EfficientNet-Lite, TensorFlow blog",
        year=2020,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        accuracy_source="timm results-imagenet.csv",
    ),
)


@family.variant(
    reference="timm tf_efficientnet_lite0", top1=74.846, top5=92.180, interpolation="bicubic"
)
def efficientnet_lite0(**kwargs) -> EfficientNet:
    """4,652,008 parameters, 0.39 G multiply-adds, 74.8 % top-1."""
    return efficientnet_lite(1.0, 1.0, 0.2, **kwargs)


@family.variant(
    reference="timm tf_efficientnet_lite1",
    top1=76.674,
    top5=93.232,
    image_size=240,
    crop=0.882,
    interpolation="bicubic",
)
def efficientnet_lite1(**kwargs) -> EfficientNet:
    """5,416,680 parameters, 0.60 G multiply-adds, 76.7 % top-1."""
    return efficientnet_lite(1.0, 1.1, 0.2, **kwargs)


@family.variant(
    reference="timm tf_efficientnet_lite2",
    top1=77.470,
    top5=93.756,
    image_size=260,
    crop=0.89,
    interpolation="bicubic",
)
def efficientnet_lite2(**kwargs) -> EfficientNet:
    """6,092,072 parameters, 0.86 G multiply-adds, 77.5 % top-1."""
    return efficientnet_lite(1.1, 1.2, 0.3, **kwargs)


@family.variant(
    reference="timm tf_efficientnet_lite3", top1=79.808, top5=94.908, image_size=300, crop=0.904
)
def efficientnet_lite3(**kwargs) -> EfficientNet:
    """8,197,096 parameters, 1.61 G multiply-adds, 79.8 % top-1."""
    return efficientnet_lite(1.2, 1.4, 0.3, **kwargs)


@family.variant(
    reference="timm tf_efficientnet_lite4", top1=81.540, top5=95.668, image_size=380, crop=0.92
)
def efficientnet_lite4(**kwargs) -> EfficientNet:
    """13,006,568 parameters, 3.94 G multiply-adds, 81.5 % top-1."""
    return efficientnet_lite(1.4, 1.8, 0.3, **kwargs)


family.checkpoint_keys("timm", timm_names)
family.checkpoint_keys("efficientnet_pytorch", efficientnet_pytorch_names)
