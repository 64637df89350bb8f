"""A learning rate that falls when a figure of the evaluation stands still: schedule "plateau".

The rule is that of `torch.optim.lr_scheduler.ReduceLROnPlateau`. What it remembers is part of the
optimizer's state, so it is in the checkpoints and a resumed run goes on with it.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct

from train.errors import TrainError

_LARGEST = float(np.finfo(np.float32).max)  # instead of infinity, which no checkpoint may hold


@dataclass(frozen=True)
class Rule:
    """When and how far the rate falls.

    Attributes:
      peak: learning rate at the start.
      end: the rate does not fall below it.
      metric: figure of the evaluation that has to rise; "-loss": to fall.
      factor: of the rate, each time.
      patience: evaluations without an improvement that are allowed.
      threshold: least improvement, as a share of the best figure ("rel") or a difference ("abs").
      threshold_mode: "rel" or "abs".
      cooldown: evaluations after a fall that do not count.
      eps: a fall that is not larger is left out.
    """

    peak: float
    end: float
    metric: str
    factor: float
    patience: int
    threshold: float
    threshold_mode: str
    cooldown: int
    eps: float

    @property
    def name(self) -> str:
        """The figure, without its sign."""
        return self.metric.removeprefix("-")

    @property
    def worst(self) -> float:
        """What every figure is better than."""
        return _LARGEST if self.metric.startswith("-") else -_LARGEST

    def improves(self, value: float, best: float) -> bool:
        """Whether a figure is better than the best one by the threshold."""
        margin = self.threshold * (best if self.threshold_mode == "rel" else 1)
        if self.metric.startswith("-"):
            return value < best - margin
        return value > best + margin


class Plateau:
    """A schedule that `rule` scales: the rate as a function of the step, before any fall.

    Attributes:
      rule: see `Rule`.
    """

    def __init__(self, schedule: optax.Schedule, rule: Rule):
        self.schedule, self.rule = schedule, rule

    def __call__(self, step) -> Any:
        return self.schedule(step)


class PlateauState(struct.PyTreeNode):
    """The state of an optimizer whose rate follows a plateau.

    Attributes:
      scale: factor of the learning rate so far.
      best: best figure so far.
      bad: int32, evaluations since it that were not better.
      cooldown: int32, evaluations that will not count.
      inner: state of the optimizer.
      rule: constant.
    """

    scale: jax.Array
    best: jax.Array
    bad: jax.Array
    cooldown: jax.Array
    inner: Any
    rule: Rule = struct.field(pytree_node=False)


def follow_plateau(
    build: Callable[[optax.Schedule], optax.GradientTransformation], schedule: Plateau
) -> optax.GradientTransformation:
    """Returns an optimizer whose rate is that of the schedule times the scale in its state.

    Args:
      build: from the learning rate to the optimizer. The scale is inside of the rate, and thus of
        the momentum where the rate is.
      schedule: from `train.schedules`.
    """

    def init(params) -> PlateauState:
        number = jnp.result_type(float)
        return PlateauState(
            scale=jnp.ones([], number),
            best=jnp.full([], schedule.rule.worst, number),
            bad=jnp.zeros([], jnp.int32),
            cooldown=jnp.zeros([], jnp.int32),
            inner=build(schedule).init(params),
            rule=schedule.rule,
        )

    def update(gradients, state: PlateauState, params=None):
        optimizer = build(lambda count: schedule(count) * state.scale)
        updates, inner = optimizer.update(gradients, state.inner, params)
        return updates, state.replace(inner=inner)

    return optax.GradientTransformation(cast(Any, init), cast(Any, update))


def learning_rate(schedule: optax.Schedule, opt_state: Any, step: Any) -> Any:
    """Returns the rate of the update after `step` updates."""
    rate = schedule(step)
    return rate * _find(opt_state).scale if isinstance(schedule, Plateau) else rate


def after_evaluation(state: Any, figures: Mapping[str, Any]) -> Any:
    """Returns the state, its rate lowered if it follows a plateau and this was one evaluation more.

    Args:
      state: tree of arrays with the optimizer's state in it.
      figures: those of the evaluation by name, such as {"loss": 0.7, "top1": 0.8}.

    Raises:
      TrainError: the evaluation lacks the figure.
    """

    def seen(node):
        return _observed(node, figures) if isinstance(node, PlateauState) else node

    return jax.tree.map(seen, state, is_leaf=lambda node: isinstance(node, PlateauState))


def _observed(state: PlateauState, figures: Mapping[str, Any]) -> PlateauState:
    rule = state.rule
    value = figures.get(rule.name)
    if not isinstance(value, (int, float)) or not math.isfinite(value):
        raise TrainError(
            f"schedule.options.metric={rule.metric}: the evaluation has no such figure. It has "
            f"{', '.join(name for name, each in figures.items() if isinstance(each, float))}."
        )
    scale, best = float(state.scale), float(state.best)
    bad, cooldown = int(state.bad) + 1, int(state.cooldown)
    if rule.improves(value, best):
        best, bad = float(value), 0
    if cooldown > 0:
        cooldown, bad = cooldown - 1, 0
    if bad > rule.patience:
        cooldown, bad = rule.cooldown, 0
        lower = max(scale * rule.factor, rule.end / rule.peak)
        if (scale - lower) * rule.peak > rule.eps:
            scale = lower
    new = {"scale": scale, "best": best, "bad": bad, "cooldown": cooldown}
    return state.replace(**{name: _like(getattr(state, name), x) for name, x in new.items()})


def _like(array: jax.Array, value: float) -> jax.Array:
    return jax.device_put(np.asarray(value, array.dtype), array.sharding)


def _find(opt_state: Any) -> PlateauState:
    def is_plateau(node) -> bool:
        return isinstance(node, PlateauState)

    return next(x for x in jax.tree.leaves(opt_state, is_leaf=is_plateau) if is_plateau(x))
