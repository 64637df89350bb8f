"""The perceptual loss: how different two images are to a network."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

import zoo


def perceptual(
    images: jax.Array,
    targets: jax.Array,
    *,
    model: nn.Module,
    variables: Mapping[str, Any],
    at: str | Sequence[str],
    weights: Sequence[float] | None = None,
) -> jax.Array:
    """Mean squared difference of a network's features of two images.

    Source: feature reconstruction loss of Johnson et al. 2016, arXiv:1603.08155, equation 2.

    Args:
      images, targets: [B, H, W, C], normalised as the network wants them.
      model: any network of the zoo; its variables stay as they are.
      variables: its variables.
      at: name or names of its outputs, see `zoo.features`; the paper has VGG-16's "stage3", there
        before the pooling.
      weights: a factor of each output; None for 1.

    Returns:
      float [B].

    Example:
      >>> trained = zoo.load("torchvision/vgg16.imagenet1k_v1")
      >>> loss = functools.partial(
      ...     perceptual, model=trained.model, variables=trained.variables, at=("stage2", "stage3")
      ... )
    """
    names = [at] if isinstance(at, str) else list(at)
    factors = [1.0] * len(names) if weights is None else weights
    ours, theirs = (zoo.features(model, variables, x, at=names) for x in (images, targets))
    total = jnp.zeros(len(images))
    for name, factor in zip(names, factors, strict=True):
        error = optax.squared_error(ours[name], jax.lax.stop_gradient(theirs[name]))
        total += factor * error.mean(tuple(range(1, error.ndim)))
    return total
