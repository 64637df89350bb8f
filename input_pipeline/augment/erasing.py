"""Random erasing: a random box of an image is replaced by noise or by a constant.

It is the last operation on an image, after normalization, so that 0 is the mean colour and noise of
standard deviation 1 has the contrast of images.

Source: Zhong et al. 2020 (arXiv 1708.04896); timm 1.0.31 `data/random_erasing.py`, to which
torchvision's `RandomErasing` is equal but for its ranges (area 0.02 to 0.33, aspect 0.3 to 3.3).
"""

import functools
import math

import jax
import jax.numpy as jnp

from input_pipeline.augment.combine import fold_in, image_keys, switch, uniform
from input_pipeline.augment.crop import erase as erase_boxes
from input_pipeline.augment.draws import whole_number
from input_pipeline.augment.noise import normal_noise

MODES = ("pixel", "color", "constant")
ATTEMPTS = 10  # to find a box that fits


def random_erasing(
    key: jax.Array,
    images: jax.Array,
    probability: float,
    mode: str = "pixel",
    count: int = 1,
    area: tuple[float, float] = (0.02, 1 / 3),
    aspect: tuple[float, float] = (0.3, 1 / 0.3),
) -> jax.Array:
    """Erases boxes of some images.

    Args:
      key: a PRNG key, or one for each image [B].
      images: normalized images, float [B, H, W, C].
      probability: of each image to be erased.
      mode: what stands in the box: "pixel" for normal noise of each pixel and channel, "color" for
        one normally distributed colour, "constant" for 0.
      count: largest number of boxes; from 1 to so many are drawn, and the area is divided by it.
      area: range of the area as a fraction of the image's, drawn uniformly.
      aspect: range of height to width, drawn log-uniformly.

    Returns:
      Images of the same shape and dtype.
    """
    if mode not in MODES:
        raise ValueError(f"mode={mode!r}: choose one of {', '.join(MODES)}")
    batch, height, width, _ = images.shape
    keys = image_keys(key, batch)
    draw = functools.partial(
        draw_boxes, height=height, width=width, count=count, area=area, aspect=aspect
    )
    boxes = jax.vmap(draw)(fold_in(keys, 0))  # [B, count, 4]
    erased = uniform(fold_in(keys, 1)) < probability
    noise_keys = fold_in(keys, 2)

    def keep(images, boxes, keys):
        return images

    def erase(images, boxes, keys):
        for number in range(count):
            values = _noise(fold_in(keys, number), images, mode)
            top, left, rows, columns = (boxes[:, number, i] for i in range(4))
            images = erase_boxes(images, top, left, rows, columns, values)
        return images

    return switch(erased.astype(jnp.int32), (keep, erase), images, boxes, noise_keys)


def draw_boxes(
    key: jax.Array,
    height: int,
    width: int,
    count: int = 1,
    area: tuple[float, float] = (0.02, 1 / 3),
    aspect: tuple[float, float] = (0.3, 1 / 0.3),
) -> jax.Array:
    """Draws the boxes of one image, int32 [count, 4]: top, left, height, width.

    A box is empty where there are fewer, and where none of 10 sizes fits into the image. Arguments
    are those of `random_erasing`.
    """
    uniform = jax.random.uniform(key, (2 * count * ATTEMPTS + 2 * count + 1,))
    of_size = uniform[: 2 * count * ATTEMPTS].reshape(2, count, ATTEMPTS)
    of_place = uniform[2 * count * ATTEMPTS : -1].reshape(2, count)
    number = 1 + whole_number(uniform[-1], count)
    fraction = (area[0] + (area[1] - area[0]) * of_size[0]) / number
    low, high = math.log(aspect[0]), math.log(aspect[1])
    ratio = jnp.exp(low + (high - low) * of_size[1])
    rows, columns, fits = erasing_size(height, width, fraction, ratio)  # [count, ATTEMPTS] each
    first = jnp.argmax(fits, axis=1)[:, None]
    rows, columns, fits = (
        jnp.take_along_axis(values, first, axis=1)[:, 0] for values in (rows, columns, fits)
    )
    fits &= jnp.arange(count) < number
    rows, columns = jnp.where(fits, rows, 0), jnp.where(fits, columns, 0)
    top = whole_number(of_place[0], height - rows + 1)
    left = whole_number(of_place[1], width - columns + 1)
    return jnp.stack([top, left, rows, columns], axis=-1).astype(jnp.int32)


def erasing_size(
    height: int, width: int, area: jax.Array, aspect: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns (height, width) of a box, int32, and whether it is smaller than the image, bool.

    Args:
      height, width: size of the image in pixels.
      area: of the box as a fraction of the image's.
      aspect: height to width of the box.
    """
    pixels = area * (height * width)
    rows = jnp.round(jnp.sqrt(pixels * aspect)).astype(jnp.int32)
    columns = jnp.round(jnp.sqrt(pixels / aspect)).astype(jnp.int32)
    return rows, columns, (rows < height) & (columns < width)


def _noise(keys: jax.Array, images: jax.Array, mode: str) -> jax.Array:
    """What stands in the boxes of images [B, H, W, C]; it broadcasts against them."""
    _, height, width, channels = images.shape
    if mode == "constant":
        return jnp.zeros((1, 1, 1, channels), images.dtype)
    shape = (height, width, channels) if mode == "pixel" else (1, 1, channels)
    return normal_noise(keys, shape).astype(images.dtype)
