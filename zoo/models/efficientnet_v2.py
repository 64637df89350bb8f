"""EfficientNetV2: EfficientNet searched for training speed, with fused blocks at the start.

EfficientNetV2: Smaller Models and Faster Training, Tan and Le 2021, arXiv:2104.00298, Table 4.
Reference: torchvision `efficientnet_v2_s`, `efficientnet_v2_m`, `efficientnet_v2_l`.

Differences from the paper: torchvision pads both sides alike; weights trained in TensorFlow (timm's
`tf_efficientnetv2_s` ...) want `same_padding=True`. Progressive learning is a matter of the recipe.
"""

from typing import Any

from zoo.models.efficientnet import (
    EfficientNet,
    Stage,
    timm_names,
    torchvision_names,
)
from zoo.registry import Family

S = (
    Stage(1, 3, 1, 24, 2, fused=True),
    Stage(4, 3, 2, 48, 4, fused=True),
    Stage(4, 3, 2, 64, 4, fused=True),
    Stage(4, 3, 2, 128, 6),
    Stage(6, 3, 1, 160, 9),
    Stage(6, 3, 2, 256, 15),
)
M = (
    Stage(1, 3, 1, 24, 3, fused=True),
    Stage(4, 3, 2, 48, 5, fused=True),
    Stage(4, 3, 2, 80, 5, fused=True),
    Stage(4, 3, 2, 160, 7),
    Stage(6, 3, 1, 176, 14),
    Stage(6, 3, 2, 304, 18),
    Stage(6, 3, 1, 512, 5),
)
L = (
    Stage(1, 3, 1, 32, 4, fused=True),
    Stage(4, 3, 2, 64, 7, fused=True),
    Stage(4, 3, 2, 96, 7, fused=True),
    Stage(4, 3, 2, 192, 10),
    Stage(6, 3, 1, 224, 19),
    Stage(6, 3, 2, 384, 25),
    Stage(6, 3, 1, 640, 7),
)

family = Family(
    "efficientnet_v2",
    dict(
        paper="EfficientNetV2: Smaller Models and Faster Training, arXiv:2104.00298",
        year=2021,
        crop=1.0,
        accuracy_source="torchvision, weights IMAGENET1K_V1",
    ),
)


@family.variant(reference="torchvision efficientnet_v2_s", image_size=384, top1=84.228, top5=96.878)
def efficientnet_v2_s(**kwargs) -> EfficientNet:
    """21,458,488 parameters, 8.37 G multiply-adds, 84.2 % top-1."""
    settings: dict[str, Any] = {"dropout": 0.2, "epsilon": 1e-3} | kwargs
    return EfficientNet(S, 24, 1280, **settings)


@family.variant(reference="torchvision efficientnet_v2_m", image_size=480, top1=85.112, top5=97.156)
def efficientnet_v2_m(**kwargs) -> EfficientNet:
    """54,139,356 parameters, 24.58 G multiply-adds, 85.1 % top-1."""
    settings: dict[str, Any] = {"dropout": 0.3, "epsilon": 1e-3} | kwargs
    return EfficientNet(M, 24, 1280, **settings)


@family.variant(
    reference="torchvision efficientnet_v2_l",
    image_size=480,
    top1=85.808,
    top5=97.788,
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
    interpolation="bicubic",
)
def efficientnet_v2_l(**kwargs) -> EfficientNet:
    """118,515,272 parameters, 56.08 G multiply-adds, 85.8 % top-1."""
    settings: dict[str, Any] = {"dropout": 0.4, "epsilon": 1e-3} | kwargs
    return EfficientNet(L, 32, 1280, **settings)


family.checkpoint_keys("torchvision", torchvision_names)
family.checkpoint_keys("timm", timm_names)
