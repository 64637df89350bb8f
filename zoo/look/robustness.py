"""Random transformations of pictures, so that what a network sees in them does not hang on pixels.

All are functions of (key, images [B, H, W, C] in [0, 1]) -> images of one static size. What they
reach outside of the image is grey, 0.5.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

Transform = Callable[[jax.Array, jax.Array], jax.Array]

# lucid's, of which one of each is drawn for each step: factors of the size, degrees.
SCALES = tuple(1 + (number - 5) / 50 for number in range(11))
ANGLES = (*range(-10, 11), 0, 0, 0, 0, 0)


def jitter(pixels: int) -> Transform:
    """Returns a transformation that cuts off `pixels` in both directions, at random sides."""

    def transform(key: jax.Array, images: jax.Array) -> jax.Array:
        batch, height, width, channels = images.shape
        top, left = jax.random.randint(key, (2,), 0, pixels + 1)
        size = batch, height - pixels, width - pixels, channels
        return jax.lax.dynamic_slice(images, (0, top, left, 0), size)

    return transform


def standard(key: jax.Array, images: jax.Array) -> jax.Array:
    """Moves by up to 8 and 4 pixels, scales by up to 10 % and turns by up to 10 degrees, at once.

    The steps of lucid's `standard_transforms` (pad by 12, jitter 8, scale, rotate, jitter 4) in one
    resampling, for images that keep their size: [B, H, W, C] -> the same.
    """
    return _moved(key, images, (4, 2))


def gentle(key: jax.Array, images: jax.Array) -> jax.Array:
    """As `standard`, for images of less than about 64 pixels: moves by up to 1 and 1 pixels."""
    return _moved(key, images, (1, 1))


def _moved(key: jax.Array, images: jax.Array, pixels: tuple[int, int]) -> jax.Array:
    """Moves, scales and turns images; `pixels` bound two moves to either side."""
    first, second, scale, turn = jax.random.split(key, 4)
    shift = sum(
        jax.random.randint(of, (2,), -most, most + 1)
        for of, most in zip((first, second), pixels, strict=True)
    )
    angle = jnp.deg2rad(jax.random.choice(turn, jnp.asarray(ANGLES, images.dtype)))
    factor = jax.random.choice(scale, jnp.asarray(SCALES, images.dtype))
    return _resampled(images, jnp.asarray(shift, images.dtype), angle, factor)


def compose(transforms: Sequence[Transform]) -> Transform:
    """Returns a transformation that applies several, one after the other."""

    def transform(key: jax.Array, images: jax.Array) -> jax.Array:
        for each, step in zip(transforms, jax.random.split(key, len(transforms)), strict=True):
            images = each(step, images)
        return images

    return transform


def random_crops(
    count: int, size: int, smallest: float = 0.05, largest: float = 0.5, noise: float = 0.08
) -> Transform:
    """Returns a transformation to `count` noisy square crops of each image, as MACO has them.

    Crops have sides between `smallest` and `largest` of the image's, lie about its centre and are
    resized to `size` pixels. [B, H, W, C] -> [B * count, size, size, C], the crops of one image
    beside each other.
    """

    def crop(key: jax.Array, image: jax.Array) -> jax.Array:
        of_side, of_centre, of_noise, of_level = jax.random.split(key, 4)
        height, width, channels = image.shape
        side = jax.random.uniform(of_side, (), image.dtype, smallest, largest) * min(height, width)
        centre = 0.5 + 0.15 * jax.random.normal(of_centre, (2,), image.dtype)
        half = side / 2
        extent = jnp.array([height, width], image.dtype)
        centre = jnp.clip(centre * extent, half, extent - half)
        scale = jnp.broadcast_to(size / side, (2,))
        resized = jax.image.scale_and_translate(
            image, (size, size, channels), (0, 1), scale, -(centre - half) * scale, "linear"
        )
        level = jax.random.uniform(of_level, (), image.dtype, -noise / 2, noise / 2)
        return resized + level + noise * jax.random.normal(of_noise, resized.shape, image.dtype)

    def transform(key: jax.Array, images: jax.Array) -> jax.Array:
        keys = jax.random.split(key, (images.shape[0], count))
        crops = jax.vmap(lambda keys, image: jax.vmap(lambda key: crop(key, image))(keys))
        return crops(keys, images).reshape(-1, size, size, images.shape[-1])

    return transform


def _resampled(
    images: jax.Array, shift: jax.Array, angle: jax.Array, factor: jax.Array
) -> jax.Array:
    """Images turned, enlarged and moved about their centre, bilinearly."""
    batch, height, width, channels = images.shape
    rows = jnp.arange(height, dtype=images.dtype)[:, None] - (height - 1) / 2 - shift[0]
    columns = jnp.arange(width, dtype=images.dtype)[None] - (width - 1) / 2 - shift[1]
    cos, sin = jnp.cos(angle) / factor, jnp.sin(angle) / factor
    y = cos * rows - sin * columns + (height - 1) / 2  # [H, W]
    x = sin * rows + cos * columns + (width - 1) / 2
    top, left = jnp.floor(y), jnp.floor(x)
    flat = images.reshape(batch, height * width, channels)
    total = jnp.zeros_like(flat)
    inside = jnp.zeros((height * width,), images.dtype)
    for row in (top, top + 1):
        for column in (left, left + 1):
            weight = (1 - jnp.abs(y - row)) * (1 - jnp.abs(x - column))
            known = (row >= 0) & (row < height) & (column >= 0) & (column < width)
            weight = jnp.where(known, weight, 0).ravel()
            row_, column_ = jnp.clip(row, 0, height - 1), jnp.clip(column, 0, width - 1)
            index = (row_ * width + column_).astype(jnp.int32).ravel()
            total = total + weight[None, :, None] * flat[:, index]
            inside = inside + weight
    return (total + 0.5 * (1 - inside)[None, :, None]).reshape(images.shape)
