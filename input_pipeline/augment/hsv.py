"""Turning the hue: in float32 as torchvision does it on tensors, in uint8 as Pillow."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from input_pipeline.augment.pixels import from_channels, per_image


def shift_hue(images: jax.Array, turns: ArrayLike) -> jax.Array:
    """uint8 [B, H, W, 3] through HSV in float32 and back, times 255.999 / 255, truncated."""
    red, green, blue = (images[..., n].astype(jnp.float32) for n in range(3))
    value = jnp.maximum(jnp.maximum(red, green), blue)
    chroma = value - jnp.minimum(jnp.minimum(red, green), blue)
    share = 1 / jnp.where(chroma == 0, 1, chroma)
    sixths = jnp.where(
        value == red,
        (green - blue) * share,
        jnp.where(value == green, 2 + (blue - red) * share, 4 + (red - green) * share),
    )
    sixths += 6 * per_image(turns, 3)

    def channel(offset: int) -> jax.Array:
        place = sixths + offset
        place -= 6 * jnp.floor(place * (1 / 6))  # mod takes ten times as long
        distance = jnp.clip(jnp.minimum(place, 4 - place), 0, 1)
        return jnp.clip((value - chroma * distance) * (255.999 / 255), 0, 255)

    return from_channels([channel(offset) for offset in (5, 3, 1)])


def rgb_to_hsv_uint8(images: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Pillow's conversion of uint8 [B, H, W, 3]: hue, saturation and value in uint8 [B, H, W]."""
    red, green, blue = (images[..., n].astype(jnp.int32) for n in range(3))
    value = jnp.maximum(jnp.maximum(red, green), blue)
    low = jnp.minimum(jnp.minimum(red, green), blue)
    chroma = value - low
    # Of the three channels one is the largest, one the smallest; the hue depends on the third.
    sector, middle = (
        jnp.where(
            value == red,
            jnp.where(blue == low, of_red[0], of_red[1]),
            jnp.where(
                value == green,
                jnp.where(blue == low, of_green[0], of_green[1]),
                jnp.where(red == low, of_blue[0], of_blue[1]),
            ),
        )
        for of_red, of_green, of_blue in (
            ((0, 1), (2, 3), (4, 5)),
            ((green, blue), (red, blue), (green, red)),
        )
    )
    index = (sector * 256 + chroma) * 256 + value - middle
    hue = jnp.asarray(_hue_table()).at[index].get(mode="promise_in_bounds")
    saturation = jnp.floor(chroma / jnp.maximum(value, 1).astype(jnp.float32) * 255)
    return hue, saturation.astype(jnp.uint8), value.astype(jnp.uint8)


@functools.cache
def _hue_table() -> np.ndarray:
    """Hue of each sector, chroma and distance of the middle channel from the largest.

    Pillow truncates 255 times the hue, which often is a whole number but for rounding: so this is
    rounded where Pillow's C does it, to float32 or not at all.

    Returns:
      uint8 [6 * 256 * 256].
    """
    chroma, distance = np.mgrid[0:256, 0:256].astype(np.float32)
    share = (distance / np.maximum(chroma, 1)).astype(np.float64)
    sixths = np.stack([1 - share, share - 1, 1 + share, 3 - share, 3 + share, 5 - share])
    hue = np.fmod(sixths.astype(np.float32).astype(np.float64) / 6 + 1, 1).astype(np.float32)
    table = np.clip(np.trunc(hue.astype(np.float64) * 255), 0, 255)
    return np.where(chroma == 0, 0, table).astype(np.uint8).ravel()


def shift_hue_uint8(images: jax.Array, turns: ArrayLike) -> jax.Array:
    """As Pillow does it: in uint8, where hue is added modulo 256."""
    hue, saturation, value = (c.astype(jnp.float32) for c in rgb_to_hsv_uint8(images))
    hue += jnp.trunc(per_image(turns, 3) * 255)
    hue = (hue - 256 * jnp.floor(hue / 256)) * 6 / 255
    saturation = saturation / 255
    sector = jnp.floor(hue)
    part = hue - sector
    low, falling, rising = (
        jnp.floor(value * (1 - saturation * factor) + 0.5) for factor in (1, part, 1 - part)
    )
    channels = [
        (value, falling, low, low, rising, value),
        (rising, value, value, falling, low, low),
        (low, low, rising, value, value, falling),
    ]
    sector = jnp.where(sector == 6, 0, sector)
    return from_channels(
        [
            functools.reduce(
                lambda rest, n: jnp.where(sector == n, of_sector[n], rest), range(5), of_sector[5]
            )
            for of_sector in channels
        ]
    )
