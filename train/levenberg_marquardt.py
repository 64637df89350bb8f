"""The optimizer of LeNet-5."""

from typing import NamedTuple, cast

import jax
import jax.numpy as jnp
import optax


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
