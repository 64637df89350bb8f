"""Names of metrics, and evaluations on one device and on eight."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import NamedSharding

from train import metrics, step
from train.averages import Average
from train.build import initial_state, state_shapes
from train.errors import TrainError
from train.metrics import reported
from train.sharding import BATCH, make_mesh

NAMES = (
    *("precision", "f2_weighted", "jaccard_micro", "recall_present", "tversky_0.3_0.7"),
    *("matthews", "calibration_error_10", "auc", "top3", "log_loss"),
)
CLASSES, EXAMPLES = 5, 37


class Linear(nn.Module):
    @nn.compact
    def __call__(self, images, *, train=False):
        return nn.Dense(CLASSES)(images.reshape(len(images), -1))


def make_task(devices, found, **settings):
    schedule = optax.constant_schedule(0.1)
    return step.Task(
        model=Linear(),
        optimizer=optax.sgd(schedule),
        schedule=schedule,
        augment=lambda key, images: images / 255,
        normalize=lambda images: images / 255,
        image_shape=(4, 4, 1),
        mesh=make_mesh(devices, 1),
        metrics=found.per_example,
        tables=found.tables,
        **settings,
    )


def evaluate(devices, batch_size, **settings):
    """The figures of an evaluation of all examples in padded batches."""
    random = np.random.RandomState(0)
    rows = -(-EXAMPLES // batch_size) * batch_size
    data = {
        "image": random.randint(0, 256, (rows, 4, 4, 1), np.uint8),
        "label": random.randint(0, CLASSES, rows).astype(np.int32),
        "mask": np.arange(rows) < EXAMPLES,
    }
    random = np.random.RandomState(1)  # the same examples, whatever the padding
    data["image"][:EXAMPLES] = random.randint(0, 256, (EXAMPLES, 4, 4, 1), np.uint8)
    data["label"][:EXAMPLES] = random.randint(0, CLASSES, EXAMPLES)
    found = reported(NAMES, rows=rows, matrix=True)
    task = make_task(devices, found, **settings)
    state = initial_state(task, state_shapes(task))
    sharding = NamedSharding(task.mesh, BATCH)
    run = jax.jit(functools.partial(step.eval_step_accumulating, task))
    total = step.empty_eval_metrics(task)
    for start in range(0, rows, batch_size):
        batch = {key: x[start : start + batch_size] for key, x in data.items()}
        total = run(state, total, jax.device_put(batch, sharding))
    total = jax.device_get(total)
    tables = total[step.TABLES]
    figures = {name: figure(tables) for name, figure in found.figures.items()}
    means = {name: total[name] / total["examples"] for name in (*found.per_example, "top1")}
    return figures | means, total


def test_figures_are_those_of_one_device_and_batch():
    one, total = evaluate(1, 40)
    assert total["examples"] == EXAMPLES and total[step.TABLES]["confusion"].sum() == EXAMPLES
    assert one["top1"] == pytest.approx(total[step.TABLES]["confusion"].trace() / EXAMPLES)
    assert set(one) == {*NAMES, "top1"} and all(np.isfinite(list(one.values())))
    for devices, batch_size in ((8, 16), (2, 4)):
        many, _ = evaluate(devices, batch_size)
        assert many == pytest.approx(one, rel=1e-6)


def test_raw_parameters_have_tables_of_their_own():
    figures, total = evaluate(1, 40, average=Average(0.9))
    assert figures["precision"] == pytest.approx(evaluate(1, 40)[0]["precision"])
    raw = total[f"{step.RAW}{step.TABLES}"]["confusion"]
    np.testing.assert_array_equal(raw, total[step.TABLES]["confusion"])  # before any step


def with_mask(logits, labels, mask):
    return jnp.full(labels.shape, mask.sum(), jnp.float32)


def test_a_metric_that_asks_for_the_mask_is_given_it():
    found = reported((f"{__file__}:with_mask", "train.losses:dice"))
    logits, labels = jnp.eye(3), jnp.array([0, 1, 2])
    mask = jnp.array([True, True, False])
    assert found.per_example["with_mask"](logits, labels, mask).tolist() == [2, 2, 2]
    values = found.per_example["dice"](logits, labels, mask)
    alone = found.per_example["dice"](logits[:2], labels[:2], mask[:2])
    assert values.shape == (3,) and values[0] == pytest.approx(float(alone[0]))


@pytest.mark.parametrize("name", ["precison", "f", "auc_micro", "top0", "calibration_error_0"])
def test_names_that_are_none(name):
    with pytest.raises(TrainError, match=f"eval.metrics: '{name}' is not known; there are "):
        reported((name,))


def test_a_name_that_is_there_twice():
    with pytest.raises(TrainError, match="precision is there twice"):
        reported(("precision", "precision"))


def test_nothing_to_measure():
    empty = np.zeros((3, 3), int)
    assert metrics.precision(empty) == metrics.accuracy(empty) == metrics.matthews(empty) == 0
    for value in (
        metrics.balanced_accuracy(empty),
        metrics.calibration_error(np.zeros((15, 3))),
        metrics.auc(np.eye(3), np.zeros(3, int)),
        metrics.auc_one_vs_one(np.eye(3), np.zeros(3, int)),
        metrics.cohen_kappa(np.diag([5, 0, 0])),
    ):
        assert np.isnan(value)
    with pytest.raises(ValueError, match="average='all' is not known"):
        metrics.recall(empty, "all")
    with pytest.raises(ValueError, match="average='micro' is not known"):
        metrics.auc(np.eye(3), np.zeros(3, int), "micro")
