"""Rotation, affine and perspective maps, elastic deformation: torchvision's geometry.

Positions are measured from the image's centre: x' = x + 0.5 - W/2 of pixel x, y likewise. A matrix
takes positions of the result to positions of the source.

`backend` is "tensor" (torchvision on tensors, the default) or "pillow" (on Pillow images): they
differ by how they interpolate and fill, see `sampling.sample`.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from input_pipeline.augment.pixels import Fill, stored
from input_pipeline.augment.sampling import sample

Pair = tuple[ArrayLike, ArrayLike] | Sequence[float]


def rotate(
    images: jax.Array,
    angle: ArrayLike,
    interpolation: str = "nearest",
    expand: bool = False,
    center: Pair | None = None,
    fill: Fill = None,
    backend: str = "tensor",
) -> jax.Array:
    """Rotates each image counter-clockwise. Multiples of 90 degrees move pixels and blend none.

    Args:
      images: uint8 [B, H, W, C].
      angle: degrees, a number or [B].
      interpolation: "nearest", "bilinear" or (Pillow) "bicubic".
      expand: whether the result is as large as the whole rotated image needs; then `angle` has to
        be a Python number.
      center: (x, y) in pixels from the top left corner; None: the image's centre.
      fill: what stands outside of the image: None (zero), a number or one for each channel.
      backend: "tensor" or "pillow".

    Returns:
      uint8 [B, H, W, C], with other H and W if `expand`.
    """
    height, width = images.shape[1:3]
    matrix = affine_matrix(-jnp.asarray(angle, jnp.float32))
    matrix = _about(matrix, center, height, width)
    size = _expanded(float(angle), height, width) if expand else (height, width)  # pyright: ignore
    return transform(images, matrix, interpolation, fill, backend, size)


def affine(
    images: jax.Array,
    angle: ArrayLike,
    translate: Pair,
    scale: ArrayLike,
    shear: Pair,
    interpolation: str = "nearest",
    fill: Fill = None,
    center: Pair | None = None,
    backend: str = "tensor",
) -> jax.Array:
    """Shears, scales, rotates and moves each image, in this order.

    Args:
      images: uint8 [B, H, W, C].
      angle: degrees, clockwise; a number or [B], as are all that follow.
      translate: (right, down) in pixels.
      scale: above 1 enlarges.
      shear: (x, y) in degrees.
      interpolation, fill, center, backend: as in `rotate`.

    Returns:
      uint8 [B, H, W, C].
    """
    matrix = affine_matrix(angle, scale, shear)
    matrix = _about(matrix, center, *images.shape[1:3], translate=translate)
    return transform(images, matrix, interpolation, fill, backend)


def affine_matrix(angle: ArrayLike, scale: ArrayLike = 1.0, shear: Pair = (0.0, 0.0)) -> jax.Array:
    """From result to source: the inverse of R(angle, clockwise) Sy Sx scale.

    Args:
      angle: degrees, a number or [B], as `scale` and both of `shear`.

    Returns:
      float32 [2, 3] or [B, 2, 3]; the last column is zero.
    """
    cosine, sine = _cosine_and_sine(jnp.asarray(angle, jnp.float32))
    tan_x, tan_y = (jnp.tan(jnp.radians(jnp.asarray(s, jnp.float32))) for s in shear)
    lower = (tan_y * cosine - sine, tan_y * sine + cosine)
    upper = (cosine + tan_x * lower[0], sine + tan_x * lower[1])
    zero = jnp.zeros((), jnp.float32)
    linear = [value / jnp.asarray(scale, jnp.float32) for value in (*upper, *lower)]
    return _matrix(linear[0], linear[1], zero, linear[2], linear[3], zero)


def transform(
    images: jax.Array,
    matrix: jax.Array,
    interpolation: str = "nearest",
    fill: Fill = None,
    backend: str = "tensor",
    size: tuple[int, int] | None = None,
    between: str = "xy",
) -> jax.Array:
    """Resamples each image by a matrix from positions of the result to those of the source.

    Args:
      images: uint8 [B, H, W, C].
      matrix: [2, 3] or [B, 2, 3], affine, or [3, 3] or [B, 3, 3], projective; positions are
        measured from the centres.
      interpolation, fill, backend: as in `rotate`.
      size: (height, width) of the result; None: the image's.
      between: axes on which sources may lie between pixels, see `sampling.sample`.

    Returns:
      uint8 [B, height, width, C].
    """
    height, width = images.shape[1:3]
    rows, columns = size or (height, width)
    entries = stored(matrix if matrix.ndim == 3 else matrix[None])
    x = (jnp.arange(columns, dtype=jnp.float32) + 0.5 - columns / 2).reshape(1, 1, -1)
    y = (jnp.arange(rows, dtype=jnp.float32) + 0.5 - rows / 2).reshape(1, -1, 1)

    def row(number: int) -> jax.Array:
        a, b, c = (entries[:, number, k].reshape(-1, 1, 1) for k in range(3))
        return a * x + b * y + c

    source_x, source_y = row(0), row(1)
    if entries.shape[1] == 3:
        source_x, source_y = source_x / row(2), source_y / row(2)
    source_x, source_y = source_x + (width / 2 - 0.5), source_y + (height / 2 - 0.5)
    return sample(images, source_x, source_y, interpolation, fill, backend, between)


def perspective(
    images: jax.Array,
    startpoints: ArrayLike,
    endpoints: ArrayLike,
    interpolation: str = "bilinear",
    fill: Fill = None,
    backend: str = "tensor",
) -> jax.Array:
    """Moves four points of each image, and the rest as in a photograph of a plane.

    Args:
      images: uint8 [B, H, W, C].
      startpoints, endpoints: [4, 2] or [B, 4, 2], (x, y) in pixels: where four points stand, and
        where they come to. They go round: top left, top right, bottom right, bottom left.
      interpolation, fill, backend: as in `rotate`.

    Returns:
      uint8 [B, H, W, C].
    """
    height, width = images.shape[1:3]
    half = jnp.asarray([width / 2, height / 2], jnp.float32)
    # In units of half an image, from its centre: so float32 is enough.
    start, end = (
        (points - half.reshape((1,) * (points.ndim - 1) + (2,)))
        / half.reshape((1,) * (points.ndim - 1) + (2,))
        for points in (jnp.asarray(p, jnp.float32) for p in (startpoints, endpoints))
    )
    matrix = _square_to(start) @ _adjugate(_square_to(end))
    scale = jnp.asarray([width / 2, height / 2, 1.0], jnp.float32)
    matrix = matrix * (scale[:, None] / scale[None]).reshape((1,) * (matrix.ndim - 2) + (3, 3))
    return transform(images, matrix, interpolation, fill, backend)


def elastic(
    images: jax.Array,
    displacement: jax.Array,
    interpolation: str = "bilinear",
    fill: Fill = None,
) -> jax.Array:
    """Reads each pixel from where its displacement says: torchvision's on tensors (Simard 2003).

    Args:
      images: uint8 [B, H, W, C].
      displacement: [H, W, 2] or [B, H, W, 2], (x, y) in halves of the image's width and height.
      interpolation: "nearest" or "bilinear".
      fill: as in `rotate`.

    Returns:
      uint8 [B, H, W, C].
    """
    height, width = images.shape[1:3]
    displacement = displacement.reshape(-1, height, width, 2)
    x = jnp.arange(width, dtype=jnp.float32).reshape(1, 1, -1) + displacement[..., 0] * (width / 2)
    y = jnp.arange(height, dtype=jnp.float32).reshape(1, -1, 1)
    y = y + displacement[..., 1] * (height / 2)
    return sample(images, x, y, interpolation, fill)


def _cosine_and_sine(degrees: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Exact at multiples of 90 degrees."""
    quarter = jnp.round(degrees / 90)
    rest = jnp.radians(degrees - 90 * quarter)
    cosine, sine = jnp.cos(rest), jnp.sin(rest)
    turns = jnp.mod(quarter, 4).astype(jnp.int32)
    return (
        jnp.choose(turns, [cosine, -sine, -cosine, sine], mode="clip"),
        jnp.choose(turns, [sine, cosine, -sine, -cosine], mode="clip"),
    )


def _matrix(*entries: jax.Array) -> jax.Array:
    """Six entries, numbers or [B], row by row -> [2, 3] or [B, 2, 3]."""
    stacked = jnp.stack(jnp.broadcast_arrays(*entries), -1)
    return stacked.reshape(*stacked.shape[:-1], 2, 3)


def _about(
    matrix: jax.Array,
    center: Pair | None,
    height: int,
    width: int,
    translate: Pair = (0.0, 0.0),
) -> jax.Array:
    """The matrix about another centre, after a translation of the result."""
    linear = matrix[..., :2]
    x, y = (0.0, 0.0) if center is None else (center[0] - width / 2, center[1] - height / 2)
    a, b, c, d = (linear[..., i, j] for i in range(2) for j in range(2))
    moved_x, moved_y = x + jnp.asarray(translate[0]), y + jnp.asarray(translate[1])
    offsets = (x - a * moved_x - b * moved_y, y - c * moved_x - d * moved_y)
    return _matrix(a, b, jnp.asarray(offsets[0]), c, d, jnp.asarray(offsets[1]))


def _expanded(angle: float, height: int, width: int) -> tuple[int, int]:
    """(height, width) that a rotated image needs; corners are cut to 4 decimals, as torchvision."""
    cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    corners = [(sx * width / 2, sy * height / 2) for sx in (-1, 1) for sy in (-1, 1)]
    xs = [cosine * x - sine * y + width / 2 for x, y in corners]
    ys = [sine * x + cosine * y + height / 2 for x, y in corners]
    ends = [
        math.ceil(math.trunc(max(values) * 1e4) / 1e4)
        - math.floor(math.trunc(min(values) * 1e4) / 1e4)
        for values in (ys, xs)
    ]
    return ends[0], ends[1]


def _square_to(corners: jax.Array) -> jax.Array:
    """The projective map [..., 3, 3] from the unit square to a quadrilateral [..., 4, 2].

    Source: Heckbert, Fundamentals of Texture Mapping and Image Warping, 1989, section 2.2.3.
    """
    (x0, y0), (x1, y1), (x2, y2), (x3, y3) = (
        (corners[..., n, 0], corners[..., n, 1]) for n in range(4)
    )
    sum_x, sum_y = x0 - x1 + x2 - x3, y0 - y1 + y2 - y3
    dx1, dy1, dx2, dy2 = x1 - x2, y1 - y2, x3 - x2, y3 - y2
    determinant = dx1 * dy2 - dx2 * dy1
    g = (sum_x * dy2 - dx2 * sum_y) / determinant
    h = (dx1 * sum_y - sum_x * dy1) / determinant
    rows = [x1 - x0 + g * x1, x3 - x0 + h * x3, x0, y1 - y0 + g * y1, y3 - y0 + h * y3, y0]
    stacked = jnp.stack([*rows, g, h, jnp.ones_like(g)], -1)
    return stacked.reshape(*stacked.shape[:-1], 3, 3)


def _adjugate(m: jax.Array) -> jax.Array:
    """The inverse of [..., 3, 3] up to a factor."""
    rows = [m[..., n, :] for n in range(3)]
    columns = [
        jnp.cross(rows[1], rows[2]),
        jnp.cross(rows[2], rows[0]),
        jnp.cross(rows[0], rows[1]),
    ]
    return jnp.stack(columns, -1)
