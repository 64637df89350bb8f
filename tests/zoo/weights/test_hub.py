"""Models come from a hub by its own package: a server here speaks its protocol, and breaks off."""

import json
import os
import subprocess
import sys

import jax
import numpy as np
import pytest
from flax import traverse_util
from huggingface_hub import constants
from safetensors.numpy import save

import zoo
from zoo import registry
from zoo.weights import download

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LENET = "/cdn/some/lenet/model.safetensors"


def variables_of(name, **overrides):
    shapes = registry.abstract_variables(name, **overrides)
    random = np.random.RandomState(0)
    return jax.tree.map(lambda leaf: random.rand(*leaf.shape).astype(leaf.dtype), shapes)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("lenet")
    names = [f"digit {i}" for i in range(10)]
    zoo.save(place, "lenet5", variables_of("lenet5"), class_names=names)
    return place


@pytest.fixture
def served(server, folder, tmp_path, monkeypatch):
    """The repository some/lenet on a hub that huggingface_hub takes for its own."""
    for path in folder.iterdir():
        server.content[f"/cdn/some/lenet/{path.name}"] = path.read_bytes()
    template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    return server


def test_a_model_of_the_hub(served, folder):
    expected = zoo.load(f"local-dir:{folder}")
    for name in ("hf-hub:some/lenet", f"hf-hub:some/lenet@{COMMIT}"):
        loaded = zoo.load(name)
        jax.tree.map(np.testing.assert_array_equal, loaded.variables, expected.variables)
        assert loaded.info.weights == name and loaded.class_names[3] == "digit 3"
    assert sum(request[:2] == ("GET", LENET) for request in served.requests) == 1


def test_without_a_network_the_cache_is_enough(served, monkeypatch):
    zoo.load("hf-hub:some/lenet")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    before = len(served.requests)
    assert zoo.load("hf-hub:some/lenet").info.name == "lenet5"
    with pytest.raises(download.DownloadError, match="hf-hub:some/other .*hf download some/other"):
        zoo.load("hf-hub:some/other")
    assert len(served.requests) == before


@pytest.mark.parametrize("answers", [[("cut", 1000)], [("cut", 1000), ("cut", 10)], [500], [429]])
@pytest.mark.usefixtures("pauses")
def test_faults_that_pass(served, answers):
    served.answers[LENET] += answers
    assert zoo.load("hf-hub:some/lenet").info.name == "lenet5"


@pytest.mark.parametrize("answer", [500, 403, ("longer", 7), ("shorter", 7)])
@pytest.mark.usefixtures("pauses")
def test_faults_that_stay(served, tmp_path, answer):
    served.answers[LENET] += [answer] * 999
    with pytest.raises(download.DownloadError, match="model.safetensors of hf-hub:some/lenet can"):
        zoo.load("hf-hub:some/lenet")
    assert not list((tmp_path / "hub").rglob("model.safetensors"))


@pytest.mark.parametrize(
    "name, message",
    [
        (
            "hf-hub:some/nothing",
            "no such repository, or it may not be read without `hf auth login`",
        ),
        ("hf-hub:some/lenet@v9", "hf-hub:some/lenet@v9 cannot be had: there is no such revision"),
        ("hf-hub:a/b/c", "is no 'hf-hub:owner/name@revision'"),
        ("hf-hub:../x", "is no 'hf-hub:owner/name@revision'"),
    ],
)
def test_what_is_not_there(served, name, message):
    with pytest.raises((download.DownloadError, ValueError), match=message):
        zoo.load(name)


def test_repositories_without_the_files(served):
    served.content["/cdn/some/text/notes.json"] = b"{}"
    served.content["/cdn/some/bare/config.json"] = b"{}"
    with pytest.raises(ValueError, match=r"hf-hub:some/text has no config.json.*model="):
        zoo.load("hf-hub:some/text")
    with pytest.raises(download.DownloadError, match="hf-hub:some/bare has no weights: no model.s"):
        zoo.load("hf-hub:some/bare")


def test_a_file_that_is_not_what_the_hub_says(served, tmp_path):
    """Of the same length, so that only its SHA-256 differs; the cache would keep it."""
    zoo.load("hf-hub:some/lenet")
    (path,) = (tmp_path / "hub").rglob("model.safetensors")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.resolve().write_bytes(content)
    with pytest.raises(download.DownloadError, match="is damaged: its SHA-256.*Remove"):
        zoo.load("hf-hub:some/lenet")


def test_weights_in_several_files(served):
    variables = variables_of("lenet5")
    del served.content[LENET]
    arrays = traverse_util.flatten_dict(variables, sep="/")
    parts: dict[str, dict] = {}
    for number, (name, array) in enumerate(arrays.items()):
        file = f"model-{number % 2}.safetensors"
        parts.setdefault(file, {})[name] = array
    for file, tensors in parts.items():
        served.content[f"/cdn/some/lenet/{file}"] = save(tensors)
    index = {"weight_map": {name: file for file, tensors in parts.items() for name in tensors}}
    served.content["/cdn/some/lenet/model.safetensors.index.json"] = json.dumps(index).encode()
    loaded = zoo.load("hf-hub:some/lenet")
    jax.tree.map(np.testing.assert_array_equal, loaded.variables, variables)


def test_the_package_is_asked_for(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(download.DownloadError, match=r"pip install 'flax-zoo\[hub\]'"):
        zoo.load("hf-hub:some/lenet")


def test_its_environment_variables_count(served, tmp_path):
    """In a process of its own, as the package reads them when it is imported."""
    code = f"""
import sys, types
sys.modules["zoo"] = types.ModuleType("zoo")  # without JAX, which takes seconds to import
sys.modules["zoo"].__path__ = [{os.path.dirname(zoo.__file__)!r}]
from zoo.weights import hub
print(hub.fetch("some/lenet", "model.safetensors"))
"""
    variables = {"HF_ENDPOINT": served.url, "HF_HOME": str(tmp_path / "home"), "HF_TOKEN": "secret"}
    environment = os.environ | variables | {"HF_HUB_OFFLINE": "0"}
    command = [sys.executable, "-c", code]
    output = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    path = output.stdout.strip()
    assert path.startswith(str(tmp_path / "home/hub/models--some--lenet"))
    offline = environment | {"HF_HUB_OFFLINE": "1"}
    assert subprocess.check_output(command, env=offline, text=True).strip() == path
