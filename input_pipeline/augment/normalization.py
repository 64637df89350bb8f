"""Normalization, whitening and other linear maps, and AlexNet's shift of colours.

Images are [B, H, W, C] in [0, 255], uint8 or floating point; `normalize` comes last.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike

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


def linear_transformation(images: jax.Array, matrix: ArrayLike, mean: ArrayLike) -> jax.Array:
    """Multiplies the values of each image, less their mean, by a matrix: whitening, for example.

    Args:
      images: [B, H, W, C].
      matrix: [D, D] with D = H W C, by which a row of values is multiplied from the right. Values
        are in the order of `images.reshape(B, -1)`; torchvision's are in that of (C, H, W).
      mean: [D].

    Returns:
      float32 [B, H, W, C].

    Raises:
      ValueError: the matrix or the mean is for images of another size.

    Example:
      >>> values = images.reshape(len(images), -1)  # ZCA whitening, as of CIFAR-10 for NiN
      >>> mean, covariance = values.mean(0), jnp.cov(values.T)
      >>> variances, axes = jnp.linalg.eigh(covariance)
      >>> white = augment.linear_transformation(
      ...     images, axes / jnp.sqrt(variances + 0.1) @ axes.T, mean
      ... )
    """
    matrix, mean = jnp.asarray(matrix, jnp.float32), jnp.asarray(mean, jnp.float32)
    size = math.prod(images.shape[1:])
    if matrix.shape != (size, size) or mean.shape != (size,):
        raise ValueError(
            f"Images {list(images.shape[1:])} have {size} values: the matrix is "
            f"{list(matrix.shape)} and the mean {list(mean.shape)}."
        )
    values = images.reshape(-1, size).astype(jnp.float32) - mean[None]
    return jnp.matmul(values, matrix, precision="highest").reshape(images.shape)


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
