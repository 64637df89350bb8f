"""The scripts in docs/tools, and what the pages' code finds in the folder it runs in."""

import importlib.util
import pathlib
import pickle
import types
import zipfile
from collections.abc import Callable

import jax
import numpy as np
import pytest
from PIL import Image
from skimage import data

import zoo
from zoo import registry

ROOT = pathlib.Path(__file__).parent.parent.parent


@pytest.fixture(scope="session")
def tool() -> Callable[[str], types.ModuleType]:
    """Imports a script of docs/tools by its name."""

    def load(name: str) -> types.ModuleType:
        path = ROOT / "docs" / "tools" / f"{name}.py"
        spec = importlib.util.spec_from_file_location(f"docs_{name}", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture
def folder(tmp_path, monkeypatch) -> pathlib.Path:
    """The folder of a reader: resnet18-f37072fd.pth, photo.jpg of a cat, photos/CLASS/*.jpg."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(data.chelsea()).save(tmp_path / "photo.jpg")
    write_torch(tmp_path / "resnet18-f37072fd.pth", random_weights("resnet18"))
    pixels = np.random.RandomState(0).randint(0, 256, (24, 32, 3), np.uint8)
    for name in ("daisy", "rose"):
        for number in range(10):
            path = tmp_path / "photos" / name / f"{number}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.roll(pixels, number, axis=0)).save(path)
    return tmp_path


def random_weights(name: str) -> dict[str, np.ndarray]:
    """A state dict of the model's reference, with variances above zero."""
    random = np.random.RandomState(0)

    def array(shape) -> np.ndarray:
        return 0.01 * np.abs(random.standard_normal(shape.shape)).astype(np.float32) + 0.01

    variables = registry.abstract_variables(name)
    leaves, structure = jax.tree.flatten(variables)
    return zoo.to_torch(name, jax.tree.unflatten(structure, map(array, leaves)))


def write_torch(path: pathlib.Path, tensors: dict[str, np.ndarray]) -> None:
    """A file as torch.save writes it: a pickle that rebuilds tensors, and their bytes beside it."""
    pickled = [pickle.PROTO, b"\x02", pickle.EMPTY_DICT]
    with zipfile.ZipFile(path, "w") as archive:
        for number, (name, array) in enumerate(tensors.items()):
            array = np.ascontiguousarray(array, np.float32)
            strides = tuple(step // array.itemsize for step in array.strides)
            pickled += [
                *(_word(name), b"ctorch._utils\n_rebuild_tensor_v2\n", pickle.MARK),
                *(pickle.MARK, _word("storage"), b"ctorch\nFloatStorage\n", _word(str(number))),
                *(_word("cpu"), _number(array.size), pickle.TUPLE, pickle.BINPERSID, _number(0)),
                *(_numbers(array.shape), _numbers(strides), b"I00\n"),
                *(b"ccollections\nOrderedDict\n", pickle.EMPTY_TUPLE, pickle.REDUCE),
                *(pickle.TUPLE, pickle.REDUCE, pickle.SETITEM),
            ]
            archive.writestr(f"weights/data/{number}", array.tobytes())
        archive.writestr("weights/data.pkl", b"".join([*pickled, pickle.STOP]))


def _word(text: str) -> bytes:
    return pickle.BINUNICODE + len(text.encode()).to_bytes(4, "little") + text.encode()


def _number(value: int) -> bytes:
    return pickle.BININT + value.to_bytes(4, "little")


def _numbers(values: tuple[int, ...]) -> bytes:
    return pickle.MARK + b"".join(map(_number, values)) + pickle.TUPLE
