"""Which metrics an evaluation reports: `config.eval.metrics`."""

import difflib
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np

from configs.functions import is_reference
from train.errors import TrainError
from train.functions import find_all
from train.losses import per_example
from train.metrics import calibration, confusion, roc
from train.metrics.tables import Calibration, Confusion, Scores, Table, brier, log_loss, top_k

PerExample = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]
Figure = Callable[[Mapping[str, Any]], float]

OF_CLASSES = {  # averaged over classes
    "precision": confusion.precision,
    "recall": confusion.recall,
    "specificity": confusion.specificity,
    "jaccard": confusion.jaccard,
}
OF_MATRIX = {
    "accuracy": confusion.accuracy,
    "balanced_accuracy": confusion.balanced_accuracy,
    "cohen_kappa": confusion.cohen_kappa,
    "matthews": confusion.matthews,
}
OF_EXAMPLES = {"log_loss": log_loss, "brier": brier}
AVERAGE = r"(?:_(?P<average>macro|present|weighted|micro))?"
NUMBER = r"\d+(?:\.\d+)?"
EXAMPLES = (
    *OF_CLASSES,
    *("precision_micro", "recall_weighted", "jaccard_present", "f1", "f2_macro", "f0.5_weighted"),
    *("tversky_0.3_0.7", *OF_MATRIX, *OF_EXAMPLES, "top3", "calibration_error"),
    *("calibration_error_10", "auc", "auc_weighted", "auc_of_logits", "auc_one_vs_one"),
)


@dataclass(frozen=True)
class Reported:
    """What an evaluation reports besides loss, top1 and top5.

    Attributes:
      per_example: {name: function of (logits [B, K], labels int [B], mask [B]) -> [B]}, the mean of
        which over all examples is reported.
      tables: arrays that the evaluation adds up, by their names.
      figures: {name: function of the tables' arrays}, computed at the end.
    """

    per_example: Mapping[str, PerExample]
    tables: Mapping[str, Table]
    figures: Mapping[str, Figure]

    @property
    def names(self) -> tuple[str, ...]:
        """The names that lines of evaluations have."""
        return (*self.per_example, *self.figures)


def reported(texts: Sequence[str], *, rows: int = 0, matrix: bool = False) -> Reported:
    """Returns the metrics that a recipe names.

    Names of ours are "precision", "recall", "specificity", "jaccard", "f1" (any number after f is
    the beta of F-beta), "tversky_0.3_0.7" (weights of false positives and negatives), each with
    "_micro", "_macro", "_weighted" or "_present" after it (macro is the default); "accuracy",
    "balanced_accuracy", "cohen_kappa", "matthews"; "top3" and other numbers; "log_loss", "brier";
    "calibration_error" (15 bins) and "calibration_error_10"; "auc", "auc_weighted",
    "auc_of_logits", "auc_of_logits_weighted", "auc_one_vs_one". All others are functions of one's
    own, of (logits [B, K], labels [B]) -> [B]; with an argument `mask` [B] they are told which
    examples count.

    Args:
      texts: the names.
      rows: number of examples of the evaluation with the padding of its batches, for "auc".
      matrix: whether the confusion matrix is wanted, also without a metric that needs it.

    Raises:
      TrainError: a name is not known, or is there twice.
    """
    own = find_all("eval.metrics", [text for text in texts if is_reference(text)])
    functions: dict[str, PerExample] = {name: _masked(function) for name, function in own.items()}
    tables: dict[str, Table] = {"confusion": Confusion()} if matrix else {}
    figures: dict[str, Figure] = {}
    for text in texts:
        if is_reference(text):
            continue
        if text in functions or text in figures:
            raise TrainError(f"eval.metrics: {text} is there twice.")
        if function := _of_examples(text):
            functions[text] = _masked(function)
            continue
        name, table, figures[text] = _of_tables(text, rows)
        tables[name] = table
    return Reported(functions, tables, figures)


def _of_examples(text: str) -> Callable | None:
    if match := re.fullmatch(r"top_?([1-9]\d*)", text):
        return partial(top_k, k=int(match[1]))
    return OF_EXAMPLES.get(text)


def _of_tables(text: str, rows: int) -> tuple[str, Table, Figure]:
    """The table that a metric needs, by its name, and the metric as a function of all tables."""
    if figure := _of_matrix(text):
        return "confusion", Confusion(), lambda tables: figure(tables["confusion"])
    if match := re.fullmatch(r"calibration_error(?:_([1-9]\d*))?", text):
        bins = int(match[1] or 15)
        key = f"calibration_{bins}"
        return key, Calibration(bins), lambda tables: calibration.calibration_error(tables[key])
    if match := re.fullmatch(r"auc(_of_logits)?(?:_(macro|weighted))?", text):
        of = "logits" if match[1] else "probabilities"
        area = partial(roc.auc, average=match[2] or "macro", of=of)
        return "scores", Scores(rows), partial(_of_scores, area)
    if text == "auc_one_vs_one":
        return "scores", Scores(rows), partial(_of_scores, roc.auc_one_vs_one)
    near = difflib.get_close_matches(text, EXAMPLES, n=3, cutoff=0.4) or EXAMPLES
    raise TrainError(
        f"eval.metrics: {text!r} is not known; there are {', '.join(near)}, see "
        "docs/losses_and_metrics.md. A function of your own is named as module:function."
    )


def _of_matrix(text: str) -> Callable[[np.ndarray], float] | None:
    if text in OF_MATRIX:
        return OF_MATRIX[text]
    for pattern, make in (
        (rf"(?P<name>{'|'.join(OF_CLASSES)})", lambda found: OF_CLASSES[found["name"]]),
        (rf"f_?(?P<b>{NUMBER})", lambda found: partial(confusion.f_beta, beta=float(found["b"]))),
        (
            rf"tversky_(?P<a>{NUMBER})_(?P<b>{NUMBER})",
            lambda found: partial(
                confusion.tversky_index, alpha=float(found["a"]), beta=float(found["b"])
            ),
        ),
    ):
        if found := re.fullmatch(pattern + AVERAGE, text):
            return partial(make(found), average=found["average"] or "macro")
    return None


def _of_scores(area: Callable, tables: Mapping[str, Any]) -> float:
    scores = {name: np.asarray(array) for name, array in tables["scores"].items()}
    return area(scores["logits"][scores["counts"]], scores["labels"][scores["counts"]])


def _masked(function: Callable) -> PerExample:
    """The function with a third argument, the mask, which it may not take itself."""
    values = per_example(function)
    if "mask" in inspect.signature(function).parameters:
        return lambda logits, labels, mask: values(logits, labels, mask=mask)
    return lambda logits, labels, mask: values(logits, labels)
