"""A model in several files is read by its index; what an index may not say is refused."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from zoo.weights import shards, torch_file

INDEX = "model.safetensors.index.json"
A, B = np.arange(3, dtype=np.float32), np.ones((2, 2), np.float16)


@pytest.fixture
def folder(tmp_path):
    save_file({"a": A}, tmp_path / "model-1.safetensors")
    save_file({"b": B}, tmp_path / "model-2.safetensors")
    write(tmp_path, {"a": "model-1.safetensors", "b": "model-2.safetensors"})
    return tmp_path


def write(folder, places):
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": places}))


def test_all_parts_are_read(folder):
    read = torch_file.read(folder / INDEX)
    assert list(read) == ["a", "b"]
    np.testing.assert_array_equal(read["a"], A)
    np.testing.assert_array_equal(read["b"], B)


@pytest.mark.parametrize(
    "place",
    [
        *("../model-1.safetensors", "/etc/passwd", "a/b.safetensors", "..", "", "a\\b.safetensors"),
        *(".hidden.safetensors", "C:x.safetensors", "x\0.safetensors", INDEX, "config.json", "x"),
        *(3, None, ["model-1.safetensors"]),
    ],
)
def test_only_files_beside_the_index(folder, place):
    write(folder, {"a": "model-1.safetensors", "b": place})
    with pytest.raises(ValueError, match=f"{INDEX} is not .*which is no file beside it"):
        torch_file.read(folder / INDEX)


@pytest.mark.parametrize(
    "places, message",
    [
        ({"a": "model-1.safetensors", "b": "model-3.safetensors"}, "part model-3.* cannot be read"),
        ({"a": "model-1.safetensors", "b": "model-1.safetensors"}, "other tensors .* says: b"),
        ({"a": "model-2.safetensors", "b": "model-1.safetensors"}, "other tensors .* says: a, b"),
        ({"a": "model-1.safetensors", "c": "model-2.safetensors"}, "other tensors .* says: b, c"),
        ({}, "no weight_map"),
        ([], "no weight_map"),
        ({str(i): f"{i}.bin" for i in range(1001)}, "more than 1000 files"),
    ],
)
def test_an_index_that_does_not_fit(folder, places, message):
    write(folder, places)
    with pytest.raises(ValueError, match=f"{INDEX} is not .*{message}"):
        torch_file.read(folder / INDEX)


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "Expecting value"),
        ("[1]", "no JSON object"),
        ('{"weight_map": {"a": "x.bin", "a": "y.bin"}}', "a name twice"),
        ('{"weight_map":' + "[" * 10**5, "nested too deeply"),
        ('{"weight_map":' + '{"a":' * 10**5, "nested too deeply"),
        (" " * (2**24 + 1), "larger than the 16 MiB"),
        ('{"weight_map": {"\x1b[2J": "../x"}}', "Invalid control character"),
    ],
)
def test_an_index_that_is_damaged(folder, text, message):
    (folder / INDEX).write_text(text)
    with pytest.raises(ValueError, match=f"{INDEX} is not .*{message}"):
        torch_file.read(folder / INDEX)


def test_a_part_that_is_damaged_is_named(folder):
    (folder / "model-2.safetensors").write_bytes(b"x" * 100)
    with pytest.raises(ValueError, match=f"{INDEX} is not .*model-2.safetensors is not a PyTorch"):
        torch_file.read(folder / INDEX)


def test_parts_may_be_of_any_format(folder):
    np.savez(folder / "part.npz", c=A)
    (folder / "part.npz").rename(folder / "part.bin")
    write(folder, {"a": "model-1.safetensors", "c": "part.bin"})
    assert list(torch_file.read(folder / INDEX)) == ["a", "c"]
    assert shards.weight_map(b'{"weight_map": {"a": "x.bin"}}') == {"a": "x.bin"}
