"""`python -m train.evaluate` on MNIST's digits, with the weights in the package."""

import csv
import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import input_pipeline
import train.workspace
import zoo
from input_pipeline import arrays
from input_pipeline.example import DataError, UnreadableImage
from train import evaluate as program
from train.errors import TrainError
from train.use import confusion, views
from train.use.data import real_labels
from train.use.evaluation import Classifier, Protocol, class_map, evaluate
from train.use.results import COLUMNS, Results
from train.use.weights import open_model, shares
from zoo.weights import own

WEIGHTS = "zoo/lenet5.mnist"


@pytest.fixture(scope="module")
def trained():
    return open_model(WEIGHTS)


@pytest.fixture(scope="module")
def digits(mnist_dir):
    return input_pipeline.open("mnist", "test[:100]", mnist_dir)


@pytest.fixture(scope="module")
def logits(trained, digits):
    images = trained.preprocessing([digits[i].image for i in range(100)])
    return np.asarray(trained.model.apply(trained.variables, images), np.float64)


def labels(digits):
    return np.array([digits[i].label for i in range(len(digits))])


def scores_of(probabilities, digits):
    right = labels(digits)
    order = np.argsort(-probabilities, -1)
    loss = -np.log(probabilities[np.arange(len(right)), right]).mean()
    top = [(order[:, :k] == right[:, None]).any(-1).mean() for k in (1, 5)]
    return [*top, loss]


def softmax(x):
    return np.exp(x) / np.exp(x).sum(-1, keepdims=True)


@pytest.mark.parametrize("batch_size", [7, 64])
def test_each_image_counts_once(batch_size, trained, digits, logits):
    member = Classifier(trained, Protocol()), 1.0
    scores = evaluate([member], digits, batch_size=batch_size, threads=2)
    assert (scores.examples, scores.skipped) == (100, 0)
    found = [scores.top1, scores.top5, scores.loss]
    np.testing.assert_allclose(found, scores_of(softmax(logits), digits), rtol=1e-5)


def test_an_ensemble_is_the_weighted_mean(trained, digits, logits):
    kernel = trained.variables["params"]["head"]["kernel"]
    head = trained.variables["params"]["head"] | {"kernel": kernel * 0.3}
    variables = {"params": trained.variables["params"] | {"head": head}}
    other = dataclasses.replace(trained, variables=variables)
    members = [(Classifier(trained, Protocol()), 1.0), (Classifier(other, Protocol()), 3.0)]
    bias = trained.variables["params"]["head"]["bias"]
    mean = softmax(logits) / 4 + softmax(0.3 * (logits - bias) + bias) * 3 / 4
    scores = evaluate(members, digits)
    np.testing.assert_allclose(
        [scores.top1, scores.top5, scores.loss], scores_of(mean, digits), 1e-5
    )


@pytest.mark.parametrize("average", ["probabilities", "logits"])
def test_views_are_averaged(average, trained, digits, logits):
    images = trained.preprocessing([digits[i].image for i in range(100)])
    mirrored = np.asarray(trained.model.apply(trained.variables, images[:, :, ::-1]), np.float64)
    mean = softmax((logits + mirrored) / 2)
    if average == "probabilities":
        mean = (softmax(logits) + softmax(mirrored)) / 2
    scores = evaluate([(Classifier(trained, Protocol("flip", (), average)), 1.0)], digits)
    np.testing.assert_allclose(
        [scores.top1, scores.top5, scores.loss], scores_of(mean, digits), 1e-5
    )


@pytest.mark.quick
def test_crops_are_torchvisions():
    """The boxes of torchvision's ten_crop for an image of 256 x 320, and of its center_crop."""
    image = np.arange(256 * 320).reshape(256, 320, 1)
    crops = views.ten_crops(image, 224)
    corners = [(0, 0), (0, 96), (32, 0), (32, 96), (16, 48)]
    assert [divmod(int(crop[0, 0, 0]), 320) for crop in crops[:5]] == corners
    assert all(crop.shape == (224, 224, 1) for crop in crops)
    mirror = views.ten_crops(image[:, ::-1], 224)
    assert all((a == b).all() for a, b in zip(crops, mirror[5:] + mirror[:5], strict=True))
    assert (crops[5] == crops[1][:, ::-1]).all()  # top left of the mirror
    assert divmod(int(views.center_crop(image, 223)[0, 0, 0]), 320) == (16, 48)  # 16.5, 48.5
    with pytest.raises(ValueError, match="choose center, flip, ten_crop, ten_crop_square, g"):
        views.views_of("all")


def photographs(count=3, size=(50, 40)):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (count, *size, 3), np.uint8), np.arange(count)


@pytest.fixture(scope="module")
def resnet():
    import jax

    model, info = zoo.create("resnet20_cifar"), zoo.info("resnet20_cifar")
    images = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    shapes, rng = jax.eval_shape(model.init, jax.random.key(0), images), np.random.default_rng(0)

    def draw(x):
        values = rng.standard_normal(x.shape) * 0.05 if len(x.shape) > 1 else np.ones(x.shape)
        return values.astype(x.dtype)

    variables = jax.tree.map(draw, shapes)
    preprocessing = dataclasses.replace(zoo.preprocess(info), crop=0.8)
    return dataclasses.replace(
        open_model(WEIGHTS),
        model=model,
        variables=variables,
        info=info,
        preprocessing=preprocessing,
        class_names=(),
    )


def test_scales_and_whole_images(resnet):
    images, right = photographs()
    source = arrays.from_arrays(images, right, list("abcdefghij"))
    dense = Classifier(resnet, Protocol("dense", (32, 40)))
    shown = [dense.decode(image) for image in images]
    assert [view.shape for view in shown[0]] == [(40, 32, 3)] * 2 + [(50, 40, 3)] * 2
    assert (shown[0][2] == images[0]).all()  # 40 pixels are its own size
    apply = jax.jit(
        lambda x: resnet.model.apply(resnet.variables, resnet.preprocessing.normalize(x))
    )
    views_ = [np.asarray(apply(view[None]))[0].astype(float) for view in shown[0]]
    expected = np.mean([softmax(x) for x in views_], 0)
    np.testing.assert_allclose(dense.probabilities(shown[:1], 32)[0], expected, atol=1e-6)
    ten = Classifier(resnet, Protocol("ten_crop"))
    assert [view.shape for view in ten.decode(images[0])] == [(32, 32, 3)] * 10
    assert evaluate([(ten, 1.0)], source).examples == 3


def test_dense_needs_global_pooling(trained):
    with pytest.raises(TrainError, match="fc1 follows without global pooling"):
        Classifier(trained, Protocol("dense"))


def test_classes_are_found_by_name(trained, digits):
    images = np.stack([digits[i].image[:, :, 0] for i in range(100)])
    names = ["7", "2", "1", "0"]
    chosen = np.isin(labels(digits), [int(name) for name in names])
    index = np.array([names.index(str(label)) for label in labels(digits)[chosen]])
    source = arrays.from_arrays(images[chosen], index, names)
    assert class_map(source, trained, 10).tolist() == [7, 2, 1, 0]
    member = Classifier(trained, Protocol()), 1.0
    assert evaluate([member], source).top1 > 0.95
    others = images[labels(digits) != 7][:3]
    one = arrays.from_arrays(others, np.zeros(3, int), ["7"])
    assert evaluate([member], one, restrict=True).top1 == 1  # there is no other choice
    assert evaluate([member], one).top1 == 0
    strange = arrays.from_arrays(images[:3], np.zeros(3, int), ["seven", "8"])
    with pytest.raises(DataError, match="seven, 8, and lenet5 has 10; 1 of the names are none"):
        class_map(strange, trained, 10)
    ten = arrays.from_arrays(images, labels(digits), list("abcdefghij"))
    assert evaluate([member], ten).top1 > 0.95  # as many classes, of unknown names


def test_real_labels(trained, digits, tmp_path):
    path = tmp_path / "real.json"
    first, third = labels(digits)[[0, 2]].tolist()
    lists = [[(first + 1) % 10, first], [], [(third + 1) % 10]]
    path.write_text(json.dumps(lists))
    known = real_labels(str(path))
    assert known == {f"ILSVRC2012_val_{i:08}": x for i, x in enumerate(lists, 1)}
    folder = tmp_path / "images" / "0"
    folder.mkdir(parents=True)
    for i in range(3):
        Image.fromarray(digits[i].image[:, :, 0]).save(folder / f"ILSVRC2012_val_{i + 1:08}.png")
    source = input_pipeline.open(f"folder:{tmp_path / 'images'}", "all")
    scores = evaluate([(Classifier(trained, Protocol()), 1.0)], source, real_labels=known)
    assert (scores.examples, scores.skipped, scores.top1) == (2, 1, 0.5)
    path.write_text('{"a": 1')
    with pytest.raises(TrainError, match="is not real.json"):
        real_labels(str(path))


def test_an_image_that_cannot_be_read(trained, tmp_path):
    for name in "79":
        (tmp_path / name).mkdir()
        Image.new("L", (28, 28)).save(tmp_path / name / "good.png")
    (tmp_path / "7" / "bad.png").write_bytes(b"no image")
    member = Classifier(trained, Protocol()), 1.0
    source = input_pipeline.open(f"folder:{tmp_path}", "all", on_unreadable="skip")
    assert evaluate([member], source).skipped == 1
    source = input_pipeline.open(f"folder:{tmp_path}", "all")
    with pytest.raises(UnreadableImage, match="bad.png"):
        evaluate([member], source)


@pytest.fixture
def run(monkeypatch, capsys, mnist_dir):
    """run(*arguments): the exit status, stdout and stderr of the program."""
    monkeypatch.setattr(train.workspace, "use_compile_cache", lambda _: None)

    def call(*arguments):
        code = program.main([*arguments, f"--data_dir={mnist_dir}"])
        return code, *capsys.readouterr()

    return call


def test_the_program_goes_on_where_it_was_stopped(run, tmp_path):
    results = tmp_path / "results.csv"
    command = ("--data=mnist", "--split=test[:50]", f"--results={results}")
    code, out, _ = run(f"--weights={WEIGHTS},nothing/there", *command)
    assert code == 1 and out.startswith(f"{WEIGHTS}: top1 96.00 %, top5 100.00 %, loss 0.1142")
    assert "of 50 images; published 99.39 and 100.00 %" in out
    code, out, _ = run(f"--weights={WEIGHTS}", *command)
    assert code == 0 and "is in" in out
    code, out, _ = run(f"--weights={WEIGHTS},{WEIGHTS}", "--ensemble=1,2", *command)
    assert code == 0 and out.startswith(f"{WEIGHTS}+{WEIGHTS}: top1 96.00 %")
    with results.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["parameters"] for row in rows] == ["61706", "123412"]
    assert tuple(rows[0]) == COLUMNS and rows[0]["published_top1"] == "99.39"


def test_the_figures_of_a_run_are_not_called_published(run, tmp_path):
    results = tmp_path / "results.csv"
    weights = own.path("lenet5.mnist")  # the same file without its name in the package
    code, out, _ = run(
        f"--weights={weights}", "--data=mnist", "--split=test[:50]", f"--results={results}"
    )
    assert code == 0 and "top1 96.00 %" in out and "published" not in out
    with results.open() as file:
        assert next(csv.DictReader(file))["published_top1"] == ""


def test_which_class_is_taken_for_which(run, trained, digits, logits, tmp_path):
    command = (f"--weights={WEIGHTS}", "--data=mnist", "--split=test[:100]")
    for ending in ("csv", "png"):
        assert run(*command, f"--confusion={tmp_path}/matrix.{ending}")[0] == 0
    header, *rows = csv.reader((tmp_path / "matrix.csv").read_text().splitlines())
    assert header == ["label", *map(str, range(10))]
    matrix = np.array([row[1:] for row in rows], int)
    expected = np.zeros((10, 10), int)
    np.add.at(expected, (labels(digits), logits.argmax(-1)), 1)
    np.testing.assert_array_equal(matrix, expected)
    assert matrix.sum() == 100 and matrix.trace() < 100
    assert (tmp_path / "matrix.png").read_bytes().startswith(b"\x89PNG")
    for wrong in ("--confusion=matrix.txt", f"--weights={WEIGHTS},{WEIGHTS}"):
        code, _, err = run(*command, "--confusion=a.csv", wrong)
        assert code == 1 and "onfusion" in err


def test_classes_that_do_not_occur_are_not_in_the_matrix(tmp_path):
    matrix = np.zeros((4, 4), int)
    matrix[1, 3] = 2
    confusion.write(str(tmp_path / "m.csv"), matrix, ["a", "b", "c", "d"])
    assert (tmp_path / "m.csv").read_text() == "label,b,d\nb,0,2\nd,0,0\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data=mnist"], "one of --weights, --models and --workdir"),
        (["--data=mnist", "--models=nothing*"], "No weights are called nothing*"),
        ([f"--weights={WEIGHTS}"], "Name a data set with --data"),
        ([f"--weights={WEIGHTS}", "--data=mnist", "--ensemble=1,2"], "each of the 1 models"),
        ([f"--weights={WEIGHTS}", "--data=mnist", "--views=dense"], "global pooling"),
        (["--workdir=/nowhere"], "/nowhere/config.json cannot be read"),
    ],
)
def test_what_is_wrong_is_told(arguments, message, run):
    code, _, err = run(*arguments)
    assert code == 1 and message in err and "Traceback" not in err


def test_a_table_of_other_columns(tmp_path):
    path = tmp_path / "results.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(TrainError, match="has other columns than a table of evaluations"):
        Results(str(path))


def test_shares():
    assert shares("equal", 3) == [1, 1, 1] and shares("0.3,0.7", 2) == [0.3, 0.7]
    for wrong in ("1", "a,b", "0,1", "nan,1", "-1,1"):
        with pytest.raises(TrainError, match="a positive number for each of the 2 models"):
            shares(wrong, 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--views=ten_crop", "--scales=31"], "scales=31: crops have 32 pixels"),
        (["--model=lenet5"], "leave out model"),
        (["--confusion=no/matrix.png"], "no/matrix.png: there is no folder no."),
    ],
)
def test_a_protocol_that_cannot_be(arguments, message, run):
    code, _, err = run(f"--weights={WEIGHTS}", "--data=mnist", "--split=test[:9]", *arguments)
    assert code == 1 and message in err and "Traceback" not in err


def test_other_questions_are_other_rows(run, tmp_path):
    command = (f"--weights={WEIGHTS}", "--data=mnist", "--split=test[:9]")
    results = f"--results={tmp_path / 'results.csv'}"
    for more in ([], ["--restrict"]):
        code, out, _ = run(*command, results, *more)
        assert code == 0 and "of 9 images" in out
    assert "is in" in run(*command, results, "--restrict")[1]
    code, _, err = run(*command[:2], "--split=test[:0]")
    assert code == 1 and "The split holds no records" in err


def test_a_full_disk_loses_no_figure(run, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("train.use.results.write_atomically", full)
    code, out, err = run(f"--weights={WEIGHTS}", "--data=mnist", "--split=test[:9]", "--results=r")
    assert code == 1 and "top1" in out and "No space left" in err


def test_real_labels_of_other_classes(trained, digits):
    member = Classifier(trained, Protocol()), 1.0
    with pytest.raises(DataError, match="others than 0 to 9"):
        evaluate([member], digits, real_labels={"x": [10**9]})
