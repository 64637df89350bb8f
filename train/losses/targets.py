"""Labels and targets, and what losses of a whole batch are to a training step."""

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

Function = TypeVar("Function", bound=Callable)


def as_targets(labels: jax.Array, logits: jax.Array) -> jax.Array:
    """Returns targets of the shape of the logits: int [...] as one-hot [..., K], others as given.

    Example:
      >>> as_targets(jnp.array([1]), jnp.zeros((1, 3)))
      Array([[0., 1., 0.]], dtype=float32)
    """
    labels = jnp.asarray(labels)
    if labels.ndim == logits.ndim:
        return labels
    dtype = jnp.promote_types(logits.dtype, jnp.float32)
    return jax.nn.one_hot(labels, logits.shape[-1], dtype=dtype)


def as_labels(labels: jax.Array, logits: jax.Array) -> jax.Array:
    """Returns labels int [...]: those given, or the largest of targets [..., K].

    A mixed image counts as the larger of its two targets; of equal ones, as the smaller class.
    """
    labels = jnp.asarray(labels)
    return labels.argmax(-1).astype(jnp.int32) if labels.ndim == logits.ndim else labels


def of_batch(function: Function) -> Function:
    """Marks a loss that takes the batch as one set and returns one value, float [].

    A training step gives its value to every example (`per_example`), so that the mean over them is
    the loss. Losses that are not marked so have to return a value per example.

    Example:
      >>> @of_batch
      ... def variance(logits, labels):
      ...     return logits.var()
    """
    function.of_batch = True  # type: ignore[attr-defined]
    return function


def per_example(function: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """Returns a loss that gives a value per example: the loss itself, if it is not `of_batch`."""
    if not getattr(function, "of_batch", False):
        return function

    @wraps(function)
    def broadcast(logits: jax.Array, labels: jax.Array, **options: Any) -> jax.Array:
        value = function(logits, labels, **options)
        return jnp.broadcast_to(value, (jnp.shape(labels)[0],))

    return broadcast


def in_top(logits: jax.Array, labels: jax.Array, k: int) -> jax.Array:
    """Whether the label is among the k largest logits: [B, K], int [B] -> bool [B].

    Of equal logits, the one of the smaller class counts as larger, as in argmax. Of targets [B, K]
    the largest is the label.
    """
    labels = as_labels(labels, logits)
    own = jnp.take_along_axis(logits, labels[:, None], axis=1)  # [B, 1]
    classes = jnp.arange(logits.shape[1])[None]
    ahead = (logits > own) | ((logits == own) & (classes < labels[:, None]))
    return ahead.sum(axis=1) < k
