"""Pictures that are optimised as spectra: all frequencies at once, with decorrelated colours.

Both kinds have `init(key, batch)`, the parameters that are optimised, and `render(parameters)`, the
images [B, H, W, C] in [0, 1]. Images of three channels have decorrelated colours (their components
are about independent in photographs); of other numbers of channels each is by itself.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

# The square root of the covariance of colours in ImageNet, as in lucid.
COLOURS = np.array([[0.26, 0.09, 0.02], [0.27, 0.00, -0.05], [0.27, -0.09, 0.03]])


@dataclass(frozen=True)
class FourierImage:
    """Images by their spectra, each frequency divided by itself as in photographs.

    Olah et al. 2017; the constants are lucid's.

    Attributes:
      height, width: Size of the images in pixels.
      channels: Number of their channels.
      std: Standard deviation of the spectrum at the start.
    """

    height: int
    width: int
    channels: int = 3
    std: float = 0.01

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of a spectrum; an odd width has one column more than it needs."""
        return self.height, self.width // 2 + 1 + self.width % 2

    def init(self, key: jax.Array, batch: int) -> jax.Array:
        """Returns a random spectrum [2, B, C, h, f]: real and imaginary parts."""
        return self.std * jax.random.normal(key, (2, batch, self.channels, *self.shape))

    def scale(self) -> np.ndarray:
        """Returns the factor of each frequency, sqrt(h w) / max(f, 1 / max(h, w)), [h, f]."""
        frequencies = _frequencies(self.height, self.width)[:, : self.shape[1]]
        lowest = 1 / max(self.height, self.width)
        return np.sqrt(self.height * self.width) / np.maximum(frequencies, lowest)

    def render(self, spectrum: jax.Array) -> jax.Array:
        """Returns the images of a spectrum, [B, H, W, C] in (0, 1)."""
        scaled = jax.lax.complex(spectrum[0], spectrum[1]) * self.scale()[None, None]
        size = self.height, 2 * (self.shape[1] - 1)
        pixels = jnp.fft.irfft2(scaled, s=size)[..., : self.width] / 4  # [B, C, H, W]
        return jax.nn.sigmoid(_correlated(jnp.moveaxis(pixels, 1, -1)))


@dataclass(frozen=True)
class MacoImage:
    """Images whose spectra have fixed magnitudes; their phases are optimised.

    Fel et al. 2023, Unlocking Feature Visualization for Deeper Networks with MAgnitude Constrained
    Optimization, arXiv:2306.06805. Nothing but the arrangement of what photographs have anyway can
    change, so that no other penalty is needed.

    Attributes:
      magnitude: Mean magnitudes of photographs [C, H, W // 2 + 1], from `mean_magnitude`.
      width: Width of the images in pixels.
    """

    magnitude: Any
    width: int

    def init(self, key: jax.Array, batch: int) -> jax.Array:
        """Returns random phases [B, C, H, f] in radians."""
        return jax.random.normal(key, (batch, *self.magnitude.shape))

    def render(self, phases: jax.Array) -> jax.Array:
        """Returns the images of phases, [B, H, W, C] in (0, 1)."""
        magnitude = jnp.asarray(self.magnitude, phases.dtype)[None]
        spectrum = jax.lax.complex(magnitude * jnp.cos(phases), magnitude * jnp.sin(phases))
        pixels = jnp.fft.irfft2(spectrum, s=(self.magnitude.shape[1], self.width))
        mean, std = (f(pixels, axis=(1, 2, 3), keepdims=True) for f in (jnp.mean, jnp.std))
        return jax.nn.sigmoid(_correlated(jnp.moveaxis((pixels - mean) / (std + 1e-4), 1, -1)))


def mean_magnitude(images: Iterable[np.ndarray]) -> np.ndarray:
    """Returns the mean magnitudes of the spectra of images, for `MacoImage`, [C, H, W // 2 + 1].

    Args:
      images: Images [H, W, C] of one size with values in [0, 1], such as crops of photographs.

    Raises:
      ValueError: There is none.
    """
    total, count = np.zeros(()), 0
    for image in images:
        channels = image.shape[-1]
        apart = image @ np.linalg.inv(_colours(channels)).T  # colours without correlation
        total = total + np.abs(np.fft.rfft2(np.moveaxis(apart, -1, 0)))
        count += 1
    if not count:
        raise ValueError("There are no images to compute magnitudes from.")
    return total / count


def _frequencies(height: int, width: int) -> np.ndarray:
    """[h, w]: cycles per pixel of each entry of a spectrum."""
    return np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None])


def _colours(channels: int) -> np.ndarray:
    if channels != 3:
        return np.eye(channels)
    return COLOURS / np.linalg.norm(COLOURS, axis=0).max()


def _correlated(pixels: jax.Array) -> jax.Array:
    """Mixes independent components into colours, [B, H, W, C]."""
    return pixels @ jnp.asarray(_colours(pixels.shape[-1]).T, pixels.dtype)
