"""Image classifiers in Flax, numerically equal to their references.

model = zoo.create("resnet50")                     # a linen module, a pure function of variables
variables = zoo.load_torch("resnet50", "resnet50-0676ba61.pth")
logits = model.apply(variables, images)            # [B, H, W, 3] -> [B, 1000]
"""

from zoo.features import features
from zoo.kernels.platform import portable
from zoo.registry import Info, create, info, list_models
from zoo.weights.convert import load_torch, to_torch
from zoo.weights.pretrained import load

__all__ = [
    "Info",
    "create",
    "features",
    "info",
    "list_models",
    "load",
    "load_torch",
    "portable",
    "to_torch",
]
