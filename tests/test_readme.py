"""The README's table of models; made anew by `python -m zoo list`."""

import pathlib
import re

import pytest

import zoo
from zoo.__main__ import table

README = pathlib.Path(__file__).parent.parent / "README.md"


def written() -> list[str]:
    (rows,) = re.findall(r"<!-- models -->\n(.*?)<!-- /models -->", README.read_text(), re.S)
    return rows.strip().splitlines()


def test_every_model_has_its_row():
    assert sorted(re.findall(r"^\| `(\w+)` ", "\n".join(written()), re.M)) == zoo.list_models()


@pytest.mark.parametrize("pattern", ["alexnet*", "lenet*", "resnet1*", "vgg*"])
def test_rows_are_current(pattern):
    assert set(table(pattern).splitlines()) <= set(written())


@pytest.mark.full
def test_table_is_current():
    assert written() == table().splitlines()
