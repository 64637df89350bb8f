"""python -m zoo look, filters, chart, fields."""

import jax
import numpy as np
import pytest
from PIL import Image

import zoo
from zoo import registry
from zoo.__main__ import main
from zoo.look import pictures
from zoo.preprocess import Preprocessing
from zoo.weights.pretrained import PretrainedModel
from zoo.weights.write_file import write_file

WEIGHTS = "--weights=zoo/lenet5.mnist"


@pytest.fixture
def digit(tmp_path, monkeypatch):
    """A picture of a one in the current folder."""
    monkeypatch.chdir(tmp_path)
    pixels = np.zeros((28, 28), np.uint8)
    pixels[4:24, 13:16] = 255
    Image.fromarray(pixels).save("one.png")
    return "one.png"


def run(*arguments, capsys, code=0):
    with pytest.raises(SystemExit) as end:
        main(list(arguments))
    assert end.value.code == code
    printed = capsys.readouterr()
    return printed.err if code else printed.out


def size(path):
    with Image.open(path) as image:
        return image.size


@pytest.mark.parametrize(
    ("how", "title"),
    [
        ([], "1 (9"),
        (["--how=saliency"], "%): saliency"),
        (["--how=deconvnet", "--target=7"], "7 ("),
    ],
)
def test_look_draws_the_map_of_a_class(digit, how, title, capsys, quick_compilation):
    out = run("look", digit, WEIGHTS, "--at=stage2", *how, capsys=capsys)
    assert out.startswith("look.png: ") and title in out
    assert size("look.png")[0] > 500


def test_filters_of_the_first_layer(digit, capsys):
    assert "6 filters of 5x5 pixels of lenet5" in run("filters", WEIGHTS, capsys=capsys)
    assert size("filters.png") == (3 * 22 + 2, 2 * 22 + 2)
    filters = pictures.first_filters(zoo.load("zoo/lenet5.mnist").variables)
    assert filters.shape == (6, 5, 5, 3)
    assert (filters.min((1, 2, 3)) == 0).all() and (filters.max((1, 2, 3)) == 1).all()


def test_a_grid_of_pictures():
    two = np.stack([np.zeros((1, 2, 3)), np.full((1, 2, 3), 0.5)])
    shown = pictures.grid(two, scale=2)
    assert shown.shape == (4, 11, 3)  # 1 row and 2 columns of 2x4 pixels, lines of 1
    assert (
        (shown[1:3, 1:5] == 0).all() and (shown[1:3, 6:10] == 0.5).all() and (shown[0] == 1).all()
    )


def test_a_chart_of_accuracy_and_cost(digit, capsys):
    out = run("chart", "squeezenet*", "--source=torchvision", "--out=c.svg", capsys=capsys)
    assert out == "c.svg: 2 models\n"
    with open("c.svg") as file:
        assert "<svg" in file.read()


def test_fields_as_a_table(capsys):
    rows = [line.split() for line in run("fields", "lenet5", capsys=capsys).splitlines()]
    assert rows[0] == ["output", "size", "stride", "start"] and ["stage2", "16", "4", "0"] in rows


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["look", "one.png", WEIGHTS, "--target=cat"], "none of the model's 10 classes is called"),
        (["look", "one.png", WEIGHTS, "--out=x.txt"], "a picture ends in .png"),
        (["look", "one.png", WEIGHTS, "--at=stage9"], "has no output stage9"),
        (["look", "none.png", WEIGHTS], "none.png"),
        (["filters", "--weights=nothing"], "has no kind"),
        (["chart", "lenet*"], "No ImageNet model lenet*"),
        (["look", "one.png", "--weights=mlp.npz"], "mlp has no stage with positions"),
        (["fields", "resnet51"], "There is no model 'resnet51'"),
    ],
)
def test_what_is_wrong_is_told(digit, arguments, message, capsys):
    shapes = registry.abstract_variables("mlp")
    zeros = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)
    info = zoo.info("mlp")
    names = tuple(map(str, range(10)))
    mlp = PretrainedModel(zoo.create("mlp"), zeros, info, Preprocessing.from_info(info), names)
    write_file("mlp.npz", mlp)
    assert message in run(*arguments, capsys=capsys, code=1)


@pytest.mark.parametrize("place", ["nothing.py", "no_such_module"])
def test_an_import_that_is_not_there_is_told(place, capsys):
    with pytest.raises(SystemExit) as end:
        main(["summary", "lenet5", f"--import={place}"])
    assert end.value.code == 2 and place in capsys.readouterr().err
