"""The area under the ROC curve, exact: the share of pairs that are in order, ties one half."""

from typing import Any

import numpy as np


def auc(
    logits: np.ndarray, labels: np.ndarray, average: str = "macro", of: str = "probabilities"
) -> Any:
    """Area under the ROC curve of each class against all other classes.

    Args:
      logits: [N, K] of a whole evaluation.
      labels: int [N], in [0, K).
      average: "macro", the mean over the classes with examples of both kinds; "weighted", that mean
        weighted by their numbers of examples; "none", [K] with nan for the other classes.
      of: what orders the examples: the classes' "probabilities", which are the softmax in float64,
        or the "logits", which are not comparable between examples but have ties where the network
        has.

    Returns:
      A number in [0, 1], nan if no class has both kinds of examples; or [K].

    Raises:
      ValueError: the average, or `of`, is none of these.
    """
    if average not in ("macro", "weighted", "none"):
        raise ValueError(f"average={average!r} is not known: choose macro, weighted or none.")
    if of not in ("probabilities", "logits"):
        raise ValueError(f"of={of!r} is not known: choose probabilities or logits.")
    scores = _probabilities(logits) if of == "probabilities" else np.asarray(logits)
    labels = np.asarray(labels)
    of_class = np.array([_area(scores[:, k], labels == k) for k in range(scores.shape[1])])
    if average == "none":
        return of_class
    counts = np.bincount(labels, minlength=len(of_class)).astype(float)
    weights = counts if average == "weighted" else np.ones(len(of_class))
    known = np.isfinite(of_class)
    if not known.any():
        return float("nan")
    return float(np.average(of_class[known], weights=weights[known]))


def auc_one_vs_one(logits: np.ndarray, labels: np.ndarray) -> float:
    """Mean area over all pairs of classes that occur, each against the other.

    Source: Hand and Till 2001, A simple generalisation of the area under the ROC curve.

    Args:
      logits: [N, K] of a whole evaluation.
      labels: int [N], in [0, K).

    Returns:
      A number in [0, 1]; nan with less than two classes.
    """
    scores, labels = _probabilities(logits), np.asarray(labels)
    of_class = {k: scores[labels == k] for k in np.unique(labels)}
    areas = [
        _area(
            np.concatenate([own[:, k], others[:, k]]), np.arange(len(own) + len(others)) < len(own)
        )
        for k, own in of_class.items()
        for other, others in of_class.items()
        if other != k
    ]
    return float(np.mean(areas)) if areas else float("nan")


def _area(scores: np.ndarray, positive: np.ndarray) -> float:
    """Share of pairs of a positive and a negative example in which the first has the larger score.

    nan if one kind is missing.
    """
    positives = int(positive.sum())
    negatives = len(scores) - positives
    if not positives or not negatives:
        return float("nan")
    _, position, counts = np.unique(scores, return_inverse=True, return_counts=True)
    rank = (np.cumsum(counts) - (counts - 1) / 2)[position]  # from 1, the mean of equal ones
    excess = rank[positive].sum() - positives * (positives + 1) / 2
    return float(excess / (positives * negatives))


def _probabilities(logits: np.ndarray) -> np.ndarray:
    logits = np.asarray(logits, np.float64)
    exponentials = np.exp(logits - logits.max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)
