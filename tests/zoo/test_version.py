import importlib.metadata
import pathlib
import tomllib

import pytest

import zoo

pytestmark = pytest.mark.quick
ROOT = pathlib.Path(__file__).parent.parent.parent


def test_is_that_of_the_project():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert zoo.__version__ == project["version"]


def test_a_source_tree_that_was_not_installed_has_one_too(monkeypatch):
    def version(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    assert zoo.__version__ == "0+unknown"


def test_other_names_are_errors_as_usual():
    with pytest.raises(AttributeError, match="module 'zoo' has no attribute 'creat'"):
        zoo.creat  # noqa: B018
