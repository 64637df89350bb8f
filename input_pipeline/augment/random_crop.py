"""Random crops and scales: (key, images, ...) -> images of one size, each image its own draw.

`key` is one key or keys [B]; images are uint8 [B, H, W, C]. Where torchvision's transform gives
each image another size, the result here is a canvas of a fixed one, as a batch needs it.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from input_pipeline.augment.combine import fold_in, image_keys, integers, is_one_key, uniform
from input_pipeline.augment.crop import pad, slices
from input_pipeline.augment.pixels import Fill, fill_values, stored
from input_pipeline.augment.resample import Axis, resample
from input_pipeline.augment.resize import resized_crop

Size = int | Sequence[int]


def random_crop_with_padding(
    key: jax.Array, images: jax.Array, padding: int, mode: str = "constant", fill: Fill = 0
) -> jax.Array:
    """Pads each image by `padding` on all sides and takes a random crop of its former size.

    This is a random shift by up to `padding` pixels. [B, H, W, C] -> the same.

    Args:
      key, images: as above.
      padding: pixels on each side.
      mode: of `pad`: "constant" (with `fill`), "edge", "reflect" or "symmetric".
      fill: a number or one for each channel.
    """
    if padding == 0:
        return images
    batch, height, width, _ = images.shape
    if is_one_key(key):
        top, left = jax.random.randint(key, (2, batch, 1), 0, 2 * padding + 1)[..., 0]
    else:
        top, left = integers(key, 0, 2 * padding + 1, (2,)).T
    return slices(pad(images, padding, fill, mode), top, left, height, width)


def random_crop(key: jax.Array, images: jax.Array, size: Size) -> jax.Array:
    """A random box of `size`, (height, width) or one number, of each image."""
    height, width = _pair(size)
    keys = image_keys(key, images.shape[0])
    top = integers(fold_in(keys, 0), 0, images.shape[1] - height + 1)
    left = integers(fold_in(keys, 1), 0, images.shape[2] - width + 1)
    return slices(images, top, left, height, width)


def random_resized_crop(
    key: jax.Array,
    images: jax.Array,
    size: Size,
    scale: Sequence[float] = (0.08, 1.0),
    ratio: Sequence[float] = (3 / 4, 4 / 3),
    interpolation: str = "bilinear",
    antialias: bool = True,
) -> jax.Array:
    """Resizes a random crop of each image: Inception's augmentation, as in torchvision.

    Args:
      key, images: as above.
      size: (height, width) of the result, or one number for both.
      scale: the crop's area is uniform between these shares of the image's.
      ratio: the crop's width / height is log-uniform between these.
      interpolation, antialias: those of `resize`.
    """
    batch, rows, columns, _ = images.shape
    top, left, height, width = random_box(image_keys(key, batch), rows, columns, scale, ratio)
    return resized_crop(images, top, left, height, width, _pair(size), interpolation, antialias)


def random_box(
    keys: jax.Array, height: int, width: int, scale: Sequence[float], ratio: Sequence[float]
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """The first of ten draws that fits into the image, or else a central box of allowed ratio.

    Returns:
      top, left, height and width, int32 [B] each.
    """
    areas = height * width * uniform(fold_in(keys, 0), scale[0], scale[1], (10,))
    logs = uniform(fold_in(keys, 1), math.log(ratio[0]), math.log(ratio[1]), (10,))
    heights, widths = (jnp.round(jnp.sqrt(areas * jnp.exp(sign * logs))) for sign in (-1, 1))
    fits = (widths > 0) & (widths <= width) & (heights > 0) & (heights <= height)
    first = jnp.argmax(fits, 1)[:, None]
    of_first = [jnp.take_along_axis(v, first, axis=1)[:, 0] for v in (heights, widths)]
    # None fits: the whole image, or the largest part of it whose ratio is allowed.
    whole = (
        min(height, round(width / ratio[0])),
        min(width, round(height * ratio[1])),
    )
    found = fits.any(1)
    h, w = (
        jnp.where(found, value, other).astype(jnp.int32)
        for value, other in zip(of_first, whole, strict=True)
    )
    top = integers(fold_in(keys, 2), 0, height - h + 1)
    left = integers(fold_in(keys, 3), 0, width - w + 1)
    top, left = jnp.where(found, top, (height - h) // 2), jnp.where(found, left, (width - w) // 2)
    box = stored(jnp.stack([top, left, h, w]))
    return box[0], box[1], box[2], box[3]


def random_zoom_out(
    key: jax.Array,
    images: jax.Array,
    fill: Fill = 0,
    side_range: Sequence[float] = (1.0, 4.0),
    p: float = 0.5,
) -> jax.Array:
    """Shrinks each image and places it anywhere on a canvas of its size, with probability `p`.

    This is torchvision's RandomZoomOut (a canvas `side_range` times as large) and a resize of the
    canvas to the image's size.

    Args:
      key, images: as above.
      fill: of the canvas: a number or one for each channel.
      side_range: pair between which the canvas's share is uniform, at least 1.
      p: probability.
    """
    batch, height, width, _ = images.shape
    keys = image_keys(key, batch)
    ratio = uniform(fold_in(keys, 0), side_range[0], side_range[1])
    ratio = jnp.where(uniform(fold_in(keys, 1)) < p, ratio, 1.0)
    place = uniform(fold_in(keys, 2), shape=(2,))
    origins = [-place[:, n] * (ratio - 1) * size for n, size in enumerate((height, width))]
    axes = [
        Axis(origin, ratio, 0, size, side_range[1])
        for origin, size in zip(origins, (height, width), strict=True)
    ]
    return _on_canvas(images, (height, width), axes, "bilinear", fill)


def scale_jitter(
    key: jax.Array,
    images: jax.Array,
    target_size: Size,
    scale_range: Sequence[float] = (0.1, 2.0),
    interpolation: str = "bilinear",
    fill: Fill = 0,
) -> jax.Array:
    """Resizes each image by a random factor, then crops or pads it to `target_size`.

    This is large-scale jittering: torchvision's ScaleJitter and then its fixed-size crop, at a
    random place; what is padded stands below and on the right.

    Args:
      key, images: as above.
      target_size: (height, width) of the result, or one number for both.
      scale_range: the factor is uniform between these, where 1 fits the image into the target.
      interpolation: that of `resize`.
      fill: a number or one for each channel.
    """
    height, width = images.shape[1:3]
    target = _pair(target_size)
    keys = image_keys(key, images.shape[0])
    factor = uniform(fold_in(keys, 0), scale_range[0], scale_range[1])
    factor = factor * min(target[0] / height, target[1] / width)
    lengths = [jnp.maximum(jnp.floor(n * factor), 1) for n in (height, width)]
    smallest = scale_range[0] * min(target[0] / height, target[1] / width)
    return _resized_part(fold_in(keys, 1), images, lengths, target, smallest, interpolation, fill)


def random_shortest_size(
    key: jax.Array,
    images: jax.Array,
    min_size: Sequence[int],
    size: Size,
    interpolation: str = "bilinear",
    fill: Fill = 0,
) -> jax.Array:
    """Resizes the shorter side of each image to one of `min_size`, then crops or pads at random.

    Args:
      key, images: as above.
      min_size: lengths of the shorter side, equally likely.
      size: (height, width) of the result, or one number for both.
      interpolation: that of `resize`.
      fill: of what is padded, below and on the right.
    """
    height, width = images.shape[1:3]
    keys = image_keys(key, images.shape[0])
    number = integers(fold_in(keys, 0), 0, len(min_size))
    short = jnp.asarray(min_size, jnp.float32)[number]
    lengths = [jnp.floor(short * n / min(height, width)) for n in (height, width)]
    smallest = min(min_size) / min(height, width)
    return _resized_part(
        fold_in(keys, 1), images, lengths, _pair(size), smallest, interpolation, fill
    )


def _resized_part(
    keys: jax.Array,
    images: jax.Array,
    lengths: Sequence[jax.Array],
    target: tuple[int, int],
    smallest: float,
    interpolation: str,
    fill: Fill,
) -> jax.Array:
    """A random part [B, *target] of the images resized to `lengths`, height and width [B] each."""
    axes = []
    for axis, (length, old, new) in enumerate(zip(lengths, images.shape[1:3], target, strict=True)):
        room = jnp.maximum(length - new, 0).astype(jnp.int32)
        start = integers(fold_in(keys, axis), 0, room + 1)
        scale = old / length
        axes.append(Axis(start * scale, scale, 0, old, 1.1 / smallest))
    return _on_canvas(images, target, axes, interpolation, fill)


def _on_canvas(
    images: jax.Array, size: tuple[int, int], axes: Sequence[Axis], interpolation: str, fill: Fill
) -> jax.Array:
    """`resample`, with `fill` where the canvas reaches beyond the image."""
    result = resample(images, size, axes[0], axes[1], interpolation)
    fills = fill_values(fill, images.shape[-1])
    if not any(fills):
        return result
    inside = jnp.ones((), bool)
    for number, (axis, length) in enumerate(zip(axes, size, strict=True), 1):
        center = (jnp.arange(length) + 0.5).reshape([-1 if n == number else 1 for n in range(4)])
        origin, scale, low, high = (
            jnp.asarray(value, jnp.float32).reshape(-1, 1, 1, 1) for value in axis[:4]
        )
        center = origin + center * scale
        inside = inside & (center >= low) & (center < high)
    return jnp.where(inside, result, jnp.asarray(fills, images.dtype).reshape(1, 1, 1, -1))


def _pair(size: Size) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (size[0], size[1])
