"""What the path of a parameter says of its axes, for rules that look at tensors or units."""

import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from train.freeze import parameter_name

CLASSIFIER = re.compile("(^|_)head(/|$)")
# Parameters of equal blocks have the blocks as their first axis (`model.options.scan`).
_STACKED = re.compile(r"(^|_|/)blocks/block\d+/")


def stacked_axes(name: str) -> int:
    """Returns how many leading axes of a parameter are stacked blocks: 0 or 1."""
    return 1 if _STACKED.search(name) else 0


def rank(name: str, array: Any) -> int:
    """Returns the number of axes that a parameter has without those of stacked blocks."""
    return len(array.shape) - stacked_axes(name)


def tensor_norm(name: str, array: jax.Array) -> jax.Array:
    """Returns the 2-norm of a parameter, of each block where blocks are stacked.

    Returns:
      Of the rank of the array, so that it broadcasts against it.
    """
    return _norm(array, range(stacked_axes(name), array.ndim))


def unit_norm(name: str, array: jax.Array) -> jax.Array:
    """Returns the 2-norms of the units of a parameter, as `timm.utils.agc.unitwise_norm`.

    A unit is what makes one output: all but the last axis of a kernel ([I, O], [H, W, I, O]), which
    are all but the first one in PyTorch. Vectors are one unit. Embeddings and tables have PyTorch's
    layout here too.

    Returns:
      Of the rank of the array, so that it broadcasts against it.
    """
    first, axes = stacked_axes(name), range(stacked_axes(name), array.ndim)
    if rank(name, array) > 1:
        axes = axes[:-1] if name.endswith("kernel") else range(first + 1, array.ndim)
    return _norm(array, axes)


def _norm(array: jax.Array, axes: range) -> jax.Array:
    return jnp.sqrt(jnp.sum(jnp.square(array), tuple(axes), keepdims=True))


def map_updates(
    rule: Callable[[str, jax.Array, jax.Array], jax.Array],
) -> optax.GradientTransformation:
    """Returns a transformation without state: update = rule(path, update, parameter)."""

    def update(updates, params=None):
        return jax.tree_util.tree_map_with_path(
            lambda path, update, param: rule(parameter_name(path), update, param), updates, params
        )

    return optax.stateless(update)
