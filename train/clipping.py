"""Clipping of gradients: by their norm, by value, and against the norm of the parameters."""

import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from train.parameters import CLASSIFIER, map_updates, unit_norm


def clipping(config: ConfigDict) -> list[optax.GradientTransformation]:
    """Returns what clips gradients as the section `optimizer` of a recipe says, in this order.

    Args:
      config: the section, of which `clip_norm` is the largest norm of all gradients together,
        `clip_value` the largest absolute value of an element, `clip_agc` the largest ratio of the
        norms of gradient and parameter; 0 for none.
    """
    chain = []
    if config.clip_norm:
        chain.append(optax.clip_by_global_norm(config.clip_norm))
    if config.clip_value:
        chain.append(optax.clip(config.clip_value))
    if config.clip_agc:
        chain.append(clip_by_agc(config.clip_agc, config.clip_agc_eps))
    return chain


def clip_by_agc(factor: float, eps: float = 1e-3) -> optax.GradientTransformation:
    """Adaptive gradient clipping (Brock et al. 2021), as `timm.utils.adaptive_clip_grad`.

    The gradient of each unit has at most `factor` times the norm of the unit's parameters, which
    counts as `eps` at least; see `train.parameters.unit_norm`. The classifier is not clipped, as
    in the paper and in timm.

    `optax.adaptive_grad_clip` takes the axes of a unit from the number of axes alone, and so takes
    position embeddings and stacked blocks for kernels.
    """

    def clip(name, gradient, param):
        if CLASSIFIER.search(name):
            return gradient
        largest = factor * jnp.maximum(unit_norm(name, param), eps)
        norm = unit_norm(name, gradient)
        return jnp.where(norm < largest, gradient, gradient * (largest / jnp.maximum(norm, 1e-6)))

    return map_updates(clip)
