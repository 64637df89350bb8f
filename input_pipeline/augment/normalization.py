"""Normalization, and AlexNet's shift of colours.

Images are [B, H, W, C] in [0, 255], uint8 or floating point; `normalize` comes last.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from input_pipeline.augment.combine import is_one_key

# Eigenvalues and eigenvectors (rows R, G, B) of the RGB covariance of ImageNet's training pixels
# in [0, 1], as in fb.resnet.torch.
LIGHTING_EIGENVALUES = (0.2175, 0.0188, 0.0045)
LIGHTING_EIGENVECTORS = (
    (-0.5675, 0.7192, 0.4009),
    (-0.5808, -0.0045, -0.8140),
    (-0.5836, -0.6948, 0.4203),
)


def normalize(
    images: jax.Array,
    mean: Sequence[float],
    std: Sequence[float],
    dtype: DTypeLike = jnp.float32,
    channel_order: str = "RGB",
) -> jax.Array:
    """Returns (images / 255 - mean) / std, shape [B, H, W, C].

    Args:
      images: [B, H, W, C], in [0, 255].
      mean, std: one value per channel, of images in [0, 1].
      dtype: dtype of the result; the arithmetic is float32.
      channel_order: "BGR" reverses the channels of the result.
    """
    means, deviations = jnp.asarray(mean, jnp.float32), jnp.asarray(std, jnp.float32)
    scale, shift = 1 / (255 * deviations), -means / deviations
    images = images.astype(jnp.float32) * _per_channel(scale) + _per_channel(shift)
    return (images[..., ::-1] if channel_order == "BGR" else images).astype(dtype)


def lighting(key: jax.Array, images: jax.Array, std: float = 0.1) -> jax.Array:
    """Shifts the colour of each image along the principal components of RGB.

    Source: Krizhevsky et al. 2012, section 4.1.

    Args:
      key: a key, or keys [B].
      images: [B, H, W, 3], in [0, 255].
      std: standard deviation of the normally distributed factor of each component.

    Returns:
      float32 [B, H, W, 3], up to some tens outside of [0, 255].
    """
    if is_one_key(key):
        alpha = std * jax.random.normal(key, (images.shape[0], 3))
    else:
        alpha = std * jax.vmap(lambda key: jax.random.normal(key, (3,)))(key)
    components = jnp.asarray(LIGHTING_EIGENVECTORS) * jnp.asarray(LIGHTING_EIGENVALUES)[None]
    offset = 255 * jnp.einsum("rc,bc->br", components, alpha, precision="highest")
    return images.astype(jnp.float32) + offset[:, None, None, :]


def _per_channel(values: jax.Array) -> jax.Array:
    return values.reshape(1, 1, 1, -1)
