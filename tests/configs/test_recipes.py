"""Every recipe builds, runs a few steps on tiny data, and no key is there for nothing."""

import dataclasses
import importlib
import json
import re
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from ml_collections import ConfigDict

import configs
import zoo
from configs import base
from configs.keys import current_keys, flat
from input_pipeline.parts import part_of
from train import hosts
from train.build import make_model, make_task, state_shapes
from train.check import check_values
from train.data import open_data
from train.durations import Intervals
from train.initial import InitialWeights
from train.loop import train_and_evaluate
from train.progressive import stage_configs
from train.sharding import make_mesh
from train.step import train_step
from zoo import registry

RECIPES = configs.names()


def module(name):
    return importlib.import_module(f"configs.{name}")


def variants(name):
    """The arguments of a recipe but "smoke"; "" alone where it takes no other."""
    return list(getattr(module(name), "VARIANTS", [""]))


CASES = [(name, variant) for name in RECIPES for variant in variants(name)]


def get_config(name, argument=""):
    return module(name).get_config(argument)


def smoke(name, variant=""):
    return get_config(name, f"{variant},smoke" if variant else "smoke")


@pytest.mark.quick
@pytest.mark.parametrize(("name", "variant"), CASES)
def test_a_recipe_has_the_schemas_keys(name, variant):
    schema = set(flat(base.get_config().to_dict()))
    for config in (get_config(name, variant), smoke(name, variant)):
        own = {key for key in flat(config.to_dict()) if "options." not in key}
        free = {key for key in schema if key.endswith("options")}  # seen only while they are empty
        assert own | free == schema | free
        with pytest.raises((AttributeError, KeyError)):
            config.batchsize = 3
        with pytest.raises((AttributeError, KeyError)):
            config.model.nam = "mlp"
        check_values(config)


@pytest.mark.quick
@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_tells_its_story(name):
    story = module(name).__doc__
    assert re.search(rf"Command +python -m train --config=configs/{name}.py", story)
    assert re.search(r"Hardware +\S", story) and re.search(r"Ours +(not yet run|verified)", story)
    assert re.search(r"Published +\S", story) and re.search(r"Paper +\S", story)


# What a published recipe states, in its own file or in that of the recipe it differs from.
STATED = (
    *("name", "batch_size", "duration", "crop", "flip", "label_smoothing", "weight_decay"),
    *("learning_rate", "warmup", "interpolation"),
)
OURS = (
    *("finetune", "lenet", "lenet5_1998", "lenet_augmented", "mlp", "resnet20_fashion"),
    *("transfer_big_vision", "transfer_vtab"),
)


@pytest.mark.parametrize(("name", "variant"), [case for case in CASES if case[0] not in OURS])
def test_a_recipe_states_its_constants(name, variant, monkeypatch):
    """Also those that are the schema's defaults: what is left out is not known."""
    plain, stated = ConfigDict.__setitem__, set()

    def noting(self, key, value):
        if self.is_locked:
            stated.add(key)
        plain(self, key, value)

    monkeypatch.setattr(ConfigDict, "__setitem__", noting)
    get_config(name, variant)
    assert set(STATED) <= stated


def test_all_families_have_a_recipe():
    trained = {zoo.info(get_config(*case).model.name).family for case in CASES}
    assert trained == {zoo.info(name).family for name in zoo.list_models()}


def test_variants():
    assert base.variant("", ("b0", "b7")) == ("b0", "")
    assert base.variant("smoke", ("b0", "b7")) == ("b0", "smoke")
    assert base.variant("b7", ("b0", "b7")) == ("b7", "")
    assert base.variant("b7,smoke", ("b0", "b7")) == ("b7", "smoke")
    with pytest.raises(ValueError, match="no argument 'b8': its variants are b0, b7"):
        base.variant("b8", ("b0", "b7"))
    with pytest.raises(ValueError, match="no argument 'smok'"):
        get_config("efficientnet_b0", "b7,smok")


OLD = json.loads((Path(__file__).parent / "recipes_of_26d6474.json").read_text())
AS_IT_WAS = {"lenet": "", "lenet5_1998": "", "resnet50": "torchvision_v1"}
MOVED = {"augment.shift", "augment.crop", "augment.padding"}  # a shift is a padded crop now


@pytest.mark.parametrize("name", AS_IT_WAS)
def test_values_are_those_of_version_0_1(name):
    """Of recipes that have not become another one since: only keys were added."""
    expected = current_keys(flat(OLD[name]))
    younger = flat(json.loads(base.get_config().to_json()))  # keys that version 0.1 did not have
    config = flat(json.loads(json.dumps(get_config(name, AS_IT_WAS[name]).to_dict())))
    different = {key for key in expected if config.get(key) != expected[key]} - MOVED
    assert not different
    assert not {key for key in config.keys() - expected if config[key] != younger.get(key)} - MOVED


@pytest.mark.parametrize("name", ["transfer_big_vision", "transfer_vtab"])
def test_the_data_set_of_a_transfer_is_its_argument(name):
    tasks = module(name).TASKS
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
    tasks = module("transfer_vtab").TASKS
    for task, count in of_train.items():
        name, bounds = part_of(tasks[task][1])
        start, stop = bounds(count)
        assert name == "train" and start == int(shares[task] * count) and stop == start + 200


def test_other_arguments_are_refused():
    with pytest.raises(ValueError, match="no argument 'smok'"):
        get_config("lenet", "smok")


class StandIn(nn.Module):
    """Logits of a small network with layers of every name that expressions of recipes look for."""

    num_classes: int
    auxiliary: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, images, *, train=False):
        x = nn.Conv(4, (3, 3), 8, name="stem_conv", dtype=self.dtype)(images)
        x = nn.BatchNorm(not train, name="stem_norm", dtype=self.dtype)(x).mean((1, 2))
        x = x + self.param("pos_embed", nn.initializers.zeros, (1, 4))
        for i in range(1, self.auxiliary + 1):
            self.sow("intermediates", f"aux{i}", nn.Dense(self.num_classes, name=f"aux_head{i}")(x))
        return nn.Dense(self.num_classes, name="head")(x).astype(jnp.float32)


def kind_of_augmentation(config):
    augment, mix = config.augment, config.mix
    on = [bool(np.any(augment[key])) for key in ("flip", "lighting", "color_jitter", "erasing")]
    policy = re.sub(r"[\d.]+", "", augment.policy)
    mixing = [bool(mix.mixup), bool(mix.cutmix)]
    mixing += [mix.mode, mix.convention] if any(mixing) else []
    return policy, *on, augment.padding_mode if augment.crop == "padded" else "", *mixing


def kind_of_update(config):
    optimizer, schedule = config.optimizer, config.schedule
    return (
        *(config.loss.name, bool(config.loss.label_smoothing), len(config.loss.auxiliary_weights)),
        *(optimizer.name, *optimizer.options, bool(optimizer.weight_decay)),
        *(optimizer.weight_decay_exclude_1d, bool(optimizer.clip_norm), optimizer.accumulate),
        *(schedule.name, schedule.per, schedule.convention, schedule.cooldown),
        *(bool(config.ema.decay), config.ema.convention, config.ema.batch_stats),
    )


@pytest.mark.full
def test_every_recipe_makes_a_step():
    """All parts of all recipes are built. What they do is traced, once for recipes that differ in
    numbers alone: the augmentation, and an update of a small network without it."""
    traced, mesh = set(), make_mesh(1, 1)
    for case in CASES:
        config = smoke(*case)
        config.optimizer.layer_decay = 1.0  # by the layers of one network
        data, intervals = data_and_intervals(config)
        task = make_task(config, data, intervals, mesh)
        images = jax.ShapeDtypeStruct((2, *data.image_shape), jnp.uint8)
        labels = jax.ShapeDtypeStruct((2,), jnp.int32)
        if (of_augmentation := kind_of_augmentation(config)) not in traced:
            pixels, targets = jax.eval_shape(partial(augmented, task), images, labels)
            assert pixels.shape[:3] == images.shape[:3] and len(targets.shape) == 1 + bool(task.mix)
        if (of_update := kind_of_update(config)) not in traced:
            model = StandIn(data.num_classes, len(config.loss.auxiliary_weights))
            plain = lambda key, images, normalize=data.normalize, **_: normalize(images)  # noqa: E731
            task = dataclasses.replace(task, model=model, augment=plain, mix=None)
            batch = {"image": images, "label": labels}
            _, metrics = jax.eval_shape(partial(train_step, task), state_shapes(task), batch)
            assert metrics["loss"].shape == ()
        traced |= {of_augmentation, of_update}


def augmented(task, images, labels):
    key, step = jax.random.key(0), jnp.zeros((), jnp.int32)
    pixels = task.augment(key, images)
    return task.mix(key, pixels, labels, step) if task.mix else (pixels, labels)


@pytest.mark.full
@pytest.mark.parametrize(("name", "variant"), CASES)
def test_expressions_match(name, variant):
    """What a recipe exempts from weight decay, freezes or multiplies is there in its network."""
    config = smoke(name, variant)
    info = zoo.info(config.model.name)
    options = {key: value for key, value in config.model.options.items()}
    params = registry.abstract_variables(config.model.name, **options)["params"]
    paths = flat(params)
    optimizer = config.optimizer
    expressions = [optimizer.weight_decay_exclude, *(each for each, _ in optimizer.multipliers)]
    for expression in filter(None, expressions):
        found = [path for path in paths if re.search(expression, path.replace(".", "/"))]
        assert found, (expression, info.name)


@pytest.fixture
def quick_steps(monkeypatch):
    """The programs of a run compile quickly: they run three times. Those that draw the weights, few
    and with much to do, are optimized."""
    options = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
    plain = jax.stages.Lowered.compile
    monkeypatch.setattr(jax.stages.Lowered, "compile", lambda program: plain(program, options))


def small(config):
    """The recipe on the smallest images that its network takes."""
    model = make_model(config.model, 10)
    channels = zoo.info(config.model.name).channels
    for size in (32, 64, 96, 112):
        images = jax.ShapeDtypeStruct((1, size, size, channels), jnp.float32)
        try:
            jax.eval_shape(model.init, jax.eval_shape(lambda: jax.random.key(0)), images)
        except (ValueError, TypeError, ZeroDivisionError):
            continue
        config.data.image_size = size
        config.eval.image_size = 0
        if config.progressive.image_size:
            config.progressive.image_size = (size,) * config.progressive.stages
        return config
    return config


# The first variant of each recipe makes steps, and those that have other parts than others. Whose
# programs compile quickly is run by default; the others behind `-m full`.
STEPS = [(name, variants(name)[0]) for name in RECIPES] + [
    *(("resnet50", variant) for variant in ("torchvision_v2", "a1", "drop_block")),
    *(("deit_s", variant) for variant in ("distilled", "iii")),
    *(("vit_b_16", variant) for variant in ("augreg", "torchvision")),
    *(("resnet20_cifar", "stochastic_depth"), ("mobilenet_v3_large", "timm")),
    *(("efficientnet_v2_s", "m"), ("finetune", "transformer"), ("googlenet", "paper")),
]
SMOKE = {"lenet": [pytest.mark.quick]}


@pytest.mark.parametrize(
    ("name", "variant"),
    [pytest.param(*case, marks=SMOKE.get(case[0], pytest.mark.full)) for case in STEPS],
)
def test_smoke(name, variant, tmp_path_factory, quick_steps):
    config = smoke(name, variant)
    if zoo.info(config.model.name).image_size > 64:
        config = small(config)
    config.compile_cache = ""
    line = train_and_evaluate(config, tmp_path_factory.mktemp(name))
    assert line["step"] == 3 and line["examples"] == 5


def data_and_intervals(config):
    data = open_data(config)
    return data, Intervals.from_config(config, data.examples_per_epoch)


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
    config.augment.policy, config.mix.mixup = "randaugment", 0.2  # of which a run reads the rest
    make_task(config, *data_and_intervals(config), make_mesh(1, 1))
    config = recipes[RECIPES.index("lenet")]
    config.compile_cache, config.data.on_device = "", "no"  # only a loader reads data.workers
    train_and_evaluate(config, tmp_path)
    config.init.weights = str(tmp_path)
    initial = InitialWeights(tmp_path / "next", config)
    task = make_task(config, *data_and_intervals(config), make_mesh(1, 1))
    assert initial.variables(state_shapes(task)).keys() == {"params"}
    config.distillation.teacher, config.swa.start = str(tmp_path), "1 epoch"
    config.optimizer.clip_agc = 0.01
    make_task(config, *data_and_intervals(config), make_mesh(1, 1))
    config.progressive.stages, config.progressive.image_size = 2, (28, 32)
    config.progressive.changes = (("loss.label_smoothing", (0.0, 0.1)),)
    assert [part.data.image_size for part in stage_configs(config)] == [28, 32]
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
