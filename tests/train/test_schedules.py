"""What the keys of a recipe's schedule mean, beside the goldens."""

import jax.numpy as jnp
import numpy as np
import pytest

from configs import base
from train.durations import Intervals
from train.errors import TrainError
from train.schedules import make_schedule, rates

pytestmark = pytest.mark.quick


def schedule_of(steps=100, examples=100, **section):
    config = base.get_config()
    config.batch_size = 10
    config.duration = f"{steps} steps"
    with config.unlocked():
        config.schedule.update(section)
    return make_schedule(config, Intervals.from_config(config, examples))


def test_an_epoch_has_one_rate_though_it_begins_within_a_batch():
    schedule = schedule_of(steps=20, examples=25, name="cosine", per="epoch")
    found = np.array([schedule(step) for step in range(20)])
    epochs = np.arange(20) * 10 // 25
    expected = 0.05 * (1 + np.cos(np.pi * epochs / 8))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_deit_is_an_epoch_late():
    """Epoch e has the rate of max(0, e - 1): two epochs at the start of the warm-up."""
    common = {"name": "cosine", "per": "epoch", "warmup": "3 epochs", "start": 0.01}
    deit, timm = (schedule_of(convention=convention, **common) for convention in ("deit", "timm"))
    found = [float(deit(10 * epoch)) for epoch in range(10)]
    of_timm = [float(timm(10 * epoch)) for epoch in range(10)]
    assert found == [of_timm[0], *of_timm[:-1]] and found[0] == found[1] == pytest.approx(0.01)
    with pytest.raises(TrainError, match='per="epoch"'):
        schedule_of(convention="deit", warmup="3 epochs")


def test_cool_downs_stay_at_the_end_or_fall_to_it():
    stays = schedule_of(name="linear", end=0.02, cooldown="20 steps")
    np.testing.assert_allclose(
        [stays(t) for t in (0, 40, 80, 99)], [0.1, 0.06, 0.02, 0.02], rtol=1e-5
    )
    falls = schedule_of(name="constant", end=0.02, cooldown="20 steps")
    np.testing.assert_allclose(
        [falls(t) for t in (79, 80, 90, 100)], [0.1, 0.1, 0.06, 0.02], rtol=1e-5
    )


def test_staircases_fall_at_the_right_step_in_float32():
    options = {"factor": 0.5, "every": "2.4 epochs", "staircase": True}  # 750.67 steps of 312.78
    schedule = schedule_of(30_000, 3127.8 * 10 // 10, name="exponential", options=options)
    steps = np.arange(30_000, dtype=np.int32)
    found = rates(schedule, 30_000, 30_000)[1]
    np.testing.assert_allclose(found, 0.1 * 0.5 ** (steps // (2.4 * 312.7)), rtol=1e-5)


def test_restarts_may_be_lower_each_time():
    options = {"first": "2 epochs", "multiply": 2, "decay": 0.5}
    schedule = schedule_of(name="restarts", options=options)
    found = [float(schedule(t)) for t in (0, 10, 20, 40, 60)]
    np.testing.assert_allclose(found, [0.1, 0.05, 0.05, 0.025, 0.025], rtol=1e-5)


@pytest.mark.parametrize(
    "section, message",
    [
        ({"name": "cosin"}, "closest names are .*cosine"),
        ({"name": "exponential"}, "options do not fit exponential: missing .* 'factor'"),
        ({"name": "cosine", "options": {"power": 2}}, "options do not fit cosine: .*'power'"),
        (
            {"name": "plateau", "options": {"patiense": 2}},
            "options do not fit plateau: .*'patiense'",
        ),
        ({"name": "plateau", "options": {"threshold_mode": "x"}}, "threshold_mode='x'"),
        ({"name": "one_cycle", "options": {"anneal": "x"}}, "anneal='x'"),
        ({"name": "restarts", "options": {"first": "0 steps"}}, "first='0 steps'"),
        ({"name": "reciprocal_sqrt", "options": {"timescale": "0 steps"}}, "timescale='0 steps'"),
        ({"name": "exponential", "options": {"factor": 1, "every": "0 steps"}}, "every='0 steps'"),
    ],
)
def test_errors_say_what_there_is(section, message):
    with pytest.raises(TrainError, match=message):
        schedule_of(**section)


def test_rates_of_long_runs_are_thinned():
    steps, values = rates(schedule_of(10_000, name="linear"), 10_000, points=11)
    assert len(steps) == 11 and steps[0] == 0 and steps[-1] == 9999
    np.testing.assert_allclose(values, 0.1 * (1 - steps / 10_000), atol=1e-7)
    assert jnp.ndim(values) == 1
