"""Flips, crops and borders: pixels that move, and none that changes. Both backends agree on them.

Images are [B, H, W, C] of any dtype unless said otherwise.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from input_pipeline.augment.pixels import Fill, check_choice, fill_values

PADDING_MODES = ("constant", "edge", "reflect", "symmetric")


def horizontal_flip(images: jax.Array) -> jax.Array:
    """Mirrors left to right."""
    return images[:, :, ::-1]


def vertical_flip(images: jax.Array) -> jax.Array:
    """Mirrors top to bottom."""
    return images[:, ::-1]


def pad(
    images: jax.Array,
    padding: int | Sequence[int],
    fill: Fill = 0,
    padding_mode: str = "constant",
) -> jax.Array:
    """Adds a border.

    Args:
      images: [B, H, W, C].
      padding: pixels: a number, (left and right, top and bottom) or (left, top, right, bottom).
      fill: of "constant": a number or one for each channel.
      padding_mode: "constant", "edge", "reflect" (without the edge) or "symmetric" (with it).

    Returns:
      [B, top + H + bottom, left + W + right, C].
    """
    check_choice("padding_mode", padding_mode, PADDING_MODES)
    sides = [padding] if isinstance(padding, int) else list(padding)
    left, top, right, bottom = sides * (4 // len(sides))
    widths = ((0, 0), (top, bottom), (left, right), (0, 0))
    if padding_mode != "constant":
        return jnp.pad(images, widths, mode=padding_mode)  # pyright: ignore[reportArgumentType]
    fills = fill_values(fill, images.shape[-1])
    if len(set(fills)) == 1:
        return jnp.pad(images, widths, constant_values=jnp.asarray(fills[0], images.dtype))
    height, width = images.shape[1:3]
    shape = (images.shape[0], top + height + bottom, left + width + right, images.shape[-1])
    border = jnp.asarray(fills, images.dtype).reshape(1, 1, 1, -1)
    return lax.dynamic_update_slice(jnp.broadcast_to(border, shape), images, (0, top, left, 0))


def zoom_out(images: jax.Array, padding: Sequence[int], fill: Fill = 0) -> jax.Array:
    """Places the image on a larger canvas: `pad` by (left, top, right, bottom) with `fill`."""
    return pad(images, padding, fill)


def crop(images: jax.Array, top: ArrayLike, left: ArrayLike, height: int, width: int) -> jax.Array:
    """Cuts out a box; what it has outside of the image is zero.

    Args:
      images: [B, H, W, C].
      top, left: of the box, in pixels: whole numbers, or [B], one for each image.
      height, width: of the box.

    Returns:
      [B, height, width, C].
    """
    rows, columns = images.shape[1:3]
    if isinstance(top, int) and isinstance(left, int):
        low, high = (-top, -left), (top + height - rows, left + width - columns)
        widths = [(0, 0, 0), (low[0], high[0], 0), (low[1], high[1], 0), (0, 0, 0)]
        return lax.pad(images, jnp.zeros((), images.dtype), widths)
    tops, lefts = (jnp.broadcast_to(jnp.asarray(v), images.shape[:1]) for v in (top, left))
    # The border makes every box a slice: no box needs more of it than its own size.
    padded = jnp.pad(images, ((0, 0), (height, height), (width, width), (0, 0)))
    tops = jnp.clip(tops + height, 0, rows + height)
    lefts = jnp.clip(lefts + width, 0, columns + width)
    return slices(padded, tops, lefts, height, width)


def slices(
    images: jax.Array, top: jax.Array, left: jax.Array, height: int, width: int
) -> jax.Array:
    """A box [B, height, width, C] of each image, inside of it; top and left are [B]."""

    def one(image: jax.Array, top: jax.Array, left: jax.Array) -> jax.Array:
        return lax.dynamic_slice(image, (top, left, 0), (height, width, image.shape[-1]))

    return jax.vmap(one)(images, top, left)


def center_crop(images: jax.Array, output_size: int | Sequence[int]) -> jax.Array:
    """Cuts out the middle; what is larger than the image is zero.

    Args:
      images: [B, H, W, C].
      output_size: (height, width), or one number for both. Where a side cannot be in the middle the
        box starts at half of the difference rounded to even, and the odd row or column of a border
        stands below or on the right.
    """
    sizes = [output_size] * 2 if isinstance(output_size, int) else list(output_size)
    missing = [max(0, size - length) for size, length in zip(sizes, images.shape[1:3], strict=True)]
    if any(missing):
        (top, left), (bottom, right) = [m // 2 for m in missing], [(m + 1) // 2 for m in missing]
        images = pad(images, (left, top, right, bottom))
    top, left = (round((n - s) / 2) for n, s in zip(images.shape[1:3], sizes, strict=True))
    return crop(images, top, left, sizes[0], sizes[1])


def five_crop(images: jax.Array, size: int | Sequence[int]) -> jax.Array:
    """The corners (top left, top right, bottom left, bottom right) and the middle.

    Returns:
      [5, B, h, w, C] for the size (h, w).

    Raises:
      ValueError: the size is larger than the image.
    """
    height, width = (size, size) if isinstance(size, int) else size
    rows, columns = images.shape[1:3]
    if height > rows or width > columns:
        raise ValueError(f"The crop {height}x{width} is larger than the image {rows}x{columns}.")
    corners = [(top, left) for top in (0, rows - height) for left in (0, columns - width)]
    crops = [crop(images, top, left, height, width) for top, left in corners]
    return jnp.stack([*crops, center_crop(images, (height, width))])


def ten_crop(
    images: jax.Array, size: int | Sequence[int], vertical_flip: bool = False
) -> jax.Array:
    """`five_crop` of the image and then of the mirrored one: [10, B, h, w, C]."""
    mirrored = images[:, ::-1] if vertical_flip else images[:, :, ::-1]
    return jnp.concatenate([five_crop(images, size), five_crop(mirrored, size)])


def erase(
    images: jax.Array,
    i: ArrayLike,
    j: ArrayLike,
    h: ArrayLike,
    w: ArrayLike,
    value: ArrayLike,
) -> jax.Array:
    """Overwrites a box of each image.

    Args:
      images: [B, H, W, C], also normalized ones.
      i, j: top and left of the box in pixels: numbers or [B].
      h, w: its height and width.
      value: a number, one for each channel, or an array that broadcasts to [B, H, W, C].
    """
    rows = jnp.arange(images.shape[1]).reshape(1, -1, 1, 1)
    columns = jnp.arange(images.shape[2]).reshape(1, 1, -1, 1)
    top, left, height, width = (jnp.asarray(v).reshape(-1, 1, 1, 1) for v in (i, j, h, w))
    inside = (rows >= top) & (rows < top + height) & (columns >= left) & (columns < left + width)
    value = jnp.asarray(value, images.dtype)
    value = value.reshape((1,) * (4 - value.ndim) + value.shape) if value.ndim else value
    return jnp.where(inside, value, images)
