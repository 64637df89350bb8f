"""Other representations of an image as a network's input: HSV, grey, Fourier magnitude and phase.

They are made after augmentation, in training and evaluation alike, and change the number of
channels. Sources are joined by a plus: "rgb+fourier_magnitude" is six channels of an RGB image.
"""

import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from input_pipeline.augment.color import gray_values
from input_pipeline.augment.hsv import rgb_to_hsv


def hsv(images: jax.Array) -> jax.Array:
    """Hue, saturation and value, each scaled to [0, 255]; hue is a circle that is cut at red.

    [B, H, W, 3] -> float32 [B, H, W, 3].

    Raises:
      ValueError: there are not 3 channels.
    """
    if images.shape[-1] != 3:
        raise ValueError(f"HSV is made of 3 channels, not of {images.shape[-1]}.")
    hue, saturation, value = rgb_to_hsv(images.astype(jnp.float32))
    return jnp.stack([255 * hue, 255 * saturation, value], -1)


def gray(images: jax.Array) -> jax.Array:
    """Grey, as torchvision has it on tensors. [B, H, W, 3 or 1] -> float32 [B, H, W, 1]."""
    return gray_values(images)


def fourier_magnitude(images: jax.Array) -> jax.Array:
    """log(1 + |F|) of each channel's Fourier transform F, frequency 0 in the middle.

    Scaled to [0, 255], where 255 is the sum of a white image.

    [B, H, W, C] -> float32 [B, H, W, C].
    """
    largest = math.log1p(255 * images.shape[1] * images.shape[2])
    return jnp.log1p(jnp.abs(_spectrum(images))) * (255 / largest)


def fourier_phase(images: jax.Array) -> jax.Array:
    """The phase of each channel's Fourier transform, frequency 0 in the middle.

    [-pi, pi] is scaled to [0, 255]. [B, H, W, C] -> float32 [B, H, W, C].
    """
    return (jnp.angle(_spectrum(images)) / (2 * math.pi) + 0.5) * 255


def _spectrum(images: jax.Array) -> jax.Array:
    transformed = jnp.fft.fft2(images.astype(jnp.float32), axes=(1, 2))
    return jnp.fft.fftshift(transformed, axes=(1, 2))


def rgb(images: jax.Array) -> jax.Array:
    """The channels as they are, in float32."""
    return images.astype(jnp.float32)


REPRESENTATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "rgb": rgb,
    "hsv": hsv,
    "gray": gray,
    "fourier_magnitude": fourier_magnitude,
    "fourier_phase": fourier_phase,
}


def represent(images: jax.Array, sources: str = "rgb") -> jax.Array:
    """Turns images into other representations of them, side by side as channels.

    Args:
      images: [B, H, W, C] in [0, 255].
      sources: names of `REPRESENTATIONS`, joined by a plus.

    Returns:
      [B, H, W, C'] in [0, 255]: the images themselves for "rgb" alone, else float32.

    Raises:
      ValueError: a name is not known, or needs 3 channels.

    Example:
      >>> augment.represent(images, "hsv+gray").shape
      (8, 224, 224, 4)
    """
    names = source_names(sources)
    if names == ["rgb"]:
        return images
    return jnp.concatenate([REPRESENTATIONS[name](images) for name in names], -1)


def source_names(sources: str) -> list[str]:
    """The names in "rgb+hsv".

    Raises:
      ValueError: a name is not known.
    """
    names = sources.split("+")
    for name in names:
        if name not in REPRESENTATIONS:
            known = ", ".join(REPRESENTATIONS)
            raise ValueError(f"There is no representation {name!r}: choose of {known}.")
    return names


def represented_channels(sources: str, channels: int) -> int:
    """Number of channels of `represent(images, sources)` for images of so many channels."""
    return sum({"gray": 1, "hsv": 3}.get(name, channels) for name in source_names(sources))


def represented_statistics(
    sources: str, mean: Sequence[float], std: Sequence[float]
) -> tuple[list[float], list[float]]:
    """Mean and deviation of each channel, for `normalize`.

    Those of "rgb" are the given ones; other representations go from [0, 1] to [-1, 1].
    """
    means, deviations = [], []
    for name in source_names(sources):
        own = represented_channels(name, len(mean))
        means += list(mean) if name == "rgb" else [0.5] * own
        deviations += list(std) if name == "rgb" else [0.5] * own
    return means, deviations
