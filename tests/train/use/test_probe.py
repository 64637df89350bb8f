"""`python -m train.probe`: classifiers on features that were not trained for them."""

import csv

import jax.numpy as jnp
import numpy as np
import pytest

import input_pipeline
import train.workspace
import zoo
from input_pipeline.example import DataError
from train import probe as program
from train.errors import TrainError
from train.use import probes
from train.use.features import features_of, labels_of
from train.use.weights import open_model


def clouds(count=30, classes=3, dimensions=8, seed=0):
    """Points around a corner for each class."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    return 3 * np.eye(classes, dimensions)[labels] + rng.standard_normal(
        (count, dimensions)
    ), labels


@pytest.mark.quick
@pytest.mark.parametrize("count", [6, 30])
def test_least_squares_solves_the_normal_equations(count):
    """big_vision's definition, written out: whitened features, a bias of 100, targets -1 and 1."""
    features, labels = clouds(count)
    fitted = probes.LeastSquares.fit(features, labels, l2=2.0**10)
    x = (features - features.mean(0)) / (features.std(0) + 1e-5)
    x = np.concatenate([x, np.full((count, 1), 100.0)], 1)
    y = np.where(labels[:, None] == np.arange(3), 1.0, -1.0)
    weights = np.linalg.solve(x.T @ x + 2.0**10 * np.eye(9), x.T @ y)
    np.testing.assert_allclose(fitted.weights, weights, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(fitted(features), x @ weights, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", probes.CLASSIFIERS)
@pytest.mark.parametrize("classes", [2, 3])
def test_clouds_are_told_apart(name, classes):
    features, labels = clouds(classes=classes)
    scorer = probes.CLASSIFIERS[name](features, labels)
    others, right = clouds(300, classes, seed=1)
    assert probes.accuracy(scorer, others, right) > 0.9
    one = probes.CLASSIFIERS[name](features[:classes], labels[:classes])  # one shot
    assert probes.accuracy(one, others, right) > 0.5


@pytest.mark.parametrize("name", probes.ONE_CLASS)
def test_a_class_is_told_from_others(name):
    features, labels = clouds()
    scorer = probes.ONE_CLASS[name](features[labels == 1])
    others, right = clouds(300, seed=1)
    assert probes.auc(scorer(others), right == 1) > 0.85


@pytest.mark.quick
def test_area_under_the_curve():
    inside = np.array([True, True, False, False])
    assert probes.auc(np.array([4, 3, 2, 1]), inside) == 1
    assert probes.auc(np.array([1, 2, 3, 4]), inside) == 0
    assert probes.auc(np.array([2, 1, 1, 1]), inside) == 0.75  # equal ones count half
    scores = np.random.default_rng(0).integers(0, 5, 40)
    inside = np.arange(40) % 3 == 0
    pairs = scores[inside][:, None] - scores[~inside]
    assert probes.auc(scores, inside) == pytest.approx(((pairs > 0) + (pairs == 0) / 2).mean())


@pytest.mark.quick
def test_fewer_shots_are_among_more():
    labels = np.arange(40) % 4
    few, more = (probes.choose(labels, shots, seed=3) for shots in (2, 5))
    assert set(few) < set(more) and len(few) == 8
    assert np.bincount(labels[more]).tolist() == [5] * 4
    assert set(probes.choose(labels, 2, seed=4)) != set(few)
    with pytest.raises(TrainError, match="Class 0 has 10 images, fewer than --shots=11"):
        probes.choose(labels, 11, 0)


@pytest.fixture
def run(monkeypatch, capsys, mnist_dir):
    monkeypatch.setattr(train.workspace, "use_compile_cache", lambda _: None)

    def call(*arguments):
        fixed = ("--data=mnist", f"--data_dir={mnist_dir}", "--test_split=test[:100]")
        code = program.main(["--weights=zoo/lenet5.mnist", *fixed, *arguments])
        return code, *capsys.readouterr()

    return call


def test_the_program(run, tmp_path):
    split = "--split=train[:1000]"
    code, out, _ = run(split, "--shots=1,5", "--seeds=2", f"--results={tmp_path / 'r.csv'}")
    assert code == 0
    rows = list(csv.DictReader((tmp_path / "r.csv").read_text().splitlines()))
    assert [(row["shots"], row["seed"]) for row in rows] == [(s, d) for s in "15" for d in "01"]
    figures = [100 * float(row["figure"]) for row in rows]
    lines = out.splitlines()
    assert f"accuracy {np.mean(figures[2:]):.2f} ± {np.std(figures[2:]):.2f} %" in lines[1]
    assert "of 100 images, 2 draws" in lines[1] and np.mean(figures[2:]) > 90
    code, out, _ = run(split, "--shots=5", "--seeds=2", "--at=pixels")
    assert float(out.split("accuracy ")[1].split()[0]) < np.mean(figures[2:])
    one = ("--classifier=mahalanobis", "--target=3", "--shots=10", "--seeds=1")
    code, out, _ = run(split, *one)
    assert code == 0 and "area under the curve of 3 100.00" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--split=train[:100]", "--at=stage9", "--shots=1"],
            "it has embedding, head_map, stage1",
        ),
        (["--classifier=mahalanobis"], "do not go together"),
        (["--target=3"], "do not go together"),
        (["--target=ten", "--classifier=mahalanobis"], "--target=ten is none of the classes: 0, 1"),
        (["--split=train[:100]"], "images, fewer than --shots=10"),
    ],
)
def test_what_is_wrong_is_told(arguments, message, run):
    code, _, err = run(*arguments)
    assert code == 1 and message in err and "Traceback" not in err


def test_features_are_those_of_the_model(mnist_dir):
    trained, source = (
        open_model("zoo/lenet5.mnist"),
        input_pipeline.open("mnist", "test[:10]", mnist_dir),
    )
    assert labels_of(source).tolist() == [source[i].label for i in range(10)]
    images = trained.preprocessing([source[i].image for i in range(10)])
    names = ["stage2", "embedding"]
    at = zoo.features(trained.model, trained.variables, jnp.asarray(images), at=names)
    for batch_size in (3, 10):
        found = features_of(trained, source, range(10), at="embedding", batch_size=batch_size)
        np.testing.assert_allclose(found, at["embedding"], rtol=1e-4, atol=1e-5)
    found = features_of(trained, source, [2, 5], at="stage2")
    np.testing.assert_allclose(
        found, np.asarray(at["stage2"]).mean((1, 2))[[2, 5]], rtol=1e-4, atol=1e-5
    )
    found = features_of(trained, source, [2], at="pixels")
    np.testing.assert_allclose(found[0], images[2].ravel(), rtol=1e-5)


def test_labels_that_are_none():
    images = np.zeros((3, 28, 28), np.uint8)
    source = input_pipeline.arrays.from_arrays(images, np.arange(3))
    source.examples.labels[1] = -1
    with pytest.raises(DataError, match="image 1 has no label"):
        labels_of(source)
