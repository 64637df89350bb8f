"""Modules and functions of version 0.1 that have moved: their old names work, with a warning."""

import pytest

import input_pipeline
import zoo
from input_pipeline import decode

pytestmark = pytest.mark.quick


@pytest.mark.parametrize(
    ("old", "new"), [("torch_file", "weights.torch_file"), ("resnet", "models.resnet")]
)
def test_modules_of_the_zoo(old, new):
    with pytest.warns(DeprecationWarning, match=f"zoo.{old} is zoo.{new} now"):
        assert getattr(zoo, old).__name__ == f"zoo.{new}"
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = zoo.nothing


def test_builders():
    with pytest.warns(DeprecationWarning, match=r"is input_pipeline\.prepare\.builders now"):
        assert input_pipeline.builders.__name__ == "input_pipeline.prepare.builders"


@pytest.mark.parametrize("old", ["Picture", "full", "of_shape"])
def test_functions_that_decode(old):
    with pytest.warns(DeprecationWarning, match=f"decode.{old} is"):
        assert callable(getattr(decode, old))
