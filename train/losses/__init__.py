"""Losses of training: most give one value per example, some one value of a batch.

A loss is a function of (logits [B, K], labels, **options). Labels are int [B], or targets [B, K],
such as those that mixup makes. Dense predictions [B, H, W, K] with labels [B, H, W] or targets
[B, H, W, K] are taken too where a docstring says [..., K].
"""

from train.losses.classification import (
    binary_cross_entropy,
    cross_entropy,
    focal,
    focal_sigmoid,
    jensen_shannon,
    token_labelling,
)
from train.losses.distillation import distill, soft_distillation
from train.losses.of_features import perceptual
from train.losses.overlap import dice, dice_per_example, lovasz_softmax, tversky
from train.losses.regression import (
    huber,
    mean_absolute_error,
    mean_squared_error,
    smooth_l1,
)
from train.losses.targets import as_labels, as_targets, in_top, of_batch, per_example

__all__ = [
    "LOSSES",
    "as_labels",
    "as_targets",
    "binary_cross_entropy",
    "cross_entropy",
    "dice",
    "dice_per_example",
    "distill",
    "focal",
    "focal_sigmoid",
    "huber",
    "in_top",
    "jensen_shannon",
    "lovasz_softmax",
    "mean_absolute_error",
    "mean_squared_error",
    "of_batch",
    "per_example",
    "perceptual",
    "smooth_l1",
    "soft_distillation",
    "token_labelling",
    "tversky",
]

LOSSES = {  # by the names of loss.name
    "cross_entropy": cross_entropy,
    "bce": binary_cross_entropy,
    "jsd": jensen_shannon,
    "token_labelling": token_labelling,
    "focal": focal,
    "focal_sigmoid": focal_sigmoid,
    "mse": mean_squared_error,
    "mae": mean_absolute_error,
    "huber": huber,
    "smooth_l1": smooth_l1,
    "dice": dice,
    "dice_per_example": dice_per_example,
    "tversky": tversky,
    "lovasz_softmax": lovasz_softmax,
}
