"""Stages of a run: their recipes, their runners one after the other, and a run that is resumed."""

import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict
from safetensors.numpy import load_file

from configs import base
from train import progressive
from train.check import check_values
from train.errors import TrainError
from train.loop import train_and_evaluate
from train.progressive import ProgressiveRunner, Stage, stages


def recipe(**options):
    config = base.get_config()
    config.model.name = "resnet20_cifar"
    config.model.options = ConfigDict({"depth": 8, "drop_path": 0.0} | options)
    config.data.name = "synthetic:examples=12,classes=3,size=16"
    config.data.train_split, config.data.eval_split = "train", ""
    config.data.workers = 0
    config.data.image_size = 16
    config.augment.crop = "random_resized"
    config.batch_size, config.eval.batch_size = 4, 4
    config.mesh.data, config.mesh.fsdp = 1, 1
    config.duration = "6 steps"
    config.log.every = config.checkpoint.every = "2 steps"
    config.eval.every = "0 steps"
    config.compile_cache = ""
    config.progressive.stages = 3
    config.progressive.image_size = (8, 12, 16)
    config.progressive.changes = (("model.options.drop_path", (0.0, 0.25, 0.5)),)
    return config


@pytest.mark.quick
def test_stages_are_equal_parts_with_recipes_of_their_own():
    parts = stages(recipe(), 10)
    assert [part[:2] for part in parts] == [(0, 3), (3, 7), (7, 10)]
    assert [part.config.data.image_size for part in parts] == [8, 12, 16]
    assert [part.config.model.options.drop_path for part in parts] == [0.0, 0.25, 0.5]
    assert {part.config.eval.image_size for part in parts} == {16}
    assert [part[:2] for part in stages(recipe(), 2)] == [(0, 1), (1, 2)]  # none is empty


@pytest.mark.quick
def test_one_stage_is_the_recipe():
    config = base.get_config()
    (only,) = stages(config, 5)
    assert only == Stage(0, 5, config)


@pytest.mark.quick
@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("image_size", (8, 16), "progressive.image_size: there are 2 values and 3 stages"),
        (
            "changes",
            (("mix.mixup", (0.1,)),),
            "changes, mix.mixup: there are 1 values and 3 stages",
        ),
        ("changes", (("batch_size", (2, 4, 8)),), "batch_size cannot change from stage to stage"),
        (
            "changes",
            (("optimizer.name", ("sgd",) * 3),),
            "keys of augment, mix, loss, model.options",
        ),
    ],
)
def test_what_does_not_fit_is_told(key, value, message):
    config = recipe()
    config.progressive[key] = value
    with pytest.raises(TrainError, match=message):
        stages(config, 6)


@pytest.mark.quick
@pytest.mark.parametrize(
    ("key", "value"), [("stages", 0), ("image_size", (0, 1, 2)), ("changes", (("a", ()),))]
)
def test_values_are_checked(key, value):
    config = recipe()
    config.progressive[key] = value
    with pytest.raises(TrainError, match=f"progressive.{key}"):
        check_values(config)


@pytest.mark.quick
def test_values_of_all_stages_are_checked_before_data_are_opened(tmp_path):
    config = recipe()
    config.progressive.changes = (("augment.area", ((0.1, 1.0), (0.1, 1.0), (0.1, 2.0))),)
    with pytest.raises(TrainError, match=r"augment.area=\(0.1, 2.0\): it has to be"):
        train_and_evaluate(config, tmp_path)


class Steps:
    """A runner that notes the steps it is asked for; the state is a list of them."""

    skipped = 1

    def __init__(self, stage):
        self.stage = stage

    def train(self, state, start, stop):
        total = 0.0
        for step in range(start + 1, stop + 1):
            assert self.stage.start < step <= self.stage.stop
            total += step
            state = [*state, (self.stage.start, step)]
            yield state, {"loss": jnp.asarray(total)}, step

    def evaluate(self, state, check):
        return {"stage": self.stage.start}


@pytest.mark.quick
def test_runners_follow_each_other():
    parts = [Stage(0, 3, None), Stage(3, 5, None), Stage(5, 8, None)]
    runner = ProgressiveRunner(parts, Steps, 0)
    updates = list(runner.train([], 0, 2)) + list(runner.train([], 2, 8))
    assert [step for _, _, step in updates] == list(range(1, 9))
    assert [begun for begun, _ in updates[-1][0]] == [0, 3, 3, 5, 5, 5]
    assert float(updates[-1][1]["loss"]) == sum(range(3, 9))  # since the start of the call
    assert runner.evaluate(None, None) == {"stage": 5} and runner.skipped == 3


@pytest.mark.quick
@pytest.mark.parametrize(("start", "stage"), [(0, 0), (2, 0), (3, 3), (7, 5), (8, 5)])
def test_a_run_begins_in_the_stage_of_its_step(start, stage):
    parts = [Stage(0, 3, None), Stage(3, 5, None), Stage(5, 8, None)]
    assert ProgressiveRunner(parts, Steps, start).evaluate(None, None) == {"stage": stage}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
    train_and_evaluate(recipe(), folder)
    return load_file(folder / "model.safetensors")


@pytest.mark.full
@pytest.mark.parametrize("steps", [pytest.param(2, marks=pytest.mark.full), 3])
def test_a_run_resumes_bit_for_bit(steps, uninterrupted, tmp_path, monkeypatch):
    """It ends at the end of a stage, or within one, and goes on from the checkpoint before."""
    plain = progressive.ProgressiveRunner.train

    def ending(self, state, start, stop):
        for update in plain(self, state, start, stop):
            yield update
            if update[2] == steps:
                raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(progressive.ProgressiveRunner, "train", ending)
        with pytest.raises(KeyboardInterrupt):
            train_and_evaluate(recipe(), tmp_path)
    train_and_evaluate(recipe(), tmp_path)
    resumed = load_file(tmp_path / "model.safetensors")
    assert resumed.keys() == uninterrupted.keys()
    for name in resumed:
        np.testing.assert_array_equal(resumed[name], uninterrupted[name], err_msg=name)


def test_parameters_must_not_depend_on_the_size(tmp_path):
    config = recipe()
    config.model.name = "deit_ti"
    config.model.options = ConfigDict({"depth": 1, "width": 16, "num_heads": 1})
    config.progressive.changes = ()
    config.progressive.image_size = (16, 32, 16)
    with pytest.raises(TrainError, match="parameters of deit_ti depend on the size of the images"):
        train_and_evaluate(config, tmp_path)
