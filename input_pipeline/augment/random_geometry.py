"""Random forms of the geometric operations: (key, images, ...) -> images, each its own draw.

`key` is one key or keys [B]; images are uint8 [B, H, W, C]. Ranges and defaults are torchvision's.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from input_pipeline.augment import geometry
from input_pipeline.augment.combine import (
    fold_in,
    image_keys,
    is_one_key,
    random_apply,
    uniform,
)
from input_pipeline.augment.filters import gaussian_window, windowed
from input_pipeline.augment.noise import uniform_noise
from input_pipeline.augment.pixels import Fill


def random_flip(key: jax.Array, images: jax.Array) -> jax.Array:
    """Mirrors each image left to right with probability 1/2. [B, H, W, C] -> the same."""
    return _flip(key, images, 2)


def random_vertical_flip(key: jax.Array, images: jax.Array) -> jax.Array:
    """Mirrors each image top to bottom with probability 1/2. [B, H, W, C] -> the same."""
    return _flip(key, images, 1)


def _flip(key: jax.Array, images: jax.Array, axis: int) -> jax.Array:
    if is_one_key(key):
        chosen = jax.random.bernoulli(key, shape=(images.shape[0], 1, 1, 1))
    else:
        chosen = jax.vmap(jax.random.bernoulli)(key).reshape(-1, 1, 1, 1)
    return jnp.where(chosen, jnp.flip(images, axis), images)


def random_rotation(
    key: jax.Array,
    images: jax.Array,
    degrees: float | Sequence[float],
    interpolation: str = "nearest",
    center: Sequence[float] | None = None,
    fill: Fill = 0,
    backend: str = "tensor",
) -> jax.Array:
    """Rotates each image by an angle that is uniform in [-degrees, degrees], or in the pair.

    `interpolation`, `center`, `fill` and `backend` are those of `rotate`.
    """
    low, high = _around_zero(degrees)
    angle = uniform(image_keys(key, images.shape[0]), low, high)
    return geometry.rotate(images, angle, interpolation, center=center, fill=fill, backend=backend)


def random_affine(
    key: jax.Array,
    images: jax.Array,
    degrees: float | Sequence[float],
    translate: Sequence[float] | None = None,
    scale: Sequence[float] | None = None,
    shear: float | Sequence[float] | None = None,
    interpolation: str = "nearest",
    fill: Fill = 0,
    center: Sequence[float] | None = None,
    backend: str = "tensor",
) -> jax.Array:
    """Rotates, moves, scales and shears each image by random amounts.

    Args:
      key, images: as above.
      degrees: the angle is uniform in [-degrees, degrees], or in the pair.
      translate: (a, b): moved by whole pixels, uniform up to a of the width and b of the height.
      scale: pair between which the scale is uniform.
      shear: degrees, uniform: along x in [-s, s] or a pair; four numbers are two pairs, for x, y.
      interpolation, fill, center, backend: those of `affine`.
    """
    batch, height, width, _ = images.shape
    keys = image_keys(key, batch)
    share = uniform(fold_in(keys, 0), shape=(6,))

    def between(place: int, low: float, high: float) -> jax.Array:
        return low + share[:, place] * (high - low)

    reach = (translate[0] * width, translate[1] * height) if translate else (0.0, 0.0)
    moves = [jnp.round(between(1 + axis, -most, most)) for axis, most in enumerate(reach)]
    shears = [0.0, 0.0] if shear is None else [*_around_zero(shear)]
    if isinstance(shear, Sequence) and len(shear) == 4:
        shears = [*shear]
    shear_x = between(4, shears[0], shears[1])
    shear_y = between(5, shears[2], shears[3]) if len(shears) == 4 else 0.0
    return geometry.affine(
        images,
        between(0, *_around_zero(degrees)),
        (moves[0], moves[1]),
        between(3, *(scale or (1.0, 1.0))),
        (shear_x, shear_y),
        interpolation,
        fill,
        center,
        backend,
    )


def random_perspective(
    key: jax.Array,
    images: jax.Array,
    distortion_scale: float = 0.5,
    p: float = 0.5,
    interpolation: str = "bilinear",
    fill: Fill = 0,
    backend: str = "tensor",
) -> jax.Array:
    """Moves the corners of each image inwards, with probability `p`.

    Args:
      key, images: as above.
      distortion_scale: corners move by whole pixels, up to this share of half an image.
      p: probability.
      interpolation, fill, backend: those of `perspective`.
    """
    height, width = images.shape[1:3]
    start = jnp.asarray(
        [[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1]], jnp.float32
    )
    inwards = jnp.asarray([[1, 1], [-1, 1], [-1, -1], [1, -1]], jnp.float32)
    most = jnp.asarray([int(distortion_scale * (n // 2)) for n in (width, height)])

    def distorted(key: jax.Array, images: jax.Array) -> jax.Array:
        keys = image_keys(key, images.shape[0])
        moves = jax.vmap(lambda key: jax.random.randint(key, (4, 2), 0, most[None] + 1))(
            keys
        ).astype(jnp.float32)
        end = start[None] + inwards[None] * moves
        return geometry.perspective(images, start, end, interpolation, fill, backend)

    return (distorted if p >= 1 else random_apply(distorted, p))(key, images)


def elastic_transform(
    key: jax.Array,
    images: jax.Array,
    alpha: float | Sequence[float] = 50.0,
    sigma: float | Sequence[float] = 5.0,
    interpolation: str = "bilinear",
    fill: Fill = 0,
) -> jax.Array:
    """Displaces the pixels of each image by noise that is smooth in space (Simard 2003).

    Args:
      key, images: as above.
      alpha: strength of the displacement in pixels along (x, y), before smoothing.
      sigma: standard deviation of the smoothing along (x, y), in pixels.
      interpolation, fill: those of `elastic`.
    """
    batch, height, width, _ = images.shape
    strengths = [alpha] * 2 if isinstance(alpha, int | float) else list(alpha)
    deviations = [sigma] * 2 if isinstance(sigma, int | float) else list(sigma)
    keys = image_keys(key, batch)
    noise = uniform_noise(keys, (2, height, width))
    fields = []
    for axis, size in enumerate((width, height)):
        field, deviation = noise[:, axis, :, :, None], deviations[axis]
        weights = gaussian_window(int(8 * deviation + 1) | 1, deviation)
        for direction in (2, 1):
            field = windowed(field, weights, direction, "reflect")
        fields.append(field[..., 0] * (strengths[axis] / size))
    return geometry.elastic(images, jnp.stack(fields, -1), interpolation, fill)


def _around_zero(value: float | Sequence[float]) -> tuple[float, float]:
    return (-value, value) if isinstance(value, int | float) else (value[0], value[1])
