"""Colour: brightness, contrast, saturation, hue, grey, and maps of single values.

Images are uint8 [B, H, W, C], C 1 or 3 where colours are mixed; a parameter is a number, or [B],
one for each image. `backend` is "tensor" (torchvision on tensors, the default) or "pillow": they
differ by the weights of grey, by how contrast's mean is rounded, and by hue in uint8.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from input_pipeline.augment.hsv import shift_hue, shift_hue_uint8
from input_pipeline.augment.pixels import (
    blend,
    check_backend,
    from_channels,
    look_up,
    per_image,
    truncated,
)


def gray_values(images: jax.Array, backend: str = "tensor") -> jax.Array:
    """Grey of each pixel as a whole number in float32, [B, H, W, 1].

    The tensor backend truncates 0.2989 R + 0.587 G + 0.114 B; Pillow's rounds 0.299 R + 0.587 G +
    0.114 B in fixed point. Grey images are what they are.

    Raises:
      ValueError: there are neither 1 nor 3 channels.
    """
    check_backend(backend)
    if images.shape[-1] == 1:
        return images.astype(jnp.float32)
    if images.shape[-1] != 3:
        raise ValueError(f"Grey is made of 3 channels, not of {images.shape[-1]}.")
    if backend == "pillow":
        red, green, blue = (images[..., n : n + 1].astype(jnp.int32) for n in range(3))
        return ((19595 * red + 38470 * green + 7471 * blue + 32768) >> 16).astype(jnp.float32)
    red, green, blue = (images[..., n : n + 1].astype(jnp.float32) for n in range(3))
    return jnp.floor(0.2989 * red + 0.587 * green + 0.114 * blue)


def rgb_to_grayscale(
    images: jax.Array, num_output_channels: int = 1, backend: str = "tensor"
) -> jax.Array:
    """Grey in 1 channel or in `num_output_channels` equal ones. Both backends: `gray_values`."""
    gray = gray_values(images, backend).astype(jnp.uint8)
    return jnp.broadcast_to(gray, (*gray.shape[:3], num_output_channels))


def adjust_brightness(images: jax.Array, brightness_factor: ArrayLike) -> jax.Array:
    """Multiplies by a factor, clipped and truncated: 0 is black, 1 the image. Both backends."""
    return blend(images, 0.0, brightness_factor)


def adjust_contrast(
    images: jax.Array, contrast_factor: ArrayLike, backend: str = "tensor"
) -> jax.Array:
    """Blends with the mean of grey: 0 is that mean, 1 the image; above 1 it extrapolates.

    Pillow's mean is rounded to a whole number.
    """
    # A sum of integers, as XLA may add them in any order, several at once. It fits into 32 bits up
    # to eight million pixels.
    gray = gray_values(images, backend).astype(jnp.int32)
    mean = gray.sum((1, 2, 3), keepdims=True) / (images.shape[1] * images.shape[2])
    return blend(images, jnp.floor(mean + 0.5) if backend == "pillow" else mean, contrast_factor)


def adjust_saturation(
    images: jax.Array, saturation_factor: ArrayLike, backend: str = "tensor"
) -> jax.Array:
    """Blends with grey: 0 is grey, 1 the image; above 1 it extrapolates."""
    if images.shape[-1] == 1:
        return images
    gray, factor = gray_values(images, backend)[..., 0], per_image(saturation_factor, 3)
    channels = [images[..., n].astype(jnp.float32) for n in range(3)]
    return from_channels(
        [jnp.clip(channel * factor + (1 - factor) * gray, 0, 255) for channel in channels]
    )


def adjust_hue(images: jax.Array, hue_factor: ArrayLike, backend: str = "tensor") -> jax.Array:
    """Turns the hue by `hue_factor` of the circle, in [-0.5, 0.5]. Grey images stay.

    The tensor backend goes through HSV in float32, Pillow's in uint8, where hue has 255 steps: up
    to 11 grey levels away.
    """
    check_backend(backend)
    if images.shape[-1] == 1:
        return images
    return (shift_hue if backend == "tensor" else shift_hue_uint8)(images, hue_factor)


def adjust_gamma(images: jax.Array, gamma: ArrayLike, gain: ArrayLike = 1.0) -> jax.Array:
    """gain * (x / 255) ** gamma, clipped to [0, 1], times 255.999, truncated. Both backends."""
    gamma, gain = per_image(gamma, 2), per_image(gain, 2)
    values = (jnp.arange(256, dtype=jnp.float32) / 255)[None]
    table = jnp.floor(255.999 * jnp.clip(gain * values**gamma, 0, 1)).astype(jnp.uint8)
    return look_up(jnp.broadcast_to(table, (images.shape[0], 256)), images)


def invert(images: jax.Array) -> jax.Array:
    """255 - x. Both backends."""
    return 255 - images


def posterize(images: jax.Array, bits: ArrayLike) -> jax.Array:
    """Keeps the upper `bits` of each value: 8 is the image, 0 black (the tensor backend's)."""
    kept = jnp.clip(jnp.asarray(bits, jnp.int32), 0, 8)
    mask = (256 - (1 << (8 - kept))).astype(jnp.uint8)
    return images & (mask.reshape(-1, 1, 1, 1) if mask.ndim else mask)


def solarize(images: jax.Array, threshold: ArrayLike) -> jax.Array:
    """Inverts values of at least `threshold`; 256 leaves the image. Both backends."""
    return jnp.where(images.astype(jnp.float32) >= per_image(threshold), 255 - images, images)


def solarize_add(images: jax.Array, addend: ArrayLike, threshold: ArrayLike = 128) -> jax.Array:
    """Adds `addend` to values below `threshold`, clipped to 255: timm's SolarizeAdd (Pillow)."""
    values = images.astype(jnp.float32)
    added = truncated(values + jnp.trunc(per_image(addend)))
    return jnp.where(values < per_image(threshold), added, images)


def permute_channels(images: jax.Array, permutation: Sequence[int]) -> jax.Array:
    """Channel k of the result is channel `permutation[k]`. The tensor backend's."""
    return images[..., jnp.asarray(permutation)]
