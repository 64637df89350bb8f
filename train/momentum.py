"""A momentum that a schedule changes beside the learning rate: that of "one_cycle"."""

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import optax


class WithMomentum:
    """A schedule of the learning rate, with one of the momentum.

    Attributes:
      schedule: the rate as a function of the step.
      momentum: the momentum as a function of the step.
    """

    def __init__(self, schedule: optax.Schedule, momentum: optax.Schedule):
        self.schedule, self.momentum = schedule, momentum

    def __call__(self, step) -> Any:
        return self.schedule(step)


class MomentumState(NamedTuple):
    """The number of updates, and the state of the optimizer."""

    count: jax.Array
    inner: Any


def follow_momentum(
    build: Callable[[Any], optax.GradientTransformation], schedule: WithMomentum
) -> optax.GradientTransformation:
    """Returns the optimizer that `build` makes of a momentum, with that of the schedule."""

    def init(params) -> MomentumState:
        inner = build(schedule.momentum(0)).init(params)
        return MomentumState(jnp.zeros([], jnp.int32), inner)

    def update(gradients, state: MomentumState, params=None):
        optimizer = build(schedule.momentum(state.count))
        updates, inner = optimizer.update(gradients, state.inner, params)
        return updates, MomentumState(state.count + 1, inner)

    return optax.GradientTransformation(cast(Any, init), cast(Any, update))
