"""Optimizers and schedules by name."""

import difflib
import inspect
import re
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from train.durations import Plan, to_steps
from train.errors import TrainError


def make_schedule(config: ConfigDict, plan: Plan) -> optax.Schedule:
    """The learning rate as a function of the step: `config.schedule` over the plan's steps."""
    schedule, peak = config.schedule, config.schedule.learning_rate
    examples = round(plan.steps_per_epoch * config.batch_size)

    def steps(words: str) -> int:
        return to_steps(words, examples, config.batch_size)

    warmup = steps(schedule.warmup)
    rest = max(1, plan.steps - warmup)
    if schedule.name == "constant":
        after = optax.constant_schedule(peak)
    elif schedule.name == "linear":
        after = optax.linear_schedule(peak, schedule.end, rest)
    elif schedule.name == "cosine":
        after = optax.cosine_decay_schedule(peak, rest, alpha=schedule.end / peak)
    elif schedule.name == "steps":
        after = _steps(peak, [steps(b) - warmup for b in schedule.boundaries], schedule.factors)
    else:
        raise TrainError(
            f"schedule.name={schedule.name!r} is not known: choose constant, linear, cosine or "
            "steps."
        )
    if warmup == 0:
        return after
    before = optax.linear_schedule(schedule.start, peak, warmup)
    return optax.join_schedules([before, after], [warmup])


def _steps(peak: float, boundaries: list[int], factors: tuple[float, ...]) -> optax.Schedule:
    if len(boundaries) != len(factors):
        raise TrainError(
            f"schedule.boundaries has {len(boundaries)} entries and schedule.factors has "
            f"{len(factors)}: there must be one factor for each boundary."
        )
    return optax.piecewise_constant_schedule(peak, dict(zip(boundaries, factors, strict=True)))


def make_optimizer(config: ConfigDict, schedule: optax.Schedule) -> optax.GradientTransformation:
    """The optimizer of `config.optimizer`: gradient clipping, weight decay, then its own rule.

    Raises:
      TrainError: an unknown name (with the closest ones) or an argument that it does not take.
    """
    options, decay = dict(config.options), config.weight_decay
    factory = _factories().get(config.name)
    if factory is None:
        near = difflib.get_close_matches(config.name, _factories(), n=3, cutoff=0.4)
        hint = f" The closest names are {', '.join(near)}." if near else ""
        raise TrainError(f"optimizer.name={config.name!r} is not an optimizer of optax.{hint}")
    parts = []
    if config.clip_norm:
        parts.append(optax.clip_by_global_norm(config.clip_norm))
    mask = decay_mask(config.weight_decay_exclude)
    if {"weight_decay", "mask"} <= inspect.signature(factory).parameters.keys():
        options |= {"weight_decay": decay, "mask": mask}
    elif decay:
        parts.append(optax.add_decayed_weights(decay, mask))
    try:
        parts.append(factory(schedule, **options))
    except TypeError as error:
        raise TrainError(f"optimizer.options do not fit {config.name}: {error}.") from error
    return optax.chain(*parts)


def decay_mask(exclude: str) -> Callable:
    """params -> tree of bool: which parameters decay.

    Args:
      exclude: regular expression, searched in paths such as "stage1/block1/conv1/kernel"; those it
        is found in do not decay. "" excludes none.
    """

    def mask(params):
        def decays(path, _) -> bool:
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            return not (exclude and re.search(exclude, name))

        return jax.tree_util.tree_map_with_path(decays, params)

    return mask


def _factories() -> dict[str, Callable]:
    own = {"diagonal_levenberg_marquardt": diagonal_levenberg_marquardt}
    return own | {
        name: factory
        for name, factory in vars(optax).items()
        if inspect.isfunction(factory) and "learning_rate" in inspect.signature(factory).parameters
    }


class CurvatureState(NamedTuple):
    """A running mean of squared gradients for each parameter, and the updates so far."""

    curvature: optax.Params
    count: jax.Array


def diagonal_levenberg_marquardt(
    learning_rate: optax.ScalarOrSchedule, mu: float = 0.02, memory: float = 0.002
) -> optax.GradientTransformation:
    """Each weight's own step size: learning_rate / (mu + h), h its curvature (LeCun 1998, App. C).

    The paper computes h by a second backward pass over 500 images before each epoch. Here h is the
    running mean of the squared gradient over about 1 / `memory` = 500 images: at batch size 1 it is
    the diagonal of the Fisher matrix with the true labels, which the paper's Gauss-Newton diagonal
    approximates too. Meant for batch size 1; larger batches average the squares away.
    """

    def init(params) -> CurvatureState:
        return CurvatureState(jax.tree.map(jnp.zeros_like, params), jnp.zeros((), jnp.int32))

    def update(gradients, state: CurvatureState, params=None):
        del params
        rate = jnp.maximum(memory, 1 / (1 + state.count))  # a plain mean until the memory is full
        curvature = jax.tree.map(lambda h, g: h + rate * (g**2 - h), state.curvature, gradients)
        directions = jax.tree.map(lambda h, g: g / (mu + h), curvature, gradients)
        return directions, CurvatureState(curvature, state.count + 1)

    return optax.chain(
        optax.GradientTransformation(init, update), optax.scale_by_learning_rate(learning_rate)
    )
