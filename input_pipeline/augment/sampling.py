"""Images read at given positions: what all geometric operations end in."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from input_pipeline.augment.pixels import (
    Fill,
    channel_of,
    check_backend,
    check_choice,
    fill_values,
    from_words,
    pack,
    to_words,
)

INTERPOLATIONS = {"tensor": ("nearest", "bilinear"), "pillow": ("nearest", "bilinear", "bicubic")}
Taps = list[tuple[jax.Array, jax.Array]]  # pairs of an index [B, H, W] and a weight


def sample(
    images: jax.Array,
    x: jax.Array,
    y: jax.Array,
    interpolation: str,
    fill: Fill = None,
    backend: str = "tensor",
    between: str = "xy",
) -> jax.Array:
    """Reads each image at the given positions.

    With the tensor backend pixels outside count 0 with weight 0; of the weighted sum v and the
    weight m inside, bilinear gives v * m + fill * (1 - m), rounded half to even (the border is
    weighted twice: torchvision's own quirk), and v if `fill` is None. With Pillow's, positions
    outside of the image give `fill`, the others read edges repeated, and results are truncated.

    Args:
      images: uint8 [B, H, W, C].
      x, y: positions [B, h, w] or [1, h, w] in pixels; integers are centres of pixels.
      interpolation: "nearest", "bilinear" or, with Pillow's backend only, "bicubic".
      fill: None, a number or one for each channel.
      backend: "tensor" or "pillow".
      between: axes on which positions may lie between pixels: "x" or "y" is half of the work.

    Returns:
      uint8 [B, h, w, C].

    Raises:
      ValueError: a backend or an interpolation is not known.
    """
    check_backend(backend)
    check_choice("interpolation", interpolation, INTERPOLATIONS[backend])
    channels = images.shape[-1]
    words = to_words(images)
    shape = (images.shape[0], *jnp.broadcast_shapes(x.shape, y.shape)[1:])
    x, y = jnp.broadcast_to(x, shape), jnp.broadcast_to(y, shape)
    if interpolation == "nearest":
        read, inside = _nearest(words, x, y, backend)
    elif backend == "tensor":
        read, inside = _bilinear(words, x, y, between)
    else:
        read, inside = _pillow(words, x, y, interpolation, between)
    fills = None if fill is None and backend == "tensor" else fill_values(fill, channels)
    groups = []
    for group in range(words.shape[1]):
        numbers = range(4 * group, min(4 * group + 4, channels))
        values = read(group, len(numbers))
        if fills is not None:
            values = [
                v * inside + fills[n] * (1 - inside)
                if inside.dtype == jnp.float32
                else jnp.where(inside, v, fills[n])
                for v, n in zip(values, numbers, strict=True)
            ]
        if backend == "tensor":
            values = [jnp.round(value) for value in values]
        groups.append(pack(values))
    return from_words(jnp.stack(groups, 1), channels)


def _gather(words: jax.Array, group: int, x: jax.Array, y: jax.Array) -> jax.Array:
    """The words at whole positions [B, h, w] inside of the image."""
    batch, _, _, width = words.shape
    flat, index = words[:, group].reshape(batch, -1), (y * width + x).reshape(batch, -1)
    found = jnp.take_along_axis(flat, index, axis=1, mode="promise_in_bounds")
    return found.reshape(x.shape)


def _whole(position: jax.Array, size: int) -> jax.Array:
    """A whole position as an index; those outside of the image as that of its edge."""
    return jnp.clip(position.astype(jnp.int32), 0, size - 1)


def _is_inside(position: jax.Array, size: int) -> jax.Array:
    return (position >= 0) & (position <= size - 1)


def _nearest(words: jax.Array, x: jax.Array, y: jax.Array, backend: str):
    height, width = words.shape[2:]
    # Half to even, or by where the position is among the squares of the pixels.
    x, y = (jnp.round(p) if backend == "tensor" else jnp.floor(p + 0.5) for p in (x, y))
    inside = _is_inside(x, width) & _is_inside(y, height)

    def read(group: int, channels: int) -> list[jax.Array]:
        found = _gather(words, group, _whole(x, width), _whole(y, height))
        return [jnp.where(inside, channel_of(found, n), 0) for n in range(channels)]

    return read, inside


def _bilinear(words: jax.Array, x: jax.Array, y: jax.Array, between: str):
    height, width = words.shape[2:]
    rows, columns = _taps(y, height, "y" in between), _taps(x, width, "x" in between)
    inside = _total(rows) * _total(columns)

    def read(group: int, channels: int) -> list[jax.Array]:
        values = [jnp.zeros((), jnp.float32)] * channels
        for row, row_weight in rows:
            for column, column_weight in columns:
                found, weight = _gather(words, group, column, row), row_weight * column_weight
                values = [v + weight * channel_of(found, n) for n, v in enumerate(values)]
        return values

    return read, inside


def _total(taps: Taps) -> jax.Array:
    return functools.reduce(jnp.add, (weight for _, weight in taps))


def _taps(position: jax.Array, size: int, between: bool) -> Taps:
    """Both neighbours of a position on an axis, and their weights: 0 outside of the image.

    Where it is not between pixels, only the one where it is.
    """
    if not between:
        position = jnp.round(position)
        return [(_whole(position, size), _is_inside(position, size).astype(jnp.float32))]
    low = jnp.floor(position)
    fraction = position - low
    return [
        (_whole(low, size), jnp.where(_is_inside(low, size), 1 - fraction, 0)),
        (_whole(low + 1, size), jnp.where(_is_inside(low + 1, size), fraction, 0)),
    ]


def _pillow(words: jax.Array, x: jax.Array, y: jax.Array, interpolation: str, between: str):
    height, width = words.shape[2:]
    inside = (x >= -0.5) & (x < width - 0.5) & (y >= -0.5) & (y < height - 0.5)
    x, y = (p if a in between else jnp.round(p) for p, a in ((x, "x"), (y, "y")))
    left, top = jnp.floor(x), jnp.floor(y)
    dx, dy = x - left, y - top
    curve: Callable[..., jax.Array] = _line if interpolation == "bilinear" else _cubic
    offsets = (0, 1) if interpolation == "bilinear" else (-1, 0, 1, 2)

    def along(values: list[jax.Array], fraction: jax.Array) -> jax.Array:
        return curve(*values, fraction) if len(values) > 1 else values[0]

    def read(group: int, channels: int) -> list[jax.Array]:
        lines: list[list[jax.Array]] = []  # for each row the channels, interpolated along it
        for row in offsets if "y" in between else (0,):
            index = _whole(top + row, height)
            found = [
                _gather(words, group, _whole(left + column, width), index)
                for column in (offsets if "x" in between else (0,))
            ]
            lines.append([along([channel_of(f, n) for f in found], dx) for n in range(channels)])
        values = [along([line[n] for line in lines], dy) for n in range(channels)]
        return [jnp.clip(value, 0, 255) for value in values]

    return read, inside


def _line(start: jax.Array, end: jax.Array, fraction: jax.Array) -> jax.Array:
    return start + (end - start) * fraction  # exact where both are equal


def _cubic(a: jax.Array, b: jax.Array, c: jax.Array, d: jax.Array, fraction: jax.Array):
    """Pillow's cubic through b and c, whose slope at each is the difference of its neighbours."""
    second = 2 * (a - b) + c - d
    third = -a + b - c + d
    return b + fraction * (c - a + fraction * (second + fraction * third))
