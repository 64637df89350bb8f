"""One file of a trained model, for zoo.load, numpy and PyTorch."""

import dataclasses
import json
import pickletools
import zipfile

import jax
import ml_dtypes
import numpy as np
import pytest

import zoo
from zoo import registry
from zoo.preprocess import Preprocessing
from zoo.weights import torch_file
from zoo.weights.pretrained import PretrainedModel
from zoo.weights.write_file import write_file
from zoo.weights.write_torch import write_torch


def trained(name, channels=3, image_size=None, **overrides) -> PretrainedModel:
    """A model with random variables, as `zoo.load` gives it after a run."""
    info = dataclasses.replace(registry.info(name), image_size=image_size or 32, channels=channels)
    model = zoo.create(name, **overrides)
    images = np.zeros((1, info.image_size, info.image_size, channels), np.float32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), images)
    random = np.random.default_rng(0)
    variables = jax.tree.map(lambda x: random.random(x.shape, np.float32), shapes)
    info = dataclasses.replace(info, mean=info.mean[:channels], std=info.std[:channels])
    preprocessing = dataclasses.replace(Preprocessing.from_info(info), crop=0.9)
    metrics = {"loss": 0.5, "top1": 0.75, "norm": 3.0}
    return PretrainedModel(model, variables, info, preprocessing, ("cat", "dog"), 12, metrics)


MODELS = {
    "resnet18": dict(num_classes=2),
    "resnet20_cifar": dict(num_classes=2, channels=1),  # of grey images
    "vit_s_16": dict(num_classes=2, image_size=48, scan=True),
}


@pytest.mark.parametrize("ending", [".safetensors", ".npz", ".pth"])
@pytest.mark.parametrize("name", MODELS)
def test_zoo_load_makes_the_same_of_it(name, ending, tmp_path):
    before = trained(name, **MODELS[name])
    path = tmp_path / f"model{ending}"
    write_file(path, before)
    loaded = zoo.load(path)
    jax.tree.map(np.testing.assert_array_equal, loaded.variables, before.variables)
    assert loaded.model == before.model and loaded.preprocessing == before.preprocessing
    assert loaded.class_names == ("cat", "dog") and loaded.step == 12
    assert loaded.metrics == before.metrics and loaded.info.top1 == 75
    assert [x.name for x in tmp_path.iterdir()] == [path.name]


def test_a_pth_has_the_names_of_the_reference(tmp_path):
    before = trained("resnet18", num_classes=2)
    write_file(tmp_path / "a.pth", before)
    state_dict = torch_file.read(tmp_path / "a.pth")["state_dict"]
    expected = zoo.to_torch("resnet18", before.variables, num_classes=2)
    assert state_dict.keys() == expected.keys()
    for key, array in expected.items():
        np.testing.assert_array_equal(state_dict[key], array)
    again = zoo.load(tmp_path / "a.pth", model="resnet18", num_classes=2)  # as anybody's file
    np.testing.assert_array_equal(
        again.variables["params"]["head"]["bias"], before.variables["params"]["head"]["bias"]
    )


def test_numpy_reads_a_npz(tmp_path):
    before = trained("resnet18", num_classes=2)
    write_file(tmp_path / "a.npz", before)
    with np.load(tmp_path / "a.npz") as arrays:
        np.testing.assert_array_equal(
            arrays["params/head/kernel"], before.variables["params"]["head"]["kernel"]
        )


def test_a_pickle_of_torch_names_nothing_but_tensors(tmp_path):
    arrays = {
        "floats": np.arange(6, dtype=np.float32).reshape(2, 3),
        "scalar": np.array(7, np.int64),
        "swapped": np.arange(3, dtype=">f8"),
        "transposed": np.arange(6, dtype=np.float32).reshape(2, 3).T,
        "empty": np.zeros((0, 4), np.float16),
        "long": np.zeros((1, 2, 1, 3, 1), np.uint8),
        "half": np.arange(3).astype(ml_dtypes.bfloat16),
    }
    write_torch(tmp_path / "a.pth", {"inner": arrays, "text": "naïve", "number": 300})
    found = torch_file.read(tmp_path / "a.pth")
    assert found["text"] == "naïve" and found["number"] == 300
    for key, array in arrays.items():
        np.testing.assert_array_equal(found["inner"][key], array)
        assert found["inner"][key].shape == array.shape
    with zipfile.ZipFile(tmp_path / "a.pth") as archive:
        pickled = archive.read("model/data.pkl")
    opcodes = pickletools.genops(pickled)
    named = {argument for code, argument, _ in opcodes if code.name == "GLOBAL"}
    storages = {
        f"torch {x}Storage" for x in ("Float", "Long", "Double", "Half", "Byte", "BFloat16")
    }
    assert named == {"torch._utils _rebuild_tensor_v2", "collections OrderedDict"} | storages


def test_what_cannot_be_written_is_told(tmp_path, monkeypatch):
    before = trained("resnet18", num_classes=2)
    with pytest.raises(ValueError, match="has to end in one of .safetensors, .npz, .pth"):
        write_file(tmp_path / "model.bin", before)
    monkeypatch.setattr(registry.lookup("resnet18").family, "sources", {})  # as one's own model
    with pytest.raises(ValueError, match="resnet18 has no reference in PyTorch"):
        write_file(tmp_path / "a.pth", before)
    with pytest.raises(ValueError, match="torch has no tensors of complex64"):
        write_torch(tmp_path / "a.pth", {"x": np.zeros(2, np.complex64)})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "text", ["", "[]", "[[", '{"format": 3}', '{"format": "flax-zoo"}', json.dumps({"a": "b"})]
)
@pytest.mark.parametrize("ending", [".npz", ".pth"])
def test_what_a_file_says_wrongly_is_an_error(ending, text, tmp_path):
    path, array = tmp_path / f"a{ending}", np.zeros(3, np.float32)
    if ending == ".npz":
        np.savez(path, x=array, **{"flax-zoo": np.frombuffer(text.encode(), np.uint8)})
    else:
        write_torch(path, {"state_dict": {"x": array}, "flax-zoo": text})
    with pytest.raises(ValueError, match="is not a model that zoo.load can read"):
        zoo.load(path)


@pytest.mark.parametrize("size", [2**40, -1, "large"])
def test_a_forged_size_is_refused_before_anything_is_made(size, tmp_path):
    write_file(tmp_path / "a.pth", trained("vit_s_16", **MODELS["vit_s_16"]))
    content = torch_file.read(tmp_path / "a.pth")
    metadata = json.loads(content["flax-zoo"])
    images = json.loads(metadata["preprocessing"]) | {"image_size": size}
    metadata["preprocessing"] = json.dumps(images)
    write_torch(tmp_path / "b.pth", content | {"flax-zoo": json.dumps(metadata)})
    with pytest.raises(ValueError, match="is not a model that zoo.load can read"):
        zoo.load(tmp_path / "b.pth")


def test_a_file_without_a_word_about_its_model_is_told_so(tmp_path):
    write_torch(tmp_path / "a.pth", {"x": np.zeros(3, np.float32)})
    with pytest.raises(ValueError, match=r"not written by flax-zoo; for others' see zoo.load"):
        zoo.load(tmp_path / "a.pth")
