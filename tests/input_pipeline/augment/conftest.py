"""The goldens' input images."""

import json
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="session")
def read_image(recipe_goldens) -> Callable[[str], np.ndarray]:
    """read_image(name): an input of the goldens, uint8 [H, W, C]."""
    table = json.loads((recipe_goldens / "inputs.json").read_text())

    def read(name: str) -> np.ndarray:
        entry = table[name]
        if "file" in entry:
            pixels = np.asarray(Image.open(recipe_goldens / entry["file"]), np.uint8)
        else:
            known = {"RandomState": np.random.RandomState, "uint8": np.uint8}
            pixels = eval(entry["numpy"], known)
        pixels = np.ascontiguousarray(pixels.reshape(entry["shape"]))
        assert f"{zlib.crc32(pixels.tobytes()):08x}" == entry["crc32"]
        return pixels

    return read
