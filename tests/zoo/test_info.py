"""What `zoo.info` says, against the preprocessing that belongs to the weights it quotes."""

import csv
import pathlib

import pytest

import zoo

# Published weights of torchvision and timm with the preprocessing that their libraries state.
with (pathlib.Path(__file__).parent / "weights.csv").open() as file:
    WEIGHTS = list(csv.DictReader(file))
# Their files' networks change the normalisation themselves (torchvision's transform_input).
OTHER_MEAN = {"googlenet_bn", "inception_v3"}


def of_the_quoted_accuracy(name: str) -> list[dict]:
    """The rows whose accuracy `zoo.info` quotes."""
    top1 = zoo.info(name).top1
    rows = [row for row in WEIGHTS if row["model"] == name and row["top1"]]
    return [row for row in rows if top1 and abs(float(row["top1"]) - top1) < 0.006]


def agrees(name: str, row: dict) -> bool:
    info = zoo.info(name)
    images = name in OTHER_MEAN or all(
        tuple(map(float, row[key].split())) == tuple(round(x, 4) for x in getattr(info, key))
        for key in ("mean", "std")
    )
    size = int(row["image_size"]) == info.image_size
    crop = abs(float(row["crop"]) - info.crop) < 1e-4
    return images and size and crop and row["interpolation"] == info.interpolation


QUOTED = [name for name in zoo.list_models() if of_the_quoted_accuracy(name)]


@pytest.mark.parametrize("name", QUOTED)
def test_preprocessing_is_that_of_the_quoted_weights(name):
    assert any(agrees(name, row) for row in of_the_quoted_accuracy(name))


def test_most_models_quote_published_weights():
    assert len(QUOTED) > 100


@pytest.mark.parametrize("name", zoo.list_models())
def test_a_model_equals_itself_made_again(name):
    """So that it can be an argument of jit that is compiled once."""
    assert zoo.create(name) == zoo.create(name)
    assert hash(zoo.create(name)) == hash(zoo.create(name))
