"""Every recipe builds, runs a few steps on tiny data, and no key is there for nothing."""

import re
import runpy
from pathlib import Path

import jax
import pytest
from ml_collections import ConfigDict

from configs import base
from train import hosts
from train.loop import train_and_evaluate
from train.report import flat

FOLDER = Path(base.__file__).parent
RECIPES = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem not in ("__init__", "base"))


def module(name):
    return runpy.run_path(str(FOLDER / f"{name}.py"))


def get_config(name, argument=""):
    return module(name)["get_config"](argument)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_has_the_schemas_keys(name):
    config = get_config(name)
    own = {key for key in flat(config.to_dict()) if ".options" not in key}
    schema = {key for key in flat(base.get_config().to_dict())}
    assert own == schema
    with pytest.raises((AttributeError, KeyError)):
        config.batchsize = 3
    with pytest.raises((AttributeError, KeyError)):
        config.model.nam = "mlp"


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_tells_its_story(name):
    story = module(name)["__doc__"]
    assert re.search(rf"Command +python -m train --config=configs/{name}.py", story)
    assert re.search(r"Hardware +\S", story) and re.search(r"Ours +(not yet run|verified)", story)


def test_other_arguments_are_refused():
    with pytest.raises(ValueError, match="no argument 'smok'"):
        get_config("lenet", "smok")


@pytest.fixture(scope="module")
def keys_read():
    return set()


@pytest.mark.parametrize("name", RECIPES)
def test_smoke(name, tmp_path_factory, keys_read, monkeypatch, quick_compilation):
    config = get_config(name, "smoke")
    config.compile_cache = ""
    _note_reads(config, keys_read, monkeypatch)
    line = train_and_evaluate(config, tmp_path_factory.mktemp(name))
    assert line["step"] == 3 and line["examples"] == 5


def test_every_key_is_read(keys_read, monkeypatch):
    """Runs behind the smoke runs, and counts what they looked at."""
    config = get_config("lenet")
    config.hosts.coordinator = "elsewhere:1234"
    _note_reads(config, keys_read, monkeypatch)
    monkeypatch.setattr(jax.distributed, "initialize", lambda **_: None)
    hosts.join(config.hosts)
    assert flat(base.get_config().to_dict()).keys() - keys_read == set()


def _note_reads(config, keys_read, monkeypatch):
    """Adds the dotted name of each key that is read as an attribute of the config."""
    names = {id(config): ""}
    for key, value in config.items():
        if isinstance(value, ConfigDict):
            names[id(value)] = f"{key}."
    plain = ConfigDict.__getattr__

    def noting(self, attribute):
        if id(self) in names:
            keys_read.add(names[id(self)] + attribute)
        return plain(self, attribute)

    monkeypatch.setattr(ConfigDict, "__getattr__", noting)
