"""Other representations of an image as a model's input: HSV, grey, Fourier magnitude and phase.

They belong to a model's preprocessing, in training and evaluation alike, and change the number of
its channels. Several are joined by a plus, and stand side by side as channels: "rgb+hsv" are six.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np


def rgb(pixels: Any) -> Any:
    """The channels as they are; also those of a grey image."""
    return pixels


def hsv(pixels: Any) -> Any:
    """Hue, saturation and value, each in [0, 255]. Hue is a circle, which is cut at red.

    [..., 3] -> float32 [..., 3].
    """
    xp = _namespace(pixels)
    red, green, blue = (pixels[..., n].astype(np.float32) for n in range(3))
    value = xp.maximum(xp.maximum(red, green), blue)
    chroma = value - xp.minimum(xp.minimum(red, green), blue)
    divisor = xp.where(chroma == 0, 1, chroma)
    hue = xp.where(
        value == red,
        (green - blue) / divisor % 6,
        xp.where(value == green, (blue - red) / divisor + 2, (red - green) / divisor + 4),
    )
    saturation = chroma / xp.where(value == 0, 1, value)
    return xp.stack([hue * (255 / 6), saturation * 255, value], -1).astype(np.float32)


def gray(pixels: Any) -> Any:
    """Grey, 0.299 R + 0.587 G + 0.114 B, in [0, 255]. [..., 3] -> float32 [..., 1]."""
    red, green, blue = (pixels[..., n : n + 1].astype(np.float32) for n in range(3))
    return 0.299 * red + 0.587 * green + 0.114 * blue


def fourier_magnitude(pixels: Any) -> Any:
    """log(1 + |F|) of the Fourier transform F of each channel, with frequency 0 in the middle.

    It is scaled so that 255 is frequency 0 of a white image. [..., H, W, C] -> float32, the same.
    """
    white = 255 * pixels.shape[-3] * pixels.shape[-2]
    magnitude = _namespace(pixels).abs(_spectrum(pixels))
    return (_namespace(pixels).log1p(magnitude) * (255 / math.log1p(white))).astype(np.float32)


def fourier_phase(pixels: Any) -> Any:
    """The phase of the Fourier transform of each channel, with frequency 0 in the middle.

    [-pi, pi] is scaled to [0, 255]. [..., H, W, C] -> float32, the same.
    """
    phase = _namespace(pixels).angle(_spectrum(pixels))
    return ((phase / (2 * math.pi) + 0.5) * 255).astype(np.float32)


REPRESENTATIONS: dict[str, Callable[[Any], Any]] = {
    function.__name__: function for function in (rgb, hsv, gray, fourier_magnitude, fourier_phase)
}
_OF_COLOUR = {"hsv": 3, "gray": 1}  # channels of those that are made of three


def represent(pixels: Any, names: str) -> Any:
    """Returns representations of images, side by side as channels.

    Args:
      pixels: [..., H, W, C] in [0, 255], an array of numpy or, also under `jax.jit`, of JAX.
      names: names of `REPRESENTATIONS` with a plus between them.

    Returns:
      [..., H, W, C'] in [0, 255]; the pixels themselves for "rgb" alone.

    Raises:
      ValueError: there is no such representation, or not of so many channels.

    Example:
      >>> represent(np.zeros((8, 224, 224, 3), np.uint8), "rgb+gray").shape
      (8, 224, 224, 4)
    """
    check(names, pixels.shape[-1])
    found = [REPRESENTATIONS[name](pixels) for name in names.split("+")]
    return found[0] if len(found) == 1 else _namespace(pixels).concatenate(found, -1)


def check(names: str, channels: int) -> None:
    """Raises ValueError unless `represent` can make that of images of so many channels."""
    for name in names.split("+"):
        if name not in REPRESENTATIONS:
            known = ", ".join(REPRESENTATIONS)
            raise ValueError(f"There is no representation {name!r} of an image: choose of {known}.")
        if name in _OF_COLOUR and channels != 3:
            raise ValueError(f"The representation {name} is made of 3 channels, not of {channels}.")


def statistics(
    names: str, mean: Sequence[float], std: Sequence[float]
) -> tuple[list[float], list[float]]:
    """Returns mean and deviation of each channel of `represent`, of values scaled to [0, 1].

    Args:
      names: as in `represent`.
      mean, std: of "rgb", one for each channel of the image; all others are scaled to [-1, 1].
    """
    means: list[float] = []
    deviations: list[float] = []
    for name in names.split("+"):
        half = [0.5] * _OF_COLOUR.get(name, len(mean))
        means += mean if name == "rgb" else half
        deviations += std if name == "rgb" else half
    return means, deviations


def _spectrum(pixels: Any) -> Any:
    fft = _namespace(pixels).fft
    transformed = fft.fft2(pixels.astype(np.float32), axes=(-3, -2))
    return fft.fftshift(transformed, axes=(-3, -2))


def _namespace(pixels: Any) -> Any:
    if isinstance(pixels, np.ndarray):
        return np
    import jax.numpy as jnp  # here, as preprocessing with numpy does without

    return jnp
