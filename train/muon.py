"""Muon: momentum whose matrices are orthogonalized (Jordan et al. 2024, KellerJordan/Muon)."""

import re
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import optax

from train.errors import TrainError
from train.freeze import parameter_name
from train.optimizer_rules import Mask
from train.parameters import rank, stacked_axes

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the quintic Newton-Schulz iteration


class MuonState(NamedTuple):
    """The running mean of the gradients."""

    momentum: optax.Updates


def muon(
    learning_rate: optax.ScalarOrSchedule,
    momentum: float = 0.95,
    nesterov: bool = True,
    ns_steps: int = 5,
    coefficients: tuple[float, float, float] = COEFFICIENTS,
    eps: float = 1e-7,
    adjust: str = "original",
    weight_decay: float = 0.0,
    mask: Mask = None,
    adam: str = "(^|_)(head|embed|stem|tokens)",
    adam_factor: float = 0.015,
    adam_options: Any = None,
) -> optax.GradientTransformation:
    """Muon for the kernels of hidden layers, AdamW for all other parameters.

    A kernel [H, W, I, O] is the matrix [H W I, O], as the authors flatten convolutions; stacked
    blocks are a matrix each. Vectors, embeddings, tables, the stem and the classifier are Adam's,
    by the authors' advice. For a matrix equal to `torch.optim.Muon`, whose cast to bfloat16 is left
    out. `optax.contrib.muon`, whose momentum is corrected for its start, is "optax.contrib:muon".

    Args:
      learning_rate: a number or a schedule.
      momentum, nesterov: the gradients' running mean, and whether to look ahead.
      ns_steps: iterations of Newton-Schulz.
      coefficients: a, b, c of X <- a X + b (X X') X + c (X X')^2 X.
      eps: least norm by which a matrix is divided.
      adjust: factor of the rate of a matrix from I inputs to O outputs: "original",
        sqrt(max(1, O / I)), or "match_rms_adamw", 0.2 sqrt(max(I, O)).
      weight_decay: decoupled, times the learning rate.
      mask: which parameters decay.
      adam: regular expression for the paths of kernels that are Adam's too.
      adam_factor: factor of the learning rate for Adam; the authors' 3e-4 for 0.02.
      adam_options: b1, b2, eps of Adam; by default 0.9, 0.95, 1e-10 as the authors'.

    Raises:
      TrainError: `adjust` is none of the two.
    """
    if adjust not in ("original", "match_rms_adamw"):
        raise TrainError(
            f'optimizer.options.adjust={adjust!r}: there are "original" and "match_rms_adamw".'
        )

    def labels(params):
        def label(path, param) -> str:
            name = parameter_name(path)
            matrix = name.endswith("kernel") and rank(name, param) > 1
            return "muon" if matrix and not re.search(adam, name) else "adam"

        return jax.tree_util.tree_map_with_path(label, params)

    def rate(count):
        scalar = learning_rate(count) if callable(learning_rate) else learning_rate
        return adam_factor * scalar

    options: dict[str, Any] = {"b1": 0.9, "b2": 0.95, "eps": 1e-10} | dict(adam_options or {})
    matrices = optax.chain(
        _mean(momentum, nesterov),
        _orthogonalize(ns_steps, coefficients, eps, adjust),
        optax.add_decayed_weights(weight_decay, mask),
        optax.scale_by_learning_rate(learning_rate),
    )
    others = optax.adamw(rate, **options, weight_decay=weight_decay, mask=mask)
    return optax.multi_transform({"muon": matrices, "adam": others}, labels)


def _mean(decay: float, nesterov: bool) -> optax.GradientTransformation:
    """The running mean of gradients, not corrected for its start at 0."""

    def init(params) -> MuonState:
        return MuonState(jax.tree.map(jnp.zeros_like, params))

    def update(gradients, state: MuonState, params=None):
        del params
        mean = optax.tree.update_moment(gradients, state.momentum, decay, 1)
        ahead = optax.tree.update_moment(gradients, mean, decay, 1) if nesterov else mean
        return ahead, MuonState(mean)

    return optax.GradientTransformation(init, cast(optax.TransformUpdateFn, update))


def _orthogonalize(
    steps: int, coefficients: tuple[float, float, float], eps: float, adjust: str
) -> optax.GradientTransformation:
    def rule(path, update):
        stacked = stacked_axes(parameter_name(path))
        matrices = update.reshape(*update.shape[:stacked], -1, update.shape[-1])
        inputs, outputs = matrices.shape[-2:]
        one = lambda matrix: newton_schulz(matrix, steps, coefficients, eps)  # noqa: E731
        matrices = jax.vmap(one)(matrices) if stacked else one(matrices)
        if adjust == "original":
            factor = max(1, outputs / inputs) ** 0.5
        else:
            factor = 0.2 * max(inputs, outputs) ** 0.5
        return factor * matrices.reshape(update.shape)

    def update(updates, params=None):
        del params
        return jax.tree_util.tree_map_with_path(rule, updates)

    return optax.stateless(update)


def newton_schulz(
    matrix: jax.Array,
    steps: int = 5,
    coefficients: tuple[float, float, float] = COEFFICIENTS,
    eps: float = 1e-7,
) -> jax.Array:
    """Returns nearly the closest orthogonal matrix, [M, N]: singular values of about 0.7 to 1.2.

    Args:
      matrix: [M, N].
      steps: number of iterations.
      coefficients: of the iteration, see `muon`.
      eps: least norm by which the matrix is divided.
    """
    a, b, c = coefficients
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / jnp.maximum(jnp.linalg.norm(x), eps)
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if tall else x
