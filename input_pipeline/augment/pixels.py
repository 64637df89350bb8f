"""What the operations share: parameters for each image, rounding to uint8, four channels a word."""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

BACKENDS = ("tensor", "pillow")
Fill = float | Sequence[float] | None


def check_backend(backend: str) -> None:
    """Raises ValueError unless `backend` is "tensor" or "pillow"."""
    if backend not in BACKENDS:
        raise ValueError(f'backend={backend!r} is not known: choose "tensor" or "pillow".')


def check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    """Raises ValueError unless `value` is one of `choices`; `name` is the argument's."""
    if value not in choices:
        raise ValueError(f"{name}={value!r} is not one of {', '.join(choices)}.")


def per_image(value: ArrayLike, ndim: int = 4) -> jax.Array:
    """A number for all images, or [B], one for each: float32 that broadcasts to [B, ...].

    Args:
      value: a number or [B].
      ndim: number of axes of the result, if there is one value for each image.
    """
    value = jnp.asarray(value, jnp.float32)
    return value.reshape(value.shape + (1,) * (ndim - value.ndim)) if value.ndim else value


def fill_values(fill: Fill, channels: int) -> list[float]:
    """The fill of each channel. None is zero.

    Raises:
      ValueError: the number of values is neither 1 nor that of the channels.
    """
    values = [0.0] if fill is None else [fill] if isinstance(fill, int | float) else list(fill)
    if len(values) not in (1, channels):
        raise ValueError(f"fill={fill} has {len(values)} values, the images {channels} channels.")
    return [float(value) for value in values] * (channels // len(values))


def truncated(values: jax.Array) -> jax.Array:
    """Values clipped to [0, 255] and truncated to uint8."""
    return jnp.clip(values, 0, 255).astype(jnp.uint8)


def rounded(values: jax.Array) -> jax.Array:
    """Values rounded half to even and clipped to uint8."""
    return jnp.clip(jnp.round(values), 0, 255).astype(jnp.uint8)


def blend(images: jax.Array, other: ArrayLike, factor: ArrayLike) -> jax.Array:
    """factor * images + (1 - factor) * other, clipped and truncated.

    Args:
      images: uint8 [B, H, W, C].
      other: broadcasts to the images.
      factor: a number or [B]; above 1 it extrapolates.
    """
    factor = per_image(factor)
    return truncated(images.astype(jnp.float32) * factor + (1 - factor) * other)


def stored(values: jax.Array) -> jax.Array:
    """Identity that makes XLA store a small array instead of computing it again for each pixel.

    It is a matrix product with the identity, which is exact, and which fuses with nothing; barriers
    against optimization are dropped on CPU before it fuses. Without it random numbers are drawn
    again wherever they are used, and programs take minutes to compile.

    Args:
      values: float32, or whole numbers below 2 ** 24; all of them finite.
    """
    flat = values.astype(jnp.float32).reshape(-1)
    count, width = flat.size, 16
    lines = jnp.pad(flat, (0, -count % width)).reshape(-1, width)
    exact = jnp.dot(lines, jnp.eye(width, dtype=jnp.float32), precision="highest")
    return exact.reshape(-1)[:count].reshape(values.shape).astype(values.dtype)


def one_by_one(function: Callable[..., jax.Array], *arrays: jax.Array) -> jax.Array:
    """function(*arrays) for arrays [B, ...]; on CPU entry by entry.

    There XLA would compute the arrays again for each element that a fusion reads, and from
    transposed ones read columns. A loop is given them as they are in memory; and what belongs to
    one image stays in the cache.

    Args:
      function: of arrays [b, ...] for any b, to an array [b, ...].
      arrays: [B, ...].
    """

    def loop(*arrays: jax.Array) -> jax.Array:
        return lax.map(lambda entry: function(*(a[None] for a in entry))[0], arrays)

    return lax.platform_dependent(*arrays, cpu=loop, default=function)


def look_up(tables: jax.Array, images: jax.Array) -> jax.Array:
    """Replaces each value by the entry of its table.

    Args:
      tables: uint8 [B, 256] or, one for each channel, [B, 256, C].
      images: uint8 [B, H, W, C].

    Returns:
      uint8 [B, H, W, C].
    """
    batch, height, width, channels = images.shape
    columns = 1 if tables.ndim == 2 else channels
    index = images.astype(jnp.int32) * columns + jnp.arange(columns).reshape(1, 1, 1, -1)
    found = jnp.take_along_axis(
        stored(tables).reshape(batch, -1),
        index.reshape(batch, -1),
        axis=1,
        mode="promise_in_bounds",
    )
    return found.reshape(batch, height, width, channels)


def to_words(images: jax.Array) -> jax.Array:
    """uint8 [B, H, W, C] -> uint32 [B, ceil(C / 4), H, W]: four channels in a word.

    A pixel is then one element to gather, not one for each channel.
    """
    *shape, channels = images.shape
    groups = -(-channels // 4)
    padded = jnp.pad(images, ((0, 0),) * 3 + ((0, 4 * groups - channels),))
    words = lax.bitcast_convert_type(padded.reshape(*shape, groups, 4), jnp.uint32)
    return jnp.moveaxis(words, -1, 1)


def from_words(words: jax.Array, channels: int) -> jax.Array:
    """uint32 [B, ceil(C / 4), H, W] -> uint8 [B, H, W, C]."""
    images = lax.bitcast_convert_type(jnp.moveaxis(words, 1, -1), jnp.uint8)
    return images.reshape(*images.shape[:-2], -1)[..., :channels]


def from_channels(channels: Sequence[jax.Array]) -> jax.Array:
    """Up to four channels [B, H, W] of values in [0, 256), truncated -> uint8 [B, H, W, C].

    What they have in common is then computed once for a pixel, and not for each channel.
    """
    return from_words(pack(channels)[:, None], len(channels))


def pack(channels: Sequence[jax.Array]) -> jax.Array:
    """Up to four channels of values in [0, 256), truncated, in the bytes of uint32."""
    bytes_ = [channel.astype(jnp.int32).astype(jnp.uint32) for channel in channels]
    return functools.reduce(jnp.bitwise_or, (byte << (8 * n) for n, byte in enumerate(bytes_)))


def channel_of(words: jax.Array, channel: int) -> jax.Array:
    """Byte `channel` (0 to 3) of each word, as float32."""
    return ((words >> (8 * channel)) & 255).astype(jnp.int32).astype(jnp.float32)
