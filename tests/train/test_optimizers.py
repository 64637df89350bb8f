import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from ml_collections import ConfigDict

from configs import base
from train.durations import Intervals
from train.errors import TrainError
from train.optimizers import diagonal_levenberg_marquardt, make_optimizer, make_schedule

pytestmark = pytest.mark.quick

INTERVALS = Intervals(total=100, log=10, evaluate=10, checkpoint=10, steps_per_epoch=10)
PARAMS = {"conv": {"kernel": jnp.full((2,), 2.0), "bias": jnp.full((2,), 3.0)}}
NO_GRADIENT = jax.tree.map(jnp.zeros_like, PARAMS)


def rates(steps, **schedule):
    config = base.get_config()
    config.batch_size = 10
    config.schedule.update(schedule)
    made = make_schedule(config, INTERVALS)
    return [float(made(step)) for step in steps]


def test_steps_multiply_at_their_boundaries():
    got = rates(
        [0, 29, 30, 59, 60, 99],
        name="steps",
        boundaries=("3 epochs", "60 steps"),
        factors=(0.1, 0.5),
    )
    np.testing.assert_allclose(got, [0.1, 0.1, 0.01, 0.01, 0.005, 0.005], rtol=1e-6)


def test_warmup_then_linear_or_cosine_to_zero():
    linear = rates([0, 5, 10, 55, 100], name="linear", warmup="1 epoch")
    np.testing.assert_allclose(linear, [0, 0.05, 0.1, 0.05, 0], atol=1e-7)
    cosine = rates([0, 5, 10, 55, 100], name="cosine", warmup="1 epoch")
    np.testing.assert_allclose(cosine, [0, 0.05, 0.1, 0.05, 0], atol=1e-7)


def test_schedules_may_start_and_end_above_zero():
    for name in ("linear", "cosine"):
        ends = rates([0, 10, 100], name=name, warmup="1 epoch", start=0.01, end=0.02)
        np.testing.assert_allclose(ends, [0.01, 0.1, 0.02], atol=1e-7)


def test_boundaries_count_from_the_start_also_after_a_warmup():
    got = rates(
        [9, 29, 30], name="steps", warmup="1 epoch", boundaries=("30 steps",), factors=(0.1,)
    )
    np.testing.assert_allclose(got, [0.09, 0.1, 0.01], rtol=1e-5)


@pytest.mark.parametrize(
    "schedule", [{"name": "cosin"}, {"name": "steps", "boundaries": ("1 epoch",)}]
)
def test_bad_schedules_are_refused(schedule):
    with pytest.raises(TrainError):
        rates([0], **schedule)


def updates(gradients=NO_GRADIENT, **settings):
    config = base.get_config().optimizer
    with config.unlocked():
        config.update(settings)
    optimizer = make_optimizer(config, optax.constant_schedule(0.1))
    return optimizer.update(gradients, optimizer.init(PARAMS), PARAMS)[0]["conv"]


def test_sgd_decays_by_l2_except_where_excluded():
    got = updates(weight_decay=0.5, weight_decay_exclude="bias$")
    np.testing.assert_allclose(got["kernel"], -0.1 * 0.5 * 2.0 * np.ones(2), rtol=1e-6)
    np.testing.assert_allclose(got["bias"], 0)


def test_adamw_decays_apart_from_the_gradient():
    got = updates(name="adamw", weight_decay=0.5, weight_decay_exclude="bias$")
    np.testing.assert_allclose(got["kernel"], -0.1 * 0.5 * 2.0 * np.ones(2), rtol=1e-6)
    np.testing.assert_allclose(got["bias"], 0)


def test_gradients_are_clipped_to_their_norm():
    gradients = jax.tree.map(lambda x: jnp.full_like(x, 5.0), PARAMS)  # norm 10
    got = updates(gradients, clip_norm=1.0)
    np.testing.assert_allclose(got["kernel"], -0.1 * 0.5 * np.ones(2), rtol=1e-5)


def test_unknown_names_and_options_are_refused():
    with pytest.raises(TrainError, match="closest names are .*sgd"):
        updates(name="sdg")
    with pytest.raises(TrainError, match="momentun"):
        updates(options=ConfigDict({"momentun": 0.9}))


def test_diagonal_levenberg_marquardt_divides_by_the_mean_square():
    optimizer = diagonal_levenberg_marquardt(0.1, mu=0.02, memory=0.25)
    params, state = jnp.zeros(2), optimizer.init(jnp.zeros(2))
    gradients = np.random.RandomState(0).normal(size=(3, 2)) * [1, 10]
    for step, gradient in enumerate(gradients):  # the first few are a plain mean
        update, state = optimizer.update(jnp.asarray(gradient), state, params)
        curvature = (gradients[: step + 1] ** 2).mean(0)
        np.testing.assert_allclose(update, -0.1 * gradient / (0.02 + curvature), rtol=1e-5)
