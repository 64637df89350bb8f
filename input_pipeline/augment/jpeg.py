"""What JPEG makes of an image: compressed and read again, on the device, to the same bytes.

The arithmetic is that of libjpeg-turbo with its defaults, as torchvision's `JPEG` and Pillow use
it: whole numbers throughout, colours of half the height and width (4:2:0), the accurate ("islow")
cosine transforms, and triangular ("fancy") interpolation of the colours.

Source: ITU-T T.81, annexes A and K (tables); libjpeg's integer transforms, of Loeffler, Ligtenberg
and Moschytz 1989.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from input_pipeline.augment.combine import image_keys, integers

# Steps of the quantization at quality 50, rows of frequencies: brightness and colours.
LUMINANCE = np.array(
    [
        *(16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55),
        *(14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62),
        *(18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92),
        *(49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99),
    ]
).reshape(8, 8)
CHROMINANCE = np.full((8, 8), 99)
CHROMINANCE[:4, :4] = [[17, 18, 24, 47], [18, 21, 26, 66], [24, 26, 56, 99], [47, 66, 99, 99]]

_BITS, _PASS_BITS = 13, 2  # of the constants, and that the first pass of a transform keeps
Lines = list[jax.Array]  # eight arrays of one shape


def jpeg(images: jax.Array, quality: ArrayLike) -> jax.Array:
    """Compresses images as JPEG and reads them again.

    Args:
      images: uint8 [B, H, W, C], C 1 or 3.
      quality: from 1 to 100, a whole number or [B].

    Returns:
      uint8 [B, H, W, C].

    Raises:
      ValueError: there are neither 1 nor 3 channels.
    """
    batch, height, width, channels = images.shape
    if channels not in (1, 3):
        raise ValueError(f"JPEG has 1 or 3 channels, not {channels}.")
    quality = jnp.broadcast_to(jnp.asarray(quality, jnp.int32), (batch,))
    values = images.astype(jnp.int32)
    if channels == 1:
        gray = _coded(values[..., 0], _steps(LUMINANCE, quality))
        return gray[:, :height, :width, None].astype(jnp.uint8)
    luma, *chroma = _to_ycc(values)
    luma = _coded(luma, _steps(LUMINANCE, quality))[:, :height, :width]
    steps = _steps(CHROMINANCE, quality)
    half = (height + 1) // 2, (width + 1) // 2
    blue, red = (
        _doubled(_coded(_halved(plane), steps)[:, : half[0], : half[1]])[:, :height, :width]
        for plane in chroma
    )
    return _to_rgb(luma, blue - 128, red - 128)


def random_jpeg(key: jax.Array, images: jax.Array, quality: int | Sequence[int]) -> jax.Array:
    """Compresses each image by a quality of its own.

    Args:
      key, images: a key or keys [B], and uint8 [B, H, W, C].
      quality: from 1 to 100, or the lowest and the highest, which are both drawn.

    Raises:
      ValueError: the qualities are no whole numbers from 1 to 100 in this order.
    """
    low, high = (quality, quality) if isinstance(quality, int) else tuple(quality)
    if not (isinstance(low, int) and isinstance(high, int) and 1 <= low <= high <= 100):
        raise ValueError(f"quality={quality!r}: give one or two whole numbers from 1 to 100.")
    keys = image_keys(key, images.shape[0])
    return jpeg(images, integers(keys, low, high + 1))


def _steps(table: np.ndarray, quality: jax.Array) -> jax.Array:
    """Steps of the quantization of each image, [B, 1, 8, 1, 8]."""
    percent = jnp.where(quality < 50, 5000 // jnp.maximum(quality, 1), 200 - 2 * quality)
    steps = jnp.clip((table[None] * percent[:, None, None] + 50) // 100, 1, 255)
    return steps[:, None, :, None, :]


def _coded(plane: jax.Array, steps: jax.Array) -> jax.Array:
    """A plane [B, H, W] as it is read again, with rows and columns to a multiple of eight."""
    batch, height, width = plane.shape
    pad = (0, -height % 8), (0, -width % 8)
    plane = jnp.pad(plane, ((0, 0), *pad), "edge") - 128
    blocks = plane.reshape(batch, plane.shape[1] // 8, 8, plane.shape[2] // 8, 8)
    for axis, shift in ((4, -_PASS_BITS), (2, _PASS_BITS)):
        blocks = _along(axis, lambda lines, shift=shift: _forward(lines, shift), blocks)
    divisor = 8 * steps  # the transform is eight times the orthonormal one
    levels = jnp.sign(blocks) * ((jnp.abs(blocks) + divisor // 2) // divisor)
    blocks = levels * steps
    for axis, shift in ((2, _BITS - _PASS_BITS), (4, _BITS + _PASS_BITS + 3)):
        blocks = _along(axis, lambda lines, shift=shift: _inverse(lines, shift), blocks)
    return jnp.clip(blocks + 128, 0, 255).reshape(plane.shape)


def _along(axis: int, transform: Callable[[Lines], Lines], blocks: jax.Array) -> jax.Array:
    lines = [jax.lax.index_in_dim(blocks, n, axis, keepdims=False) for n in range(8)]
    return jnp.stack(transform(lines), axis)


def _forward(x: Lines, shift: int) -> Lines:
    """The cosine transform of eight values; the result is shifted right, or left if negative."""
    sums = [x[n] + x[7 - n] for n in range(4)]
    even = sums[0] + sums[3], sums[1] + sums[2], sums[1] - sums[2], sums[0] - sums[3]
    common = 4433 * (even[2] + even[3])
    total, difference = even[0] + even[1], even[0] - even[1]
    if shift < 0:
        total, difference = total << -shift, difference << -shift
    else:
        total, difference = _shifted(total, shift), _shifted(difference, shift)
    odd = _odd_part([x[n] - x[7 - n] for n in (3, 2, 1, 0)])
    rest = [common + 6270 * even[3], common - 15137 * even[2], *odd]
    two, six, seven, five, three, one = (_shifted(value, _BITS + shift) for value in rest)
    return [total, one, two, three, difference, five, six, seven]


def _inverse(x: Lines, shift: int) -> Lines:
    """The inverse of `_forward` but for rounding; the result is shifted right."""
    common = 4433 * (x[2] + x[6])
    two, three = common - 15137 * x[6], common + 6270 * x[2]
    zero, one = (x[0] + x[4]) << _BITS, (x[0] - x[4]) << _BITS
    even = zero + three, one + two, one - two, zero - three
    odd = _odd_part([x[7], x[5], x[3], x[1]])[::-1]
    first = [_shifted(a + b, shift) for a, b in zip(even, odd, strict=True)]
    last = [_shifted(a - b, shift) for a, b in zip(even, odd, strict=True)]
    return first + last[::-1]


def _odd_part(x: Lines) -> Lines:
    """The odd frequencies of both transforms, which are each other's transposed."""
    z1, z2 = -7373 * (x[0] + x[3]), -20995 * (x[1] + x[2])
    z3, z4 = x[0] + x[2], x[1] + x[3]
    common = 9633 * (z3 + z4)
    z3, z4 = common - 16069 * z3, common - 3196 * z4
    return [
        2446 * x[0] + z1 + z3,
        16819 * x[1] + z2 + z4,
        25172 * x[2] + z2 + z3,
        12299 * x[3] + z1 + z4,
    ]


def _shifted(values: jax.Array, bits: int) -> jax.Array:
    """Divided by a power of two and rounded, halves up."""
    return (values + (1 << (bits - 1))) >> bits


def _to_ycc(rgb: jax.Array) -> Lines:
    """Brightness and two colours [B, H, W] in [0, 255], in fixed point of 16 bits."""
    r, g, b = (rgb[..., n] for n in range(3))
    middle = (128 << 16) + (1 << 15) - 1
    return [
        (19595 * r + 38470 * g + 7471 * b + (1 << 15)) >> 16,
        (-11059 * r - 21709 * g + 32768 * b + middle) >> 16,
        (32768 * r - 27439 * g - 5329 * b + middle) >> 16,
    ]


def _to_rgb(luma: jax.Array, blue: jax.Array, red: jax.Array) -> jax.Array:
    """The inverse of `_to_ycc`, uint8 [B, H, W, 3]; `blue` and `red` are around 0."""
    r = luma + _shifted(91881 * red, 16)
    g = luma + ((-22554 * blue - 46802 * red + (1 << 15)) >> 16)
    b = luma + _shifted(116130 * blue, 16)
    return jnp.clip(jnp.stack([r, g, b], axis=-1), 0, 255).astype(jnp.uint8)


def _halved(plane: jax.Array) -> jax.Array:
    """Means of 2 x 2 values [B, H / 2, W / 2], rounded up and down in turn.

    Columns are repeated at the right before they are averaged, rows at the bottom after that, as
    far as blocks of eight need it.
    """
    batch, height, width = plane.shape
    columns = 16 * -(-width // 16)
    plane = jnp.pad(plane, ((0, 0), (0, height % 2), (0, columns - width)), "edge")
    rows = plane[:, 0::2] + plane[:, 1::2]
    bias = 1 + jnp.arange(columns // 2)[None, None] % 2
    return (rows[..., 0::2] + rows[..., 1::2] + bias) >> 2


def _doubled(plane: jax.Array) -> jax.Array:
    """Interpolates [B, h, w] to [B, 2 h, 2 w], three quarters of the nearest value each way."""
    if plane.shape[2] < 3:  # too narrow: libjpeg repeats the values
        return plane.repeat(2, 1).repeat(2, 2)
    padded = jnp.pad(plane, ((0, 0), (1, 1), (0, 0)), "edge")
    above, below = 3 * plane + padded[:, :-2], 3 * plane + padded[:, 2:]
    rows = jnp.stack([above, below], 2).reshape(plane.shape[0], -1, plane.shape[2])
    padded = jnp.pad(rows, ((0, 0), (0, 0), (1, 1)), "edge")
    left = (3 * rows + padded[..., :-2] + 8) >> 4
    right = (3 * rows + padded[..., 2:] + 7) >> 4
    return jnp.stack([left, right], -1).reshape(*rows.shape[:2], -1)
