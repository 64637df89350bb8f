"""zoo.load: by name from the network and its cache, from files, and what it says of other names."""

import dataclasses
import hashlib

import jax
import numpy as np
import pytest
from safetensors.numpy import save, save_file

import zoo
from zoo import registry
from zoo.weights import download, table

CIFAR = "authors/resnet20_cifar.akamaster_cifar10"


def variables_of(name, image_size=None, **overrides):
    shapes = registry.abstract_variables(name, image_size, **overrides)
    random = np.random.RandomState(0)
    return jax.tree.map(lambda leaf: random.rand(*leaf.shape).astype(leaf.dtype), shapes)


def state_dict(variables):
    tensors = zoo.to_torch("resnet20_cifar", variables)
    return {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}


def assert_equal(ours, theirs):
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


@pytest.fixture(scope="module")
def variables():
    return variables_of("resnet20_cifar")


@pytest.fixture
def published(server, cache, variables, monkeypatch):
    """The row of a ResNet-20 whose file is on the server, and which is recorded as it is there."""
    content = save(state_dict(variables))
    server.content["/models/resnet20.th"] = content
    row = dataclasses.replace(
        table.rows()[CIFAR],
        address=f"{server.url}/models/resnet20.th",
        digest=hashlib.sha256(content).hexdigest()[:8],
    )
    rows = {**table.rows(), CIFAR: row}
    monkeypatch.setattr(table, "rows", lambda: rows)
    return row


def test_published_weights(published, server, variables):
    loaded = zoo.load(CIFAR)
    assert_equal(loaded.variables, variables)
    assert loaded.model == zoo.create("resnet20_cifar")
    assert loaded.class_names[3] == loaded.info.class_names[3] == "cat"
    names = ("weights", "top1", "license", "accuracy_source", "label_set", "num_classes", "crop")
    assert [getattr(loaded.info, name) for name in names] == [
        *(CIFAR, 91.73, "bsd-2-clause", "https://github.com/akamaster/pytorch_resnet_cifar10"),
        *("cifar10", 10, 1),
    ]
    assert loaded.preprocessing.image_size == 32
    before = len(server.requests)
    assert_equal(zoo.load(CIFAR).variables, variables)
    assert len(server.requests) == before  # from the cache


def test_overrides_go_through(published, variables):
    loaded = zoo.load(CIFAR, num_classes=0, dtype="bfloat16", image_size=40)
    assert loaded.model == zoo.create("resnet20_cifar", num_classes=0, dtype="bfloat16")
    assert "head" not in loaded.variables["params"] and "head" in variables["params"]
    info = loaded.info
    assert (info.image_size, info.num_classes, info.label_set) == (40, 0, "")
    assert loaded.class_names == info.class_names == ()
    assert loaded.preprocessing.image_size == 40
    with pytest.raises(ValueError, match="load with num_classes=0"):
        zoo.load(CIFAR, num_classes=5)


def test_a_damaged_download(published, server, cache):
    server.content["/models/resnet20.th"] = b"x" * 1000
    with pytest.raises(download.DownloadError, match="should begin with"):
        zoo.load(CIFAR)


def test_a_file_and_its_model(published, variables, tmp_path):
    path = tmp_path / "mine.safetensors"
    save_file(state_dict(variables), path)
    for source in (path, str(path)):
        loaded = zoo.load(source, model="resnet20_cifar")
        assert_equal(loaded.variables, variables)
        assert (loaded.info.weights, loaded.info.top1, loaded.class_names) == (str(path), None, ())
    assert "head" not in zoo.load(path, model="resnet20_cifar", num_classes=0).variables["params"]
    known = tmp_path / "resnet20.th"  # the name and the digits of a published file
    known.write_bytes(path.read_bytes())
    assert zoo.load(known, model="resnet20_cifar").info.weights == CIFAR
    with pytest.raises(ValueError, match="loads? .*not written by flax-zoo.*model="):
        zoo.load(path)


@pytest.mark.parametrize(
    "name, message",
    [
        (
            "resnet50",
            "has no kind.*timm/resnet50.a1_in1k.*torchvision/resnet50:IMAGENET1K_V2.*clos",
        ),
        ("resnet50.a1_in1k", "has no kind.*The closest names are timm/resnet50.a1_in1k"),
        ("xyzzy", "has no kind.*or a file.$"),
        ("timm/resnet50.a1", "no weights 'timm/resnet50.a1'. The closest .*zoo.list_weights"),
        ("torchvision/resnet50", "no weights 'torchvision/resnet50'. The closest names are"),
        ("authors/xyzzy", "no weights 'authors/xyzzy'. zoo.list_weights"),
    ],
)
def test_names_that_there_are_not(name, message):
    with pytest.raises(ValueError, match=message):
        zoo.load(name)


@pytest.mark.parametrize(
    "name, model, message",
    [
        ("owner/name", None, "no file owner/name/model.safetensors. On the hub .*'hf-hub:owner/na"),
        ("net.pth", None, "There is no file net.pth"),
        ("runs/lenet/model.safetensors", None, "no file runs/lenet/model.safetensors"),
        ("nothing", "resnet50", "There is no file nothing"),
        ("local-dir:nothing", None, "There is no config.json in nothing"),
        ("local-dir:nothing", "resnet50", "There is no model.safetensors or .* in nothing"),
    ],
)
def test_files_that_there_are_not(name, model, message):
    with pytest.raises(FileNotFoundError, match=message):
        zoo.load(name, model=model)


def test_weights_in_the_package():
    loaded = zoo.load("zoo/lenet5.mnist")
    assert (loaded.info.weights, loaded.info.num_classes) == ("zoo/lenet5.mnist", 10)
    assert loaded.class_names[7] == "7" and loaded.info.top1 > 99.3
    with pytest.raises(ValueError, match="No weights 'lenet' ship with the package"):
        zoo.load("zoo/lenet")


def test_what_a_name_says_is_not_said_twice():
    with pytest.raises(TypeError, match="leave out model='resnet50'"):
        zoo.load("timm/resnet50.a1_in1k", model="resnet50")
    with pytest.raises(ValueError, match="no model 'resnet51'"):
        zoo.load(__file__, model="resnet51")
