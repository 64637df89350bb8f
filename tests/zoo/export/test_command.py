"""`python -m zoo export`: the files, what is said of them, and wrong command lines."""

import dataclasses
import importlib.util
import json
import sys

import jax
import numpy as np
import onnx
import onnxruntime
import pytest
from flax import linen as nn
from flax import serialization
from safetensors.numpy import load_file

import zoo
from zoo.__main__ import main
from zoo.export import check, command, onnx_file
from zoo.export.program import program

pytestmark = pytest.mark.usefixtures("quick_compilation")
DIGITS = "--weights=zoo/lenet5.mnist"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def lenet():
    return zoo.load("zoo/lenet5.mnist")


def export(*arguments: str) -> int:
    with pytest.raises(SystemExit) as exit:
        main(["export", *arguments])
    return exit.value.code


def test_onnx(folder, lenet, capsys):
    assert export(DIGITS, "--to=onnx", "--check") == 0
    out = capsys.readouterr().out
    assert "lenet5.onnx: lenet5, 0.2 MB" in out and "ONNX Runtime" in out
    model = onnx.load("lenet5.onnx")
    facts = {prop.key: prop.value for prop in model.metadata_props}
    assert facts["layout"] == "nchw" and facts["weights"] == "zoo/lenet5.mnist"
    assert json.loads(facts["class_names"]) == list(lenet.class_names)
    assert json.loads(facts["preprocessing"])["mean"] == list(lenet.preprocessing.mean)
    (dims,) = (i.type.tensor_type.shape.dim for i in model.graph.input)
    assert [d.dim_param or d.dim_value for d in dims] == ["batch", 1, 32, 32]


def test_stablehlo(folder, lenet):
    arguments = (DIGITS, "--to=stablehlo", "--out=digits", "--platforms=cpu,tpu")
    assert export(*arguments) == 0
    exported = jax.export.deserialize(bytearray((folder / "digits").read_bytes()))
    assert exported.platforms == ("cpu", "tpu")
    images = np.random.RandomState(0).standard_normal((3, 32, 32, 1)).astype(np.float32)
    expected = jax.jit(lenet.model.apply)(lenet.variables, images)
    np.testing.assert_allclose(exported.call(images), expected, atol=1e-4)
    facts = json.loads((folder / "digits.json").read_text())
    assert facts["layout"] == "nhwc" and facts["platforms"] == ["cpu", "tpu"]


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_pixels(folder, lenet, layout):
    """With --normalize the file does the last step of the preprocessing."""
    assert export(DIGITS, "--to=onnx", "--normalize", f"--layout={layout}", "--check") == 0
    pixels = np.random.RandomState(0).randint(0, 256, (2, 28, 28, 1), np.uint8)
    images = np.stack([lenet.preprocessing(picture) for picture in pixels])
    pixels = pixels.transpose(0, 3, 1, 2) if layout == "nchw" else pixels
    (logits,) = onnxruntime.InferenceSession("lenet5.onnx").run(None, {"images": pixels})
    expected = np.asarray(jax.jit(lenet.model.apply)(lenet.variables, images))
    np.testing.assert_allclose(logits, expected, atol=1e-5 * expected.std())


def test_caffe_has_blue_first():
    loaded = command.random_model("resnet20_cifar", None, {})
    known = dataclasses.replace(loaded.preprocessing, channel_order="BGR", mean=(0.1, 0.2, 0.3))
    model = nn.Sequential([lambda images: images])
    loaded = dataclasses.replace(loaded, model=model, variables={}, preprocessing=known)
    pixels = np.random.RandomState(0).randint(0, 256, (1, 32, 32, 3), np.uint8)
    ours = program(loaded, layout="nhwc", normalize=True).function(pixels)
    known = dataclasses.replace(known, crop=1.0)
    np.testing.assert_allclose(ours[0], known(pixels[0]), atol=1e-6)


def test_weights_alone(folder, lenet):
    assert export(DIGITS, "--to=safetensors", "--check") == 0
    again = zoo.load(folder / "lenet5.safetensors")
    assert again.class_names == lenet.class_names and again.preprocessing == lenet.preprocessing
    assert export(DIGITS, "--to=saved_variables", "--check") == 0
    restored = serialization.msgpack_restore((folder / "lenet5.msgpack").read_bytes())
    for found in (again.variables, restored):
        jax.tree.map(np.testing.assert_array_equal, dict(found), dict(lenet.variables))


def test_names_of_the_reference(folder):
    arguments = ("resnet20_cifar", "--weights=random", "--to=safetensors", "--names=torch")
    assert export(*arguments, "--check", "--num_classes=7", "--out=r.safetensors") == 0
    tensors = load_file("r.safetensors")
    assert tensors["conv1.weight"].shape == (16, 3, 3, 3)
    variables = zoo.load_torch("resnet20_cifar", "r.safetensors", num_classes=7)
    assert variables["params"]["head"]["kernel"].shape == (64, 7)


def test_to_torch_is_contiguous(lenet):
    """safetensors.numpy writes the memory of an array, whatever its strides."""
    variables = {"params": jax.tree.map(np.asarray, lenet.variables["params"])}
    for array in zoo.to_torch("lenet5", variables).values():
        assert array.flags.c_contiguous


def test_a_file_that_differs_is_status_1(folder, lenet, monkeypatch, capsys):
    monkeypatch.setattr(check, "TOLERANCE", 0.0)
    assert export(DIGITS, "--to=onnx", "--check") == 1
    assert "and 0 is allowed" in capsys.readouterr().out


def test_large_weights_stand_beside_the_file(folder, lenet, monkeypatch):
    monkeypatch.setattr(onnx_file, "LARGEST", 1000)
    path = folder / "large.onnx"
    for _ in range(2):  # a file of the same name is replaced
        onnx_file.write(path, program(lenet))
    assert (folder / "large.onnx.data").stat().st_size < 300_000
    for _, difference in check.differences(path, program(lenet), "onnx"):
        assert difference <= check.TOLERANCE


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["lenet5", "--to=onnx"], "Say which weights: --weights=zoo/lenet5.mnist"),
        (["--weights=random", "--to=onnx"], "Say which model"),
        (["resnet18", DIGITS, "--to=onnx"], "are weights of lenet5, and not of resnet18"),
        (["lenet", "--weights=random", "--to=onnx"], "The closest names are"),
        (["lenet5", "--weights=no.pth", "--to=onnx"], "There is no file"),
        ([DIGITS, "--to=stablehlo", "--platforms=cpu,gpu"], "There is no platform 'gpu'"),
        ([DIGITS, "--to=onnx", "--platforms=cpu"], "--platforms is for --to=stablehlo."),
        ([DIGITS, "--to=safetensors", "--out=no/folder/x"], "No such file or directory"),
    ],
)
def test_wrong_command_lines(folder, capsys, arguments, message):
    assert export(*arguments) == 1
    assert message in capsys.readouterr().err
    assert not list(folder.iterdir())


def test_a_missing_package_is_named(folder, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert export(DIGITS, "--to=onnx") == 1
    assert "pip install 'flax-zoo[onnx]'" in capsys.readouterr().err


def test_a_missing_package_of_stablehlo(folder, capsys, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda x: x != "flatbuffers" and found(x))
    assert export(DIGITS, "--to=stablehlo") == 1
    assert "pip install flatbuffers" in capsys.readouterr().err
