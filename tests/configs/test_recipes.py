"""Every recipe builds, runs a few steps on tiny data, and no key is there for nothing."""

import json
import re
import runpy
from pathlib import Path

import jax
import pytest
from ml_collections import ConfigDict

import configs
from configs import base
from configs.keys import current_keys, flat
from input_pipeline.parts import part_of
from train import hosts
from train.build import make_task, state_shapes
from train.data import open_data
from train.durations import Intervals
from train.initial import InitialWeights
from train.loop import train_and_evaluate
from train.sharding import make_mesh

RECIPES = configs.names()


def module(name):
    return runpy.run_path(str(configs.FOLDER / f"{name}.py"))


def get_config(name, argument=""):
    return module(name)["get_config"](argument)


@pytest.mark.quick
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


@pytest.mark.quick
@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_tells_its_story(name):
    story = module(name)["__doc__"]
    assert re.search(rf"Command +python -m train --config=configs/{name}.py", story)
    assert re.search(r"Hardware +\S", story) and re.search(r"Ours +(not yet run|verified)", story)


OLD = json.loads((Path(__file__).parent / "recipes_of_26d6474.json").read_text())


@pytest.mark.parametrize("name", [name for name in RECIPES if name in OLD])
@pytest.mark.parametrize("argument", ["", "smoke"])
def test_values_are_those_of_version_0_1(name, argument):
    """Recipes are written by their differences; what they add up to may not change."""
    expected = current_keys(flat(OLD[f"{name}:{argument}" if argument else name]))
    younger = flat(json.loads(base.get_config().to_json()))  # keys that version 0.1 did not have
    expected = younger | expected
    config = json.loads(json.dumps(get_config(name, argument).to_dict()))
    assert flat(config) == expected


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_states_only_what_differs(name, monkeypatch):
    """No key is set to the value that it has already."""
    plain, redundant = ConfigDict.__setitem__, []

    def noting(self, key, value):
        if self.is_locked and self[key] == value:
            redundant.append(key)
        plain(self, key, value)

    monkeypatch.setattr(ConfigDict, "__setitem__", noting)
    get_config(name)
    assert redundant == []


@pytest.mark.parametrize("name", ["transfer_big_vision", "transfer_vtab"])
def test_the_data_set_of_a_transfer_is_its_argument(name):
    tasks = module(name)["TASKS"]
    for task in tasks:
        config = get_config(name, task)
        assert config.data.name.partition("/")[0] == task and config.init.weights
        for split in (config.data.train_split, config.data.eval_split or "validation"):
            assert all(part_of(part) for part in split.split("+"))
    with pytest.raises(ValueError, match="no argument 'cifar11'"):
        get_config(name, "cifar11")


def test_vtab_trains_on_1000_images():
    """In the order of TFDS: 800 of the training split, 200 where its validation part begins."""
    of_train = {"caltech101": 3060, "oxford_iiit_pet": 3680, "svhn_cropped": 73257}
    shares = {"caltech101": 0.9, "oxford_iiit_pet": 0.8, "svhn_cropped": 0.9}
    tasks = module("transfer_vtab")["TASKS"]
    for task, count in of_train.items():
        name, bounds = part_of(tasks[task][1])
        start, stop = bounds(count)
        assert name == "train" and start == int(shares[task] * count) and stop == start + 200


def test_other_arguments_are_refused():
    with pytest.raises(ValueError, match="no argument 'smok'"):
        get_config("lenet", "smok")


@pytest.fixture
def quick_steps(monkeypatch):
    """The programs of a run compile quickly: they run three times. Those that draw the weights, few
    and with much to do, are optimized."""
    options = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
    plain = jax.stages.Lowered.compile
    monkeypatch.setattr(jax.stages.Lowered, "compile", lambda program: plain(program, options))


# Whose programs compile quickly; the others behind `-m full`.
SMOKE = {"lenet": [pytest.mark.quick]}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=SMOKE.get(name, pytest.mark.full)) for name in RECIPES]
)
def test_smoke(name, tmp_path_factory, quick_steps):
    config = get_config(name, "smoke")
    config.compile_cache = ""
    line = train_and_evaluate(config, tmp_path_factory.mktemp(name))
    assert line["step"] == 3 and line["examples"] == 5


def data_and_intervals(config):
    data = open_data(config)
    return data, Intervals.from_config(config, len(data.train))


def test_every_key_is_read(tmp_path, monkeypatch, quick_compilation):
    """One short run, and for the other recipes what is made before their programs compile."""
    recipes = [get_config(name, "smoke") for name in RECIPES]
    keys_read = _note_reads(recipes, monkeypatch)
    for config in recipes:
        make_task(config, *data_and_intervals(config), make_mesh(1, 1))
    config = recipes[RECIPES.index("lenet5_1998")]
    config.schedule.name = "optax:cosine_decay_schedule"  # only such a one has options
    config.optimizer.clip_agc, config.swa.start = 0.01, "1 steps"  # and those have more keys
    make_task(config, *data_and_intervals(config), make_mesh(1, 1))
    config = recipes[RECIPES.index("lenet")]
    config.compile_cache, config.data.on_device = "", "no"  # only a loader reads data.workers
    train_and_evaluate(config, tmp_path)
    config.init.weights = str(tmp_path)
    initial = InitialWeights(tmp_path / "next", config)
    task = make_task(config, *data_and_intervals(config), make_mesh(1, 1))
    assert initial.variables(state_shapes(task)).keys() == {"params"}
    config.hosts.coordinator = "elsewhere:1234"
    monkeypatch.setattr(jax.distributed, "initialize", lambda **_: None)
    hosts.join(config.hosts)
    assert flat(base.get_config().to_dict()).keys() - keys_read == set()


def _note_reads(recipes, monkeypatch):
    """A set that grows by the dotted name of each key that is read as an attribute of a recipe."""
    keys_read = set()
    names = {id(config): "" for config in recipes}
    for config in recipes:
        sections = {key: part for key, part in config.items() if isinstance(part, ConfigDict)}
        names |= {id(part): f"{key}." for key, part in sections.items()}
    plain = ConfigDict.__getattr__

    def noting(self, attribute):
        if id(self) in names:
            keys_read.add(names[id(self)] + attribute)
        return plain(self, attribute)

    monkeypatch.setattr(ConfigDict, "__getattr__", noting)
    return keys_read
