"""Learning rates as functions of the step, by name: the section `schedule` of a recipe.

A schedule is a warm-up from `start` to the peak, a body by its name, and a cool-down. Its time t
is the number of updates (`per="step"`) or of whole epochs (`per="epoch"`); N is the body's length.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict

from train.durations import Intervals
from train.errors import TrainError
from train.functions import find, with_options
from train.momentum import WithMomentum
from train.plateau import Plateau
from train.schedule_bodies import BODIES, Body, plateau_rule
from train.schedule_clock import Clock

# What follows a warm-up, and how it is joined to it.
CONVENTIONS = ("", "timm", "deit", "convnext", "pycls")
# Bodies that end at `schedule.end`, where they stay during the cool-down; others fall to it.
_STAY = ("linear", "polynomial", "cosine", "one_cycle")


def make_schedule(config: ConfigDict, intervals: Intervals) -> optax.Schedule:
    """Returns the learning rate as a function of the number of updates so far.

    Args:
      config: a recipe; its section `schedule` says what the schedule looks like.
      intervals: of the run; its last step is the end of the schedule.

    Raises:
      TrainError: the schedule is not known, does not take one of the options, or has other than
        one factor per boundary.

    Example:
      >>> from configs import base
      >>> config = base.get_config()
      >>> config.schedule.name = "cosine"
      >>> config.schedule.warmup = "1 epoch"
      >>> rate = make_schedule(config, Intervals.from_config(config, examples=1280))
      >>> [round(float(rate(step)), 3) for step in (0, 5, 10, 55, 100)]
      [0.0, 0.05, 0.1, 0.05, 0.0]
    """
    schedule = config.schedule
    clock = Clock(config, intervals)
    warmup, cooldown = clock.length(schedule.warmup), clock.length(schedule.cooldown)
    before = 0 if schedule.convention in ("timm", "deit", "pycls") else warmup
    body = Body(
        peak=schedule.learning_rate,
        end=schedule.end,
        start=before,
        length=max(1, clock.total - before - cooldown),
        clock=clock,
        boundaries=tuple(schedule.boundaries),
        factors=tuple(schedule.factors),
    )
    made = _make_body(config, body)
    after = _cooled(made, schedule, body, cooldown)
    joined = _warmed_up(after, schedule, warmup)
    if schedule.convention == "deit" and schedule.per != "epoch":
        raise TrainError(
            'schedule.convention="deit" is a rate per epoch: set schedule.per="epoch".'
        )
    delay = 1 if schedule.convention == "deit" else 0

    def rate(step) -> Any:
        now = clock.now(step)
        return joined(jnp.maximum(now - delay, 0) if delay else now)

    if schedule.name == "plateau":
        return Plateau(rate, plateau_rule(body, schedule.options))
    if isinstance(made, WithMomentum):
        momentum = made.momentum
        return WithMomentum(rate, lambda step: momentum(clock.now(step) - before))
    return rate


def _make_body(config: ConfigDict, body: Body) -> optax.Schedule:
    schedule = config.schedule
    if schedule.name in BODIES:
        return with_options("schedule", BODIES[schedule.name], body, **schedule.options)
    own = find("schedule.name", schedule.name, BODIES)
    made = with_options("schedule", own, body.peak, body.length, **schedule.options)
    return lambda t: made(jnp.asarray(t, jnp.int32))  # which may look into a table


def _cooled(
    after: optax.Schedule, schedule: ConfigDict, body: Body, cooldown: float
) -> optax.Schedule:
    """The body, which falls linearly to `end` in the last part; or stays there if it is there."""
    if not cooldown or schedule.name in _STAY:
        return after

    def cooled(t) -> Any:
        left = jnp.clip((body.length + cooldown - t) / cooldown, 0, 1)
        return body.end + (after(t) - body.end) * left

    return cooled


def _warmed_up(after: optax.Schedule, schedule: ConfigDict, warmup: Any) -> optax.Schedule:
    """The warm-up and the body, joined as `schedule.convention` says."""
    if warmup == 0:
        return after
    start, peak = schedule.start, schedule.learning_rate
    rising = optax.linear_schedule(start, peak, warmup)
    if schedule.convention == "convnext":
        rising = optax.linear_schedule(start, peak, max(1, warmup - 1))
    if schedule.convention in ("timm", "deit"):
        return lambda t: jnp.where(jnp.less(t, warmup), rising(t), after(t))
    if schedule.convention == "pycls":
        factor = optax.linear_schedule(start / peak, 1.0, warmup)
        return lambda t: factor(t) * after(t)
    return optax.join_schedules([rising, after], [warmup])


def rates(
    schedule: optax.Schedule, total: int, points: int = 2000
) -> tuple[np.ndarray, np.ndarray]:
    """Returns steps and their rates, [N] each: of all steps, or of `points` of them.

    Args:
      schedule: from `make_schedule`.
      total: number of steps.
      points: largest N.
    """
    steps = np.unique(np.linspace(0, total - 1, min(total, points)).round().astype(np.int32))
    return steps, np.asarray(jax.jit(jax.vmap(schedule))(steps))
