"""One file per trained model: what is written is read back, and nothing else is."""

import json
import resource
import struct
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import zoo
from zoo import registry
from zoo.preprocess import Preprocessing
from zoo.weights import pretrained

DIGITS = Preprocessing(32, channels=1, mean=(0.1307,), std=(0.3081,), crop=None, padding=2)
SMALL = Preprocessing(32)


def variables_of(name, preprocessing, **overrides):
    """Variables of a model; all are positive, as variances have to be, and nothing is compiled."""
    shapes = registry.abstract_variables(name, preprocessing.image_size, **overrides)
    random = np.random.RandomState(0)
    return jax.tree.map(lambda leaf: random.rand(*leaf.shape).astype(leaf.dtype) / 10, shapes)


@pytest.fixture(scope="module")
def lenet_variables():
    return variables_of("lenet5", DIGITS)


@pytest.fixture
def lenet(tmp_path, lenet_variables):
    """A file with LeNet-5 and its variables."""
    variables = lenet_variables
    path = tmp_path / "model.safetensors"
    names = [f"digit {i}" for i in range(10)]
    pretrained.save(
        path,
        "lenet5",
        {"num_classes": 10},
        variables,
        preprocessing=DIGITS,
        class_names=names,
        step=7,
        metrics={"loss": 0.5, "top1": 0.9},
    )
    return path, variables


def test_all_that_is_written_is_read_back(lenet):
    path, variables = lenet
    loaded = zoo.load(path)
    assert zoo.load(path.parent).model == loaded.model == zoo.create("lenet5", num_classes=10)
    jax.tree.map(np.testing.assert_array_equal, loaded.variables, variables)
    info = loaded.info
    assert (info.name, info.image_size, info.crop, info.padding) == ("lenet5", 32, None, 2)
    assert (info.weights, info.num_classes, info.top1) == (str(path), 10, 90)
    assert loaded.preprocessing == DIGITS and info.class_names == loaded.class_names
    assert loaded.class_names[3] == "digit 3" and loaded.step == 7
    assert loaded.metrics == {"loss": 0.5, "top1": 0.9}
    image = loaded.preprocessing(np.zeros((28, 28), np.uint8))
    logits = loaded.model.apply(loaded.variables, image[None])
    assert logits.shape == (1, 10)


@pytest.mark.parametrize(
    "name, overrides",
    [
        ("resnet20_cifar", {"dtype": jnp.bfloat16, "num_classes": 3}),
        ("resnet18", {"dtype": "bfloat16", "scan": True, "depths": (2, 3, 2, 2)}),
        ("vit_ti_16", {"dtype": np.float32, "depth": 2, "scan": True, "remat": True}),
        ("mobilenet_v2", {"width": 0.5, "num_classes": 0}),
    ],
)
def test_options_of_models_round_trip(tmp_path, name, overrides, quick_compilation):
    variables = variables_of(name, SMALL, **overrides)
    path = tmp_path / "model.safetensors"
    pretrained.save(path, name, overrides, variables, preprocessing=SMALL)
    loaded = zoo.load(path)
    jax.tree.map(np.testing.assert_array_equal, loaded.variables, variables)
    image = jnp.ones((1, 32, 32, 3))
    expected = jax.jit(zoo.create(name, **overrides).apply)(variables, image)
    np.testing.assert_array_equal(jax.jit(loaded.model.apply)(loaded.variables, image), expected)
    hash(loaded.model)  # lists of a file became tuples, so the module can be an argument of jit


class Stage(NamedTuple):
    depth: int


@pytest.mark.parametrize("value", [lambda x: x, Stage, (Stage(3),)])
def test_what_json_cannot_hold_is_refused(tmp_path, value):
    with pytest.raises(ValueError, match="override block="):
        pretrained.save(tmp_path / "x", "resnet18", {"block": value}, {}, preprocessing=SMALL)
    assert not list(tmp_path.iterdir())


def with_metadata(path, **changes):
    """Rewrites the file's metadata; None removes an entry."""
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    metadata = header["__metadata__"] | changes
    header["__metadata__"] = {key: value for key, value in metadata.items() if value is not None}
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)
    path.write_bytes(struct.pack("<Q", len(encoded)) + encoded + content[8 + length :])


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"format": "pt"}, "not written by flax-zoo"),
        ({"format": None}, "not written by flax-zoo"),
        ({"format_version": "2"}, "version 2 of the format"),
        ({"format_version": None}, "no 'format_version'"),
        ({"model": None}, "no 'model'"),
        ({"model": '"lenet6"'}, "no model 'lenet6'.*lenet5"),
        ({"model": '"resnet18"'}, "arrays do not fit the model"),
        ({"model": "[1]"}, "cannot read"),
        ({"overrides": '{"num_classes": 11}'}, "1 of its arrays|2 of its arrays"),
        ({"overrides": '{"nonsense": 1}'}, "no attribute nonsense"),
        ({"overrides": '{"dtype": "code"}'}, "zoo.load can read"),
        ({"overrides": "[]"}, "zoo.load can read"),
        ({"overrides": "{"}, "zoo.load can read"),
        ({"preprocessing": "{}"}, "image_size"),
        ({"preprocessing": '{"image_size": 1000000000}'}, "image_size of a preprocessing"),
        ({"preprocessing": '{"image_size": "32"}'}, "zoo.load can read"),
        ({"class_names": "[1, 2]"}, "class names are not text"),
        ({"class_names": "3"}, "zoo.load can read"),
        ({"metrics": "3"}, "zoo.load can read"),
    ],
)
def test_forged_metadata_are_refused(lenet, changes, message):
    path, _ = lenet
    with_metadata(path, **changes)
    with pytest.raises(ValueError, match=f"(?s){path}.*({message.replace('cannot read', 'load')})"):
        zoo.load(path)


def test_damaged_files_are_refused(lenet):
    path, _ = lenet
    content = path.read_bytes()
    huge = struct.pack("<Q", 2**62) + content[8:]
    for damaged in (
        b"",
        content[:7],
        content[:100],
        content[:-1],
        content + b"x",
        huge,
        b"x" * 999,
    ):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="not a safetensors file, or is damaged"):
            zoo.load(path)


def test_others_files_are_refused(tmp_path):
    from safetensors.numpy import save_file

    path = tmp_path / "model.safetensors"
    save_file({"conv1.weight": np.zeros(3, np.float32)}, path)
    with pytest.raises(ValueError, match="zoo.load_torch"):
        zoo.load(path)
    with pytest.raises(FileNotFoundError, match="no file .*nowhere"):
        zoo.load(tmp_path / "nowhere")
    (tmp_path / "folder").mkdir()
    with pytest.raises(FileNotFoundError, match="folder/model.safetensors"):
        zoo.load(tmp_path / "folder")


def test_a_full_disk_leaves_the_file_as_it_was(lenet):
    path, variables = lenet
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))  # no file may grow beyond
    try:
        with pytest.raises(OSError):
            pretrained.save(path, "lenet5", {}, variables, preprocessing=DIGITS)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before and list(path.parent.iterdir()) == [path]
