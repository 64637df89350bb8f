"""Every recipe builds, runs a few steps on tiny data, and no key is there for nothing."""

import re
from pathlib import Path

import pytest
from ml_collections.config_flags.config_flags import _LoadConfigModule as load_module

from configs import base
from train.report import flat

FOLDER = Path(base.__file__).parent
RECIPES = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem not in ("__init__", "base"))


def get_config(name, argument=""):
    return load_module(name, str(FOLDER / f"{name}.py")).get_config(argument)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_has_the_schemas_keys(name):
    config = get_config(name)
    own = {key for key in flat(config.to_dict()) if not key.startswith("optimizer.options")}
    schema = {key for key in flat(base.get_config().to_dict())}
    assert own == schema
    with pytest.raises((AttributeError, KeyError)):
        config.batchsize = 3
    with pytest.raises((AttributeError, KeyError)):
        config.model.nam = "mlp"


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_tells_its_story(name):
    story = load_module(name, str(FOLDER / f"{name}.py")).__doc__
    assert re.search(rf"Command +python -m train --config=configs/{name}.py", story)
    assert re.search(r"Hardware +\S", story) and re.search(r"Ours +(not yet run|verified)", story)


def test_other_arguments_are_refused():
    with pytest.raises(ValueError, match="no argument 'smok'"):
        get_config("lenet", "smok")


@pytest.fixture(scope="module")
def keys_read():
    return set()


@pytest.mark.parametrize("name", RECIPES)
def test_smoke(name, tmp_path_factory, keys_read, monkeypatch):
    config = get_config(name, "smoke")
    config.compile_cache = ""
    _note_reads(config, keys_read, monkeypatch)
    line = train_and_evaluate(config, tmp_path_factory.mktemp(name))
    assert line["step"] == 3 and line["examples"] == 5


def test_every_key_is_read_by_a_recipe(keys_read):
    """Runs behind the smoke runs, and counts what they looked at."""
    schema = flat(base.get_config().to_dict())
    # Keys of features that a shipped recipe has no use for on one host.
    unused = {"hosts.count", "hosts.index", "hosts.timeout", "optimizer.weight_decay_exclude"}
    assert schema.keys() - keys_read - unused == set()


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
