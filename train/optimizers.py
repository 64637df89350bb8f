"""Optimizers by name, and what surrounds them: clipping, weight decay, factors of the rate."""

import inspect
import re
from collections.abc import Callable, Sequence
from functools import partial
from types import FunctionType
from typing import Any

import jax
import optax
from ml_collections import ConfigDict

from train.clipping import clipping
from train.errors import TrainError
from train.freeze import freeze, parameter_name, some_names
from train.functions import find, with_options
from train.levenberg_marquardt import diagonal_levenberg_marquardt
from train.momentum import WithMomentum, follow_momentum
from train.muon import muon
from train.optimizer_rules import (
    adagrad,
    caffe_sgd,
    lamb,
    lars,
    nadam,
    novograd,
    rmsprop_tf,
    rmsprop_torch,
)
from train.parameters import rank
from train.plateau import Plateau, follow_plateau
from train.schedule_free import SCHEDULE_FREE, follow_average

RULES: dict[str, Callable] = {
    rule.__name__: rule
    for rule in (
        *(caffe_sgd, rmsprop_tf, rmsprop_torch, adagrad, nadam, lamb, lars, novograd, muon),
        diagonal_levenberg_marquardt,
    )
}
# They ask for more than the mean gradient (the loss, functions of the parameters, gradients of each
# image), or for a rate that is a number.
_NEED_MORE = {"lbfgs", "momo", "momo_adam", "sophia", "dpsgd", "rprop", "sm3", "optimistic_adam"}


def make_optimizer(
    config: ConfigDict, schedule: optax.Schedule, layer_factors: Any = None
) -> optax.GradientTransformation:
    """Chains gradient clipping, weight decay, the optimizer itself and factors of its rate.

    Args:
      config: the section `optimizer` of a recipe.
      schedule: the learning rate as a function of the number of updates.
      layer_factors: factor of the learning rate for each parameter, a tree as the parameters'.

    Raises:
      TrainError: the optimizer is not known (the message has the closest names), or does not take
        one of the options.

    Example:
      >>> from configs import base
      >>> config = base.get_config().optimizer  # SGD
      >>> optimizer = make_optimizer(config, optax.constant_schedule(0.5))
      >>> params = {"bias": jax.numpy.ones(2)}
      >>> updates, state = optimizer.update(params, optimizer.init(params), params)
      >>> print(updates["bias"])
      [-0.5 -0.5]
    """
    factory = find("optimizer.name", config.name, factories())

    def build(schedule: optax.Schedule, **cycled) -> optax.GradientTransformation:
        options, decay = dict(config.options) | cycled, config.weight_decay
        chain = clipping(config)
        mask = decay_mask(config.weight_decay_exclude, config.weight_decay_exclude_1d)
        averaged = config.name in SCHEDULE_FREE
        b1 = options.pop("b1", 0.9) if averaged else 0.9
        if {"weight_decay", "mask"} <= inspect.signature(factory).parameters.keys():
            options |= {"weight_decay": decay, "mask": mask}
        elif decay:
            chain.append(optax.add_decayed_weights(decay, mask))
        chain.append(with_options("optimizer", factory, schedule, **options))
        if layer_factors is not None:
            chain.append(scale_by_tree(layer_factors))
        if config.multipliers:
            chain.append(scale_by_path(config.multipliers))
        optimizer = optax.chain(*chain)
        return follow_average(optimizer, schedule, b1) if averaged else optimizer

    if isinstance(schedule, Plateau):
        optimizer = follow_plateau(build, schedule)
    elif isinstance(schedule, WithMomentum):
        name = _name_of_momentum(config.name)
        optimizer = follow_momentum(lambda value: build(schedule, **{name: value}), schedule)
    else:
        optimizer = build(schedule)
    return freeze(optimizer, config.freeze)


def _name_of_momentum(optimizer: str) -> str:
    """The argument of an optimizer that a schedule of the momentum sets, as PyTorch's one-cycle."""
    known = dict.fromkeys(("sgd", "caffe_sgd"), "momentum")
    known |= dict.fromkeys(("adam", "adamw", "lamb", "lion"), "b1")
    if optimizer not in known:
        raise TrainError(
            f"schedule.options.base_momentum: optimizer.name={optimizer!r} has no momentum that a "
            f"schedule can change; {', '.join(known)} have one."
        )
    return known[optimizer]


def factories() -> dict[str, Callable]:
    """Returns all optimizers by name: (learning_rate, **options) -> GradientTransformation.

    They are optax's, those of `optax.contrib`, and the rules of references (`RULES`), which replace
    optax's of the same name.
    """
    found: dict[str, Callable] = {}
    for module in (optax.contrib, optax):
        found |= {name: value for name, value in vars(module).items() if _is_optimizer(name, value)}
    return found | RULES | SCHEDULE_FREE


def _is_optimizer(name: str, value: Any) -> bool:
    if not isinstance(value, (FunctionType, partial)) or name in _NEED_MORE:
        return False
    if name.startswith(("_", "scale_by_")):  # parts of optimizers
        return False
    return next(iter(inspect.signature(value).parameters), "") == "learning_rate"


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


def decay_mask(exclude: str, exclude_1d: bool = False) -> Callable[[Any], Any]:
    """Returns a function from parameters to a tree of bool: whether weight decay applies.

    Args:
      exclude: regular expression that is searched in paths such as "stage1/block1/conv1/kernel";
        parameters whose path matches do not decay. "" excludes none; "(bias|scale)$" excludes the
        biases, and the scales of norms.
      exclude_1d: whether parameters of one axis do not decay either: biases, scales of norms,
        layer scales. The axis of stacked blocks does not count.
    """

    def mask(params):
        def decays(path, param) -> bool:
            name = parameter_name(path)
            if exclude_1d and rank(name, param) <= 1:
                return False
            return not (exclude and re.search(exclude, name))

        return jax.tree_util.tree_map_with_path(decays, params)

    return mask
