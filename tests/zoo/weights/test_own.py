"""The weights that ship with the package: frozen, and as good as their README says."""

import gzip
import hashlib
import json
import re
import tomllib
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors import safe_open

import zoo
from zoo.weights import own

ROOT = Path(__file__).parents[3]
README = (ROOT / "zoo/weights/own/README.md").read_text()
# Never to be changed: distances between sets of images are measured by these very features.
DIGESTS = {"lenet5.mnist": "0a80cf0b79596f815a807f038448f096d9a6ab75cf7d5eb0728ac55c77b7d9d6"}


def test_the_files_are_frozen():
    assert own.names() == sorted(DIGESTS)
    for name, digest in DIGESTS.items():
        assert hashlib.sha256(own.path(name).read_bytes()).hexdigest() == digest
        assert digest in README


def test_an_unknown_name_is_told():
    with pytest.raises(ValueError, match="No weights 'lenet' ship with the package; lenet5.mnist"):
        own.path("lenet")


def test_the_file_says_what_made_it():
    with safe_open(own.path("lenet5.mnist"), framework="numpy") as file:
        made_by = json.loads(file.metadata()["made_by"])
    assert made_by["command"] in README and made_by["commit"][:7] in README
    assert re.fullmatch("[0-9a-f]{40}", made_by["commit"])
    assert not [text for text in json.dumps(made_by).split('"') if text.startswith("/")]


def test_digits_are_read():
    """All of MNIST's test images, from the files in the package."""
    folder = ROOT / "input_pipeline/data/mnist"
    images = gzip.decompress((folder / "t10k-images-idx3-ubyte.gz").read_bytes())
    images = np.frombuffer(images, np.uint8, offset=16).reshape(-1, 28, 28, 1)
    labels = gzip.decompress((folder / "t10k-labels-idx1-ubyte.gz").read_bytes())
    labels = np.frombuffer(labels, np.uint8, offset=8)
    trained = zoo.load(own.path("lenet5.mnist"))
    padded = np.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0)))
    np.testing.assert_array_equal(trained.preprocessing.resize(images[:3]), padded[:3])
    logits = jax.jit(trained.model.apply)(
        trained.variables, trained.preprocessing.normalize(padded)
    )
    top1 = (np.asarray(logits).argmax(1) == labels).mean()
    assert top1 == pytest.approx(trained.metrics["top1"], abs=2e-4) and top1 >= 0.993
    best = zoo.decode(logits[:100], top=1, classes=trained)
    assert (np.array([name for ((_, name, _),) in best]).astype(int) == labels[:100]).mean() > 0.97


def test_the_package_has_its_data():
    """Every file below zoo that is no Python goes into the wheel."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    patterns = project["tool"]["setuptools"]["package-data"]["zoo"]
    shipped = {path for pattern in patterns for path in (ROOT / "zoo").glob(pattern)}
    files = {path for path in (ROOT / "zoo").rglob("*") if path.is_file()}
    rest = {path.suffix for path in files - shipped if "__pycache__" not in path.parts}
    assert rest <= {".py", ".so"}
