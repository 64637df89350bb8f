"""Metrics of an evaluation: exact over all of its examples, whatever the batches and devices.

What adds up is added up on the devices: the confusion matrix, bins of confidences, sums over
examples; the area under the ROC curve needs the logits of the whole evaluation, which are kept
there (float32 [N, K]). Figures are computed from these in float64 at the end.

A recipe names those that it reports, see `reported`.
"""

from train.metrics.by_name import Reported, reported
from train.metrics.calibration import calibration_bins, calibration_error
from train.metrics.confusion import (
    accuracy,
    balanced_accuracy,
    cohen_kappa,
    confusion_matrix,
    f_beta,
    jaccard,
    matthews,
    precision,
    recall,
    specificity,
    tversky_index,
)
from train.metrics.roc import auc, auc_one_vs_one
from train.metrics.tables import brier, log_loss, top_k

__all__ = [
    "Reported",
    "accuracy",
    "auc",
    "auc_one_vs_one",
    "balanced_accuracy",
    "brier",
    "calibration_bins",
    "calibration_error",
    "cohen_kappa",
    "confusion_matrix",
    "f_beta",
    "jaccard",
    "log_loss",
    "matthews",
    "precision",
    "recall",
    "reported",
    "specificity",
    "top_k",
    "tversky_index",
]
