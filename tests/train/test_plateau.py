"""A rate that falls on plateaus: in whose momentum it is, and that resumed runs know it."""

import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import base
from train.checkpoint import Checkpoints
from train.durations import Intervals
from train.errors import TrainError
from train.optimizers import make_optimizer
from train.plateau import after_evaluation, learning_rate
from train.schedules import make_schedule
from train.sharding import make_mesh, state_shardings

PARAMS = {"a": {"kernel": jnp.ones((2, 2))}, "b": {"kernel": jnp.ones((2, 2))}}


def made(name="sgd", options=None, **settings):
    config = base.get_config()
    config.schedule.name, config.optimizer.name = "plateau", name
    with config.unlocked():
        config.schedule.options = {"factor": 0.5, "patience": 0} | settings
        config.optimizer.options = options or {}
        config.optimizer.freeze = "^b/"
    schedule = make_schedule(config, Intervals.from_config(config, 1280))
    return schedule, make_optimizer(config.optimizer, schedule)


@pytest.mark.quick
def test_the_rate_is_where_the_optimizer_has_it():
    """Caffe's momentum keeps the rate of each gradient: 0.1, then 0.1 momentum + 0.05."""
    for name, second in (("sgd", 0.05 * (1 + 0.5)), ("caffe_sgd", 0.05 + 0.5 * 0.1)):
        schedule, optimizer = made(name, {"momentum": 0.5})
        state = optimizer.init(PARAMS)
        gradients = jax.tree.map(jnp.ones_like, PARAMS)
        first, state = optimizer.update(gradients, state, PARAMS)
        for loss in (1.0, 1.0):
            state = after_evaluation(state, {"loss": loss})
        assert learning_rate(schedule, state, 1) == pytest.approx(0.05)
        update, _ = optimizer.update(gradients, state, PARAMS)
        np.testing.assert_allclose(first["a"]["kernel"], -0.1, rtol=1e-6)
        np.testing.assert_allclose(update["a"]["kernel"], -second, rtol=1e-6)
        np.testing.assert_array_equal(update["b"]["kernel"], 0)


@pytest.mark.quick
def test_a_figure_that_rises_and_one_that_there_is_not():
    schedule, optimizer = made(metric="top1")
    state = optimizer.init(PARAMS)
    for top1, rate in ((0.5, 0.1), (0.6, 0.1), (0.6, 0.05), (0.7, 0.05)):
        state = after_evaluation(state, {"top1": top1})
        assert learning_rate(schedule, state, 1) == pytest.approx(rate)
    with pytest.raises(TrainError, match="metric=top1: the evaluation has no such figure"):
        after_evaluation(state, {"loss": 1.0})


@pytest.mark.quick
def test_a_checkpoint_knows_how_far_the_rate_fell(tmp_path):
    """What it has seen is in the state, so a run that was killed goes on with it."""
    schedule, optimizer = made(patience=1, cooldown=1)
    mesh = make_mesh(1, 1)

    def rates(state, losses):
        for loss in losses:
            state = after_evaluation(state, {"loss": loss})
            yield float(learning_rate(schedule, state, 1)), state

    start = optimizer.init(PARAMS)
    start = jax.tree.map(jax.device_put, start, state_shardings(start, mesh))
    losses = (0.5, 0.6, 0.6, 0.4, 0.5, 0.5, 0.5, 0.5)
    whole = [rate for rate, _ in rates(start, losses)]
    *_, (_, stopped) = rates(start, losses[:3])
    with Checkpoints(tmp_path, keep=2) as checkpoints:
        checkpoints.save(3, stopped)
    shapes = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), start
    )
    with Checkpoints(tmp_path, keep=2) as checkpoints:
        resumed = checkpoints.restore(shapes)
    assert [rate for rate, _ in rates(resumed, losses[3:])] == whole[3:]
    assert len(set(whole)) == 3  # it falls before that checkpoint, and after


PLATEAU = {
    "schedule.name": "plateau",
    "schedule.warmup": "0 steps",
    "schedule.options.factor": 0.5,
    "schedule.options.patience": 0,
    "schedule.options.threshold": 10.0,
    "schedule.options.threshold_mode": "abs",
    "eval.every": "20 steps",
    "log.every": "20 steps",
    "checkpoint.every": "30 steps",
    "optimizer.accumulate": 2,
    "optimizer.sam_radius": 0.05,
    "swa.start": "40 steps",
    "swa.every": "10 steps",
}


@pytest.mark.full
def test_a_resumed_run_has_the_rate_of_one_that_never_stopped(make_run):
    """No evaluation but the first improves by 10, so each halves the rate; with parts and SWA."""
    whole, stopped = (
        make_run(duration="80 steps", **PLATEAU),
        make_run(duration="60 steps", **PLATEAU),
    )
    whole.finish()
    rates = [line["learning_rate"] for line in whole.lines("train")]
    np.testing.assert_allclose(rates, [0.1, 0.1, 0.05, 0.025], rtol=1e-6)
    stopped.finish()
    shutil.rmtree(stopped.workdir / "checkpoints" / "60")  # so that it goes on from 30
    stopped.command += ["--config.duration=80 steps"]
    stopped.finish()
    assert stopped.leaves(80) == whole.leaves(80)
    assert stopped.figures() == whole.figures()
    assert {"raw_loss", "loss"} <= whole.figures()[-1].keys()
