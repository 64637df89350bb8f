"""Values and gradients of losses equal those of public references, in float64 and float32."""

import json
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from train.losses import LOSSES, distill, per_example, soft_distillation


def rows(folder: Path) -> dict:
    """The entries of losses.json by number and name."""
    path = folder / "losses.json"
    entries = json.loads(path.read_text()) if path.is_file() else {}
    found, seen = {}, set()
    for number, row in entries.items():
        if number.isdigit():
            row = row | {"labels": entries["labels"], "data": entries["data"]}
            # By default the first of each kind and source, with `-m recipe_goldens` all.
            kind = row["loss"], row["source"].split()[0], row.get("type")
            found[f"{number}-{row['loss']}"] = (
                pytest.param(row, marks=pytest.mark.full) if kind in seen else row
            )
            seen.add(kind)
    return found


def inputs(row: dict) -> dict[str, np.ndarray]:
    """The arrays of the rule in `data`, whose numbers are read there."""

    def number(before: str) -> float:
        return float(re.search(rf"{re.escape(before)}([\d.]+)", row["data"])[1])

    rows, classes = np.shape(row["gradient"]["logits"])
    random = np.random.RandomState(int(number("RandomState(")))
    made = {"logits": number("logits = ") * random.standard_normal((rows, classes))}
    labels = random.randint(0, int(number("randint(0,")), rows)
    assert labels.tolist() == row["labels"]
    soft = random.uniform(0, 1, (rows, classes))
    made |= {"labels": labels, "soft": soft / soft.sum(1, keepdims=True)}
    made["teacher"] = number("teacher = ") * random.standard_normal((rows, classes))
    for name in ("second", "third"):
        made[name] = made["logits"] + random.standard_normal((rows, classes))
    made["y"] = number("target y = ") * random.standard_normal((rows, classes))
    return made


# Fields that say where a row comes from, what it takes and what it gives; all others are options.
TEXT = {"loss", "source", "formula", "order", "on", "heads", "precision", "gradient_of", "target"}
TEXT |= {"targets", "reduction", "labels", "data", "value", "gradient", "note"}


def options(row: dict) -> dict:
    """The options of our loss that a row's fields stand for; MONAI's smoothings are of 2 tp."""
    names = {
        "smoothing": "label_smoothing",
        "class_weights": "class_weights",
        "target_threshold": "threshold",
        "sum_classes": "sum",
        "alpha": "alpha",
        "gamma": "gamma",
        "delta": "delta",
        "beta": "beta",
        "smooth": "smooth",
        "eps": "eps",
        "squared": "squared",
        "alpha_of_false_positives": "alpha",
        "beta_of_false_negatives": "beta",
    }
    others = {"mask", "classes", "smooth_numerator", "smooth_denominator", "tau", "type"}
    unknown = row.keys() - TEXT - names.keys() - others
    assert not unknown, f"{row['loss']}: what are the options {sorted(unknown)}?"
    found = {ours: row[theirs] for theirs, ours in names.items() if theirs in row}
    if "mask" in row:
        found["mask"] = np.array(row["mask"])
    if row["loss"] == "lovasz_softmax":
        found["classes"] = row["classes"]
    if "MONAI" in row["source"] and row["loss"].startswith(("dice", "tversky")):
        above, below = row.get("smooth_numerator", 0.0), row.get("smooth_denominator", 1e-7)
        half = 1 if row["loss"] == "tversky" else 2
        found["smooth"] = (above / half, below / half)
        if row["loss"] != "dice_per_example":
            found["absent"] = "count"
    return found


OURS = {
    "cross_entropy_hard": "cross_entropy",
    "cross_entropy_soft": "cross_entropy",
    "cross_entropy_hard_weighted": "cross_entropy",
    "bce_hard": "bce",
    "bce_soft": "bce",
    "mean_squared": "mse",
    "mean_absolute": "mae",
    "focal_softmax": "focal",
    "dice_squared": "dice",
}


def loss_of(row: dict, given: dict, heads: dict) -> jax.Array:
    """Our loss of a row, as a training step takes it: the value of each example."""
    name, logits, labels = row["loss"], heads["logits"], given["labels"]
    if name == "distillation_soft":
        loss = soft_distillation(logits, given["teacher"], temperature=row["tau"])
        return loss / logits.shape[1] if "classes" in row["reduction"] else loss
    if name == "deit_distillation":
        base = LOSSES["cross_entropy"](logits, labels)
        if row["type"] == "none":
            return base + 0 * heads["second"].sum()
        kind = {"soft": "soft_deit", "hard": "hard"}[row["type"]]
        settings = dict(kind=kind, alpha=row["alpha"], temperature=row["tau"])
        return distill(base, heads["second"], given["teacher"], **settings)
    if name == "jsd":
        logits = jnp.concatenate([heads[name] for name in ("logits", "second", "third")])
    if row.get("targets", "").startswith("soft"):
        labels = given["soft"]
    if row.get("target") == "y":
        labels = given["y"]
    ours = OURS.get(name, name)
    assert ours in LOSSES, f"There is no loss {name!r}, and no such loss is known to this test."
    return per_example(LOSSES[ours])(logits, labels, **options(row))


@pytest.mark.recipe_goldens(row=rows)
@pytest.mark.parametrize("dtype", ["float64", pytest.param("float32", marks=pytest.mark.full)])
def test_values_and_gradients(row, dtype):
    with jax.enable_x64(dtype == "float64"):
        check(row, dtype)


def check(row, dtype):
    given = {
        name: jnp.asarray(x, None if name == "labels" else dtype) for name, x in inputs(row).items()
    }
    heads = {name: given[name] for name in row["gradient"]}
    each = np.ndim(row["value"]) == 1
    added = each or row.get("reduction") == "sum"

    def total(heads):
        values = loss_of(row, given, heads)
        return values.sum() if added else values.mean(), values

    (mean, values), gradient = jax.value_and_grad(total, has_aux=True)(heads)
    assert values.dtype == dtype
    tolerance = {"float64": 1e-10, "float32": 1e-5}[dtype]
    if "precision" in row:  # the reference itself
        tolerance = max(tolerance, 1e-6)
    for ours, golden in [
        (values if each else mean, row["value"]),
        *((gradient[name], row["gradient"][name]) for name in row["gradient"]),
    ]:
        scale = np.abs(golden).max()
        np.testing.assert_allclose(ours, golden, rtol=0, atol=tolerance * scale)
