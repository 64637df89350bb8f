"""Optimizers and schedules by name."""

import inspect
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from train.durations import Intervals, to_steps
from train.errors import TrainError
from train.freeze import freeze, parameter_name, some_names
from train.functions import find, with_options

SCHEDULES = ("constant", "linear", "cosine", "steps")


def make_schedule(config: ConfigDict, intervals: Intervals) -> optax.Schedule:
    """Returns the learning rate as a function of the step.

    Args:
      config: a recipe; its section `schedule` says what the schedule looks like.
      intervals: of the run; its last step is the end of the schedule.

    Raises:
      TrainError: the schedule is not known, does not take one of the options, or has other than
        one factor per boundary.
    """
    schedule, peak = config.schedule, config.schedule.learning_rate
    examples = round(intervals.steps_per_epoch * config.batch_size)

    def steps(duration: str) -> int:
        return to_steps(duration, examples, config.batch_size)

    warmup = steps(schedule.warmup)
    rest = max(1, intervals.total - warmup)
    if schedule.name == "constant":
        after = optax.constant_schedule(peak)
    elif schedule.name == "linear":
        after = optax.linear_schedule(peak, schedule.end, rest)
    elif schedule.name == "cosine":
        after = optax.cosine_decay_schedule(peak, rest, alpha=schedule.end / peak)
    elif schedule.name == "steps":
        boundaries = [steps(boundary) - warmup for boundary in schedule.boundaries]
        after = _piecewise_constant(peak, boundaries, schedule.factors)
    else:
        own = find(
            "schedule.name", schedule.name, dict.fromkeys(SCHEDULES, optax.constant_schedule)
        )
        after = with_options("schedule", own, peak, rest, **schedule.options)
    if warmup == 0:
        return after
    before = optax.linear_schedule(schedule.start, peak, warmup)
    return optax.join_schedules([before, after], [warmup])


def _piecewise_constant(
    peak: float, boundaries: list[int], factors: tuple[float, ...]
) -> optax.Schedule:
    if len(boundaries) != len(factors):
        raise TrainError(
            f"schedule.boundaries has {len(boundaries)} entries and schedule.factors has "
            f"{len(factors)}: there must be one factor for each boundary."
        )
    return optax.piecewise_constant_schedule(peak, dict(zip(boundaries, factors, strict=True)))


def make_optimizer(
    config: ConfigDict, schedule: optax.Schedule, layer_factors: Any = None
) -> optax.GradientTransformation:
    """Chains gradient clipping, weight decay, the optimizer itself and factors of its rate.

    Args:
      config: the section `optimizer` of a recipe.
      schedule: the learning rate as a function of the step.
      layer_factors: factor of the learning rate for each parameter, a tree as the parameters'.

    Raises:
      TrainError: the optimizer is not known (the message has the closest names), or does not take
        one of the options.
    """
    options, decay = dict(config.options), config.weight_decay
    factory = find("optimizer.name", config.name, _factories())
    chain = []
    if config.clip_norm:
        chain.append(optax.clip_by_global_norm(config.clip_norm))
    mask = decay_mask(config.weight_decay_exclude)
    if {"weight_decay", "mask"} <= inspect.signature(factory).parameters.keys():
        options |= {"weight_decay": decay, "mask": mask}
    elif decay:
        chain.append(optax.add_decayed_weights(decay, mask))
    chain.append(with_options("optimizer", factory, schedule, **options))
    if layer_factors is not None:
        chain.append(scale_by_tree(layer_factors))
    if config.multipliers:
        chain.append(scale_by_path(config.multipliers))
    return freeze(optax.chain(*chain), config.freeze)


def scale_by_tree(factors: Any) -> optax.GradientTransformation:
    """Multiplies each update by its factor, an array that broadcasts against it."""

    def update(updates, params=None):
        del params
        leaves = jax.tree_util.tree_leaves_with_path(factors)
        known = {parameter_name(path): factor for path, factor in leaves}
        return jax.tree_util.tree_map_with_path(
            lambda path, update: update * known[parameter_name(path)], updates
        )

    return optax.stateless(update)


def scale_by_path(multipliers: Sequence[tuple[str, float]]) -> optax.GradientTransformation:
    """Multiplies each update by the factor of the first expression that is found in its path."""

    def init(params) -> optax.OptState:
        leaves = jax.tree_util.tree_leaves_with_path(params)
        for pattern, _ in multipliers:
            if not any(re.search(pattern, parameter_name(path)) for path, _ in leaves):
                raise TrainError(
                    f"optimizer.multipliers: {pattern!r} matches no trained parameter. "
                    + some_names(params)
                )
        return optax.EmptyState()

    def factor(path) -> float:
        name = parameter_name(path)
        return next((factor for pattern, factor in multipliers if re.search(pattern, name)), 1.0)

    def update(updates, state, params=None):
        del params
        scaled = jax.tree_util.tree_map_with_path(lambda path, u: u * factor(path), updates)
        return scaled, state

    return optax.GradientTransformation(init, update)


def decay_mask(exclude: str) -> Callable[[Any], Any]:
    """Returns a function from parameters to a tree of bool: whether weight decay applies.

    Args:
      exclude: regular expression that is searched in paths such as "stage1/block1/conv1/kernel";
        parameters whose path matches do not decay. "" excludes none.
    """

    def mask(params):
        def decays(path, _) -> bool:
            return not (exclude and re.search(exclude, parameter_name(path)))

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
    """Running mean of the squared gradient of each parameter, and the number of updates."""

    curvature: optax.Params
    count: jax.Array


def diagonal_levenberg_marquardt(
    learning_rate: optax.ScalarOrSchedule, mu: float = 0.02, memory: float = 0.002
) -> optax.GradientTransformation:
    """Scales each gradient by learning_rate / (mu + h), h the curvature of the parameter.

    The method is that of LeCun et al. 1998, appendix C, which computes h by a second backward pass
    over 500 images before each epoch. Here h is the running mean of the squared gradient over about
    1 / `memory` = 500 images: at batch size 1 it is the diagonal of the Fisher matrix with the true
    labels, which the paper's Gauss-Newton diagonal approximates too. Use it with batch size 1;
    larger batches average the gradient before it is squared.

    Args:
      learning_rate: the global rate of the paper.
      mu: keeps the step bounded where the curvature is small.
      memory: weight of a new squared gradient in the running mean, in (0, 1].
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
        optax.GradientTransformation(init, cast(optax.TransformUpdateFn, update)),
        optax.scale_by_learning_rate(learning_rate),
    )
