"""Values that cannot be are told at the start, each in a sentence that names its key."""

import importlib
import math

import pytest

import configs
from configs import base
from train.check import RULES, check_model, check_values
from train.errors import TrainError
from train.overrides import take_out

pytestmark = pytest.mark.quick

WRONG = {
    "seed": [-1, 2**32, 0.5],
    "batch_size": [0, -1, math.inf],
    "duration": ["0 epochs", "0 steps", "-1 epochs", "ten", "10", "1e3 steps", ""],
    "batch_norm": ["local"],
    "model.num_classes": [-1],
    "init.skip": ["(["],
    "data.dir": ["gs://bucket/data", "s3://bucket"],
    "data.manual_dir": ["gs://bucket"],
    "data.name": ["folder:gs://bucket/photos"],
    "data.image_size": [-1],
    "data.max_pixels": [0, 2.5],
    "data.class_order": ["by size"],
    "data.held_out": [0.0, 1.0, 2.0],
    "data.split_seed": [-1],
    "data.on_device": ["maybe"],
    "data.workers": [-2],
    "data.unreadable": ["ignore"],
    "augment.crop": ["middle"],
    "augment.padding": [-1],
    "augment.padding_mode": ["wrap"],
    "augment.area": [(0.0, 1.0), (0.5, 0.1), (0.5, 1.5), (0.1,), ()],
    "augment.ratio": [(0.0, 1.0), (2.0, 1.0), (1.0, math.inf)],
    "augment.resize": [(0, 10), (20, 10)],
    "augment.interpolation": ["sinc"],
    "augment.color_jitter": [(0.1, 0.1, 0.1), (-0.1, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 0.6)],
    "augment.representation": ["grey", "hsv+"],
    "augment.erasing": [-0.1, 1.5],
    "augment.erasing_mode": ["noise"],
    "augment.erasing_count": [0],
    "augment.erasing_area": [(0.0, 0.3), (0.3, 0.1), (0.1, 1.0)],
    "augment.erasing_aspect": [(0.0, 1.0), (2.0, 1.0)],
    "augment.repeats": [0, 1.5],
    "augment.views": [0],
    "mix.mixup": [-0.1],
    "mix.cutmix": [-0.1],
    "mix.switch_probability": [1.1],
    "mix.probability": [-0.1],
    "mix.mode": ["image"],
    "mix.convention": ["keras"],
    "mix.group": [-1],
    "mix.off_after": ["270"],
    "augment.lighting": [-0.1, math.nan],
    "augment.operations": ["json:dumps", ("noise",), (3,)],
    "augment.host_operations": [("a b:f",)],
    "init.zeros": ["(["],
    "eval.metrics": ["json:dumps", (3,)],
    "eval.callbacks": [("write",)],
    "checkpoint.best": ["top 1", "--loss"],
    "loss.label_smoothing": [-0.1, 1.0, 1.5, math.nan],
    "loss.auxiliary_weights": [(-1.0,), (math.inf,)],
    "loss.reject_class_logit": [math.nan, math.inf],
    "optimizer.weight_decay": [-1e-4, math.inf],
    "optimizer.weight_decay_exclude": ["([", "*"],
    "optimizer.clip_norm": [-1.0],
    "optimizer.clip_value": [-1.0],
    "optimizer.clip_agc": [-1.0],
    "optimizer.clip_agc_eps": [0.0],
    "optimizer.accumulate": [0, 1.5],
    "optimizer.sam_radius": [-0.1],
    "optimizer.freeze": ["(["],
    "optimizer.layer_decay": [0.0, 1.5, math.nan],
    "optimizer.multipliers": [("head", 1.0), (("^head",),), (("([", 1.0),), (("head", -1.0),)],
    "schedule.learning_rate": [0.0, -0.1, math.nan, math.inf],
    "schedule.per": ["day"],
    "schedule.warmup": ["5", "-1 steps"],
    "schedule.cooldown": ["5", "-1 steps"],
    "schedule.convention": ["torch"],
    "schedule.start": [-0.1],
    "schedule.end": [-0.1],
    "schedule.boundaries": [("30",)],
    "schedule.factors": [(-0.1,)],
    "ema.decay": [-0.1, 1.0, 2.0],
    "ema.convention": ["keras"],
    "ema.every": ["5"],
    "ema.start": ["5"],
    "swa.start": ["5"],
    "swa.every": [""],
    "batch_norm_images": [-1],
    "eval.every": ["often"],
    "eval.batch_size": [-1],
    "eval.crop": [2.0, -1.0, math.nan],
    "eval.views": ["dense", "all"],
    "eval.average": ["medians"],
    "eval.image_size": [-1],
    "distillation.kind": ["cold"],
    "distillation.alpha": [-0.1, 1.1, math.nan],
    "distillation.temperature": [0.0, -1.0, math.inf],
    "eval.interpolation": ["none"],
    "log.every": ["100"],
    "checkpoint.every": [""],
    "checkpoint.keep": [-1, 0, 1],
    "signals.stop": [("TERM",), ("SIGNOTHING",)],
    "signals.save": [("SIGKILL",), ("SIGSTOP",), ("__doc__",), "SIGTERM"],
    "mesh.data": [-1],
    "mesh.fsdp": [0],
    "hosts.count": [0],
    "hosts.index": [-1],
    "hosts.timeout": [0],
    "progressive.changes": [("mix.mixup", (0.0, 0.2)), ((1, (2, 3)),)],
    "progressive.image_size": [(0, 32), (31.5, 32)],
    "progressive.stages": [0],
}
CASES = [(key, value) for key, values in WRONG.items() for value in values]


def with_value(key, value):
    config = base.get_config()
    with config.ignore_type():
        config.update_from_flattened_dict({key: value})
    return config


@pytest.mark.parametrize(("key", "value"), CASES)
def test_a_value_that_cannot_be(key, value):
    with pytest.raises(TrainError, match=rf"^{key}=.*it has to be .*\.$"):
        check_values(with_value(key, value))


def test_every_rule_has_a_case_and_every_case_a_rule():
    assert set(WRONG) == set(RULES)


def test_all_wrong_values_are_told_at_once():
    config = with_value("seed", -1)
    config.checkpoint.keep = -1
    with pytest.raises(TrainError, match="(?s)checkpoint.keep=-1.*seed=-1"):
        check_values(config)


@pytest.mark.parametrize("name", configs.names())
def test_recipes_pass(name):
    check_values(importlib.import_module(f"configs.{name}").get_config())


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("model.name", "lenet6", "no model 'lenet6'.*lenet5"),
        ("model.dtype", "bf16", "floating-point type.*not 'bf16'"),
        ("model.options", {"depht": 3}, "no attribute depht"),
        ("optimizer.name", "sdg", "closest names are.*sgd"),
        ("optimizer.options", {"betas": 3}, "optimizer.options do not fit sgd"),
        ("schedule.name", "cosin", "schedule.name='cosin'"),
        ("schedule.boundaries", ("30 epochs",), "one factor for each boundary"),
    ],
)
def test_a_model_that_cannot_be(key, value, message):
    config = base.get_config()
    with config.unlocked(), config.ignore_type():
        section, _, name = key.partition(".")
        setattr(config[section], name, value)
        config.schedule.name = "steps" if key == "schedule.boundaries" else config.schedule.name
    with pytest.raises(TrainError, match=message):
        check_values(config)
        check_model(config)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ema.decay": 0.9, "swa.start": "1 epoch"}, "a run has one average"),
        ({"ema.decay": 0.9, "optimizer.name": "schedule_free_sgd"}, "an average of its own"),
        ({"ema.decay": 0.9, "ema.options": {"use_warmup": True}}, "takes no options"),
        (
            {"ema.decay": 0.9, "ema.convention": "timm", "ema.options": {"warmup": 1}},
            "ema.options.warmup: .* takes use_warmup, warmup_gamma",
        ),
        ({"schedule.name": "plateau", "schedule.options": {"metric": "f1"}}, "metric=f1: .*top1"),
        ({"schedule.convention": "deit"}, 'set schedule.per="epoch"'),
    ],
)
def test_parts_that_do_not_go_together(changes, message):
    config = base.get_config()
    with config.unlocked():
        for key, value in changes.items():
            section, _, name = key.partition(".")
            setattr(config[section], name, value)
    with pytest.raises(TrainError, match=message):
        check_values(config)
        check_model(config)


def test_an_image_size_that_the_model_does_not_take():
    config = with_value("data.image_size", 100)
    config.model.name = "deit_ti"
    with pytest.raises(TrainError, match="data.image_size=100: .*multiples"):
        check_model(config)
    check_model(with_value("data.image_size", 32))


@pytest.mark.parametrize(
    ("arguments", "rest", "taken"),
    [
        (["--config.seed=3"], ["--config.seed=3"], {}),
        (["--config.loss.reject_class_logit", "None"], [], {"loss.reject_class_logit": None}),
        (["--config.seed", "3"], ["--config.seed", "3"], {}),
        (["--config.model.options.drop_path=0.1"], [], {"model.options.drop_path": 0.1}),
        (["--config.optimizer.options.b1", "0.8"], [], {"optimizer.options.b1": 0.8}),
        (["--config.model.options.scan=true"], [], {"model.options.scan": True}),
        (["--config.model.options.depths=(1,2)"], [], {"model.options.depths": (1, 2)}),
        (["--config.model.options.kind=token"], [], {"model.options.kind": "token"}),
        (["--config.loss.x=None"], [], {"loss.x": None}),
        (["train", "--workdir=None"], ["train", "--workdir=None"], {}),
    ],
)
def test_keys_that_a_recipe_need_not_have(arguments, rest, taken):
    assert take_out(arguments) == (rest, taken)
