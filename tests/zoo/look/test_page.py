"""The page: its numbers are the network's, and it needs nothing but itself."""

import base64
import io
import json
import re

import numpy as np
import pytest
from PIL import Image

import zoo
from zoo.look import page
from zoo.look.inside import inside
from zoo.look.page import encode
from zoo.look.page.network import UnitPictures, as_map


@pytest.fixture(scope="module")
def shown():
    loaded = zoo.load("zoo/lenet5.mnist")
    pixels = np.zeros((32, 32, 1), np.float32)
    pixels[6:26, 14:18] = 1
    seen = inside(loaded.model, loaded.variables, (pixels - 0.1307) / 0.3081)
    names = ["</script><script>alert(1)</script>", *map(str, range(1, 10))]
    unit = UnitPictures("head", 1, "1", np.zeros((32, 32, 1)), [0.0, 2.5], [pixels], [7.0])
    maps = {"saliency": np.abs(seen.slopes["image"]).max(-1)}
    data = page.page_of(loaded, seen, pixels, names, maps=maps, units=[unit])
    return loaded, seen, data, page.render(data)


def floats(text: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), "<f4")


def grey(sprite: dict) -> np.ndarray:
    raw = base64.b64decode(sprite["src"].partition(",")[2])
    return np.asarray(Image.open(io.BytesIO(raw)), np.float32)


def test_numbers_are_those_of_the_network(shown):
    loaded, seen, data, _ = shown
    rows = {row["name"]: row for row in data["layers"]}
    conv = rows["conv2"]
    np.testing.assert_array_equal(floats(conv["values"]), seen.values["conv2"].ravel())
    kernel = loaded.variables["params"]["conv2"]["kernel"]
    np.testing.assert_array_equal(floats(conv["step"]["kernel"]), np.ravel(kernel))
    assert conv["parameters"] == 2416 and conv["macs"] == 240_000 and conv["bytes"] == 6400
    assert conv["field"] == [14, 2, 0] and conv["step"]["padding"] == [[0, 0], [0, 0]]
    assert data["model"]["parameters"] == 61_706 == sum(row["parameters"] for row in rows.values())
    assert data["model"]["macs"] == 416_520 == sum(row["macs"] for row in rows.values())
    kinds = [row["step"] and row["step"]["type"] for row in data["layers"]]
    assert kinds == [
        *(None, "conv", "relu", "max", "conv", "relu", "max", "flatten"),
        *("dense", "relu", "dense", "relu", "dense"),
    ]
    assert rows["flatten"]["step"]["channels_first"]


def test_maps_are_pictures_of_the_activations(shown):
    _, seen, data, _ = shown
    row = next(row for row in data["layers"] if row["name"] == "conv1")
    sprite = row["maps"]
    sheet = grey(sprite)
    for number, channel in enumerate(row["channels"]):
        y, x = (sprite[key] * place for key, place in zip("hw", divmod(number, 3), strict=True))
        low, high = sprite["lo"][number], sprite["hi"][number]
        values = low + sheet[y : y + 28, x : x + 28] / 255 * (high - low)
        wanted = seen.values["conv1"][..., channel]
        np.testing.assert_allclose(values, wanted, atol=(high - low) / 400)
    total = (seen.values["conv1"] * seen.slopes["conv1"]).sum((0, 1))
    np.testing.assert_allclose(row["contributions"], total, rtol=1e-3, atol=1e-5)


def test_it_needs_nothing_but_itself(shown):
    *_, data, text = shown
    assert len(text) < 2_000_000
    assert not re.search(r'(?:src|href)="(?!data:|#)', text) and "@import" not in text
    assert "default-src 'none'" in text and "{{" not in text
    embedded = re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1]
    assert json.loads(embedded) == json.loads(json.dumps(data))
    assert "<script>alert" not in text


def test_tokens_lie_on_their_grid():
    tokens = np.arange(17 * 3).reshape(17, 3)
    np.testing.assert_array_equal(as_map(tokens), tokens[1:].reshape(4, 4, 3))
    assert as_map(tokens[:15]) is None and as_map(tokens[0]).shape == (1, 1, 3)
    assert as_map(np.zeros((4, 7, 7, 3))) is None


def test_large_maps_are_means_of_areas():
    maps = np.arange(16.0).reshape(4, 4, 1)
    np.testing.assert_allclose(encode.reduced(maps, 2)[..., 0], [[2.5, 4.5], [10.5, 12.5]])
    assert encode.reduced(maps, 8) is maps
    flat = encode.sprite([np.full((2, 2), 3.0)])
    assert flat["lo"] == flat["hi"] == [3.0]
