"""Distances of outputs from targets; labels int [B] stand for one-hot targets."""

import jax
import jax.numpy as jnp
import optax

from train.losses.targets import as_targets


def mean_squared_error(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Mean squared difference: [B, K], int [B] or targets [B, K] -> float [B]."""
    return optax.squared_error(logits, as_targets(labels, logits)).mean(-1)


def mean_absolute_error(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Mean absolute difference: [B, K], int [B] or targets [B, K] -> float [B]."""
    return jnp.abs(logits - as_targets(labels, logits)).mean(-1)


def huber(logits: jax.Array, labels: jax.Array, *, delta: float = 1.0) -> jax.Array:
    """Mean Huber loss, half the square up to `delta` and a line from there on (Huber 1964).

    Args:
      logits: [B, K].
      labels: int [B], or targets [B, K].
      delta: above 0; the slope of the line.

    Returns:
      float [B].
    """
    return optax.huber_loss(logits, as_targets(labels, logits), delta=delta).mean(-1)


def smooth_l1(logits: jax.Array, labels: jax.Array, *, beta: float = 1.0) -> jax.Array:
    """The Huber loss divided by its `delta`, here `beta`, so that the line has slope 1; [B].

    Source: Girshick 2015, Fast R-CNN, arXiv:1504.08083, equation 3.
    """
    return huber(logits, labels, delta=beta) / beta
