"""The confusion matrix, and figures that follow from it.

All figures take a matrix int [K, K], whose row i counts what examples of class i were taken for.
Where they take an `average`, it is one of

- "macro": the mean over all K classes; where there is nothing to divide by, a class has 0;
- "present": the mean over the classes that are labels or predicted (scikit-learn's "macro");
- "weighted": the mean weighted by the number of examples of each class;
- "micro": of the counts of all classes together;
- "none": a value per class, [K].
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

AVERAGES = ("macro", "present", "weighted", "micro", "none")


def confusion_matrix(
    logits: jax.Array, labels: jax.Array, mask: jax.Array | None = None
) -> jax.Array:
    """Counts what examples of each class are taken for; matrices of batches add up.

    Args:
      logits: [B, K].
      labels: int [B], in [0, K).
      mask: bool [B] or numbers; 0 where an example does not count. None: all count.

    Returns:
      int32 [K, K]; row i is of the examples of class i.
    """
    counts = jnp.ones(labels.shape, jnp.int32) if mask is None else (mask != 0).astype(jnp.int32)
    empty = jnp.zeros((logits.shape[-1],) * 2, jnp.int32)
    return empty.at[labels, logits.argmax(-1)].add(counts)


def precision(matrix: np.ndarray, average: str = "macro") -> Any:
    """Share of the examples taken for a class that are of it: tp / (tp + fp)."""
    tp, fp, _, _ = _counts(matrix)
    return _averaged(tp, tp + fp, matrix, average)


def recall(matrix: np.ndarray, average: str = "macro") -> Any:
    """Share of the examples of a class that are taken for it: tp / (tp + fn), the sensitivity."""
    tp, _, fn, _ = _counts(matrix)
    return _averaged(tp, tp + fn, matrix, average)


def specificity(matrix: np.ndarray, average: str = "macro") -> Any:
    """Share of the examples of other classes that are not taken for a class: tn / (tn + fp)."""
    _, fp, _, tn = _counts(matrix)
    return _averaged(tn, tn + fp, matrix, average)


def f_beta(matrix: np.ndarray, beta: float = 1.0, average: str = "macro") -> Any:
    """Harmonic mean of precision and recall, in which recall counts beta² times."""
    tp, fp, fn, _ = _counts(matrix)
    gain = (1 + beta**2) * tp
    return _averaged(gain, gain + beta**2 * fn + fp, matrix, average)


def jaccard(matrix: np.ndarray, average: str = "macro") -> Any:
    """Intersection over union: tp / (tp + fp + fn)."""
    return tversky_index(matrix, 1.0, 1.0, average)


def tversky_index(
    matrix: np.ndarray, alpha: float = 0.5, beta: float = 0.5, average: str = "macro"
) -> Any:
    """tp / (tp + alpha·fp + beta·fn) (Tversky 1977); halves are F1, ones the Jaccard index."""
    tp, fp, fn, _ = _counts(matrix)
    return _averaged(tp, tp + alpha * fp + beta * fn, matrix, average)


def accuracy(matrix: np.ndarray) -> float:
    """Share of the examples that are taken for their own class."""
    matrix = np.asarray(matrix, np.float64)
    return float(_ratio(matrix.trace(), matrix.sum()))


def balanced_accuracy(matrix: np.ndarray) -> float:
    """Mean recall over the classes that there are examples of; nan without any."""
    occurs = np.asarray(matrix).sum(1) > 0
    return float(recall(matrix, "none")[occurs].mean()) if occurs.any() else float("nan")


def cohen_kappa(matrix: np.ndarray) -> float:
    """Agreement of labels and predictions beyond chance (Cohen 1960); nan if chance is certain."""
    matrix = np.asarray(matrix, np.float64)
    total = matrix.sum()
    by_chance = (matrix.sum(0) * matrix.sum(1)).sum() / max(total, 1) ** 2
    return (accuracy(matrix) - by_chance) / (1 - by_chance) if by_chance < 1 else float("nan")


def matthews(matrix: np.ndarray) -> float:
    """Correlation of labels and predictions (Matthews 1975; of K classes Gorodkin 2004).

    0 where all labels, or all predictions, are one class.
    """
    matrix = np.asarray(matrix, np.float64)
    of_label, predicted, total = matrix.sum(1), matrix.sum(0), matrix.sum()
    covariance = matrix.trace() * total - of_label @ predicted
    spread = (total**2 - predicted @ predicted) * (total**2 - of_label @ of_label)
    return float(_ratio(covariance, np.sqrt(spread)))


def _counts(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """True positives, false positives, false negatives, true negatives, [K] each."""
    matrix = np.asarray(matrix, np.float64)
    tp = matrix.diagonal()
    fp, fn = matrix.sum(0) - tp, matrix.sum(1) - tp
    return tp, fp, fn, matrix.sum() - tp - fp - fn


def _averaged(above: np.ndarray, below: np.ndarray, matrix: np.ndarray, average: str) -> Any:
    if average not in AVERAGES:
        raise ValueError(f"average={average!r} is not known: choose {', '.join(AVERAGES)}.")
    if average == "micro":
        return float(_ratio(above.sum(), below.sum()))
    of_class = _ratio(above, below)
    if average == "none":
        return of_class
    labels, predicted = np.asarray(matrix).sum(1), np.asarray(matrix).sum(0)
    weights = {
        "macro": np.ones(len(of_class)),
        "present": (labels + predicted > 0).astype(float),
        "weighted": labels.astype(float),
    }[average]
    return float(_ratio((weights * of_class).sum(), weights.sum()))


def _ratio(above: Any, below: Any) -> np.ndarray:
    """above / below, 0 where below is 0."""
    below = np.asarray(below, np.float64)
    return np.where(below > 0, above, 0) / np.where(below > 0, below, 1)
