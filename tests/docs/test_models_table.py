"""The table in docs/models.md; made anew by `python docs/tools/models_table.py`."""

import re

import pytest

import zoo
from zoo.__main__ import table


@pytest.fixture(scope="module")
def written(tool) -> list[str]:
    return tool("models_table").written().splitlines()


def test_every_model_has_its_row(written):
    assert sorted(re.findall(r"^\| `(\w+)` ", "\n".join(written), re.M)) == zoo.list_models()


@pytest.mark.parametrize("pattern", ["alexnet*", "lenet*", "resnet18"])
def test_rows_are_current(written, pattern):
    assert set(table(pattern).splitlines()) <= set(written)


@pytest.mark.full
def test_table_is_current(written):
    assert written == table().splitlines()
