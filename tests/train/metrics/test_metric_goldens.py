"""Metrics equal those of scikit-learn and torchmetrics, accumulated over batches."""

import json
import re
import zlib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from train import metrics

BATCH = 50  # leaves a remainder in every set
OVER_CLASSES = ("micro", "macro", "weighted")
AREAS = ("_macro", "_weighted")


def sets(folder: Path) -> dict:
    path = folder / "metrics.json"
    entries = json.loads(path.read_text()) if path.is_file() else {}
    found = {name: entry for name, entry in entries.items() if "data" in entry}
    # By default the first, with `-m recipe_goldens` all.
    return {
        name: pytest.param(entry, marks=pytest.mark.full) if number else entry
        for number, (name, entry) in enumerate(found.items())
    }


def inputs(golden: dict) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits, labels and mask by the rule that the file states: NumPy, with remarks in brackets."""
    known = {"RandomState": np.random.RandomState, "eye": np.eye, "round": np.round}
    known["K"] = golden["data"]["classes"]
    for statement in golden["data"]["numpy"].split("; "):
        exec(re.sub(r" \([a-zA-Z][^()]*\)$", "", statement), known)
    logits, labels, mask = known["logits"], known["labels"], known["mask"]
    assert logits.shape == (golden["data"]["rows"], golden["data"]["classes"])
    assert f"{zlib.crc32(labels.tobytes()):08x}" == golden["data"]["crc32_labels"]
    assert mask.sum() == golden["data"]["rows_counted"]
    return logits, labels, mask


def area(golden: dict) -> str:
    """The name of our metric: the reference is of probabilities, or of logits."""
    of_logits = golden["auc_roc_one_vs_rest"]["of"] == "the logits"
    return "auc_of_logits" if of_logits else "auc"


def expected(golden: dict) -> dict[str, float]:
    """{name of our metric: value}, of a set."""
    found = {
        "accuracy": golden["accuracy"],
        "balanced_accuracy": golden["balanced_accuracy_over_classes_present"],
        "log_loss": golden["log_loss"],
        "brier": golden["brier_sum_over_classes"],
        **{area(golden) + average: golden["auc_roc_one_vs_rest"][average[1:]] for average in AREAS},
        "cohen_kappa": golden["cohen_kappa"],
        "matthews": golden["matthews"],
    }
    if "auc_roc_one_vs_one_macro" in golden:
        found["auc_one_vs_one"] = golden["auc_roc_one_vs_one_macro"]
    found |= {f"top{k}": value for k, value in golden["top_k"].items()}
    for average in OVER_CLASSES:
        found |= {f"{name}_{average}": value for name, value in golden[average].items()}
    of_present = golden["macro_over_classes_present_or_predicted"]
    found |= {f"{name}_present": value for name, value in of_present.items()}
    found |= calibration(golden["calibration_error_guo"])
    return found


def calibration(values: dict[str, float]) -> dict[str, float]:
    return {
        f"calibration_error_{bins.removesuffix('_bins')}": value for bins, value in values.items()
    }


def evaluate(names, logits, labels, mask) -> tuple[dict[str, float], dict]:
    """The metrics as an evaluation makes them: added up over padded batches, then computed."""
    padded = -len(labels) % BATCH
    logits = jnp.pad(logits, ((0, padded), (0, 0)))
    labels, mask = jnp.pad(labels, (0, padded)), jnp.pad(mask, (0, padded))
    found = metrics.reported(names, rows=len(labels), matrix=True)
    tables = {name: table.empty(logits.shape[1]) for name, table in found.tables.items()}
    sums = dict.fromkeys(found.per_example, 0.0)
    for start in range(0, len(labels), BATCH):
        part = [array[start : start + BATCH] for array in (logits, labels, mask)]
        tables = {name: table.add(tables[name], *part) for name, table in found.tables.items()}
        for name, function in found.per_example.items():
            sums[name] += float(jnp.where(part[2], function(*part), 0).sum())
    tables = jax.device_get(tables)
    count = int(mask.sum())
    figures = {name: figure(tables) for name, figure in found.figures.items()}
    return {name: total / count for name, total in sums.items()} | figures, tables


@pytest.mark.recipe_goldens(golden=sets)
@pytest.mark.parametrize("dtype", ["float64", pytest.param("float32", marks=pytest.mark.full)])
def test_figures(golden, dtype):
    logits, labels, mask = inputs(golden)
    goldens = expected(golden)
    with jax.enable_x64(dtype == "float64"):
        found, tables = evaluate(list(goldens), logits.astype(dtype), labels, mask)
    assert tables["confusion"].tolist() == golden["confusion_matrix_rows_true"]
    tolerance = {"float64": 1e-12, "float32": 1e-5}[dtype]
    for name, value in goldens.items():
        assert found[name] == pytest.approx(value, rel=tolerance, abs=tolerance), name
    for name, value in calibration(golden["calibration_error"]).items():  # itself in float32
        if goldens[name] == pytest.approx(value, abs=1e-6):  # or a probability is an edge of bins
            assert found[name] == pytest.approx(value, abs=max(tolerance, 1e-6)), name


@pytest.mark.recipe_goldens(golden=sets)
def test_values_of_each_class(golden):
    matrix = np.array(golden["confusion_matrix_rows_true"])
    logits, labels, mask = inputs(golden)
    of_class = golden["per_class"] | {"auc": golden["auc_roc_one_vs_rest"]["per_class"]}
    for name, values in of_class.items():
        if name == "auc":
            of = "logits" if area(golden) == "auc_of_logits" else "probabilities"
            found = metrics.auc(logits[mask], labels[mask], "none", of)
        elif name.startswith("f_"):
            found = metrics.f_beta(matrix, float(name[2:]), "none")
        elif name.startswith("tversky"):
            alpha, beta = map(float, name.split("_")[1:])
            found = metrics.tversky_index(matrix, alpha, beta, "none")
        else:
            found = getattr(metrics, name)(matrix, "none")
        np.testing.assert_allclose(found, np.array(values, float), rtol=1e-12, err_msg=name)
