"""Maximum, average and PyTorch's adaptive average pooling, in the platform's best form."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from zoo.kernels import platform
from zoo.kernels.materialize import materialize

Pads = tuple[tuple[int, int], ...]  # pixels before and after the rows and the columns


def max_pool(
    images: jax.Array, window: int, strides: int, padding: str | int = 0, ceil_mode: bool = False
) -> jax.Array:
    """Maximum pooling over square windows, [B, H, W, C] -> [B, H', W', C].

    The gradient goes to the first of equal maxima in row-major order, as in PyTorch.

    Args:
      images: Images, [B, H, W, C].
      window: Side of the window.
      strides: Stride of the window in both directions.
      padding: "SAME" or a number of pixels on every side; padding is never the maximum.
      ceil_mode: Whether a last window that reaches over the end counts, as in Caffe and PyTorch.
    """
    pads = _pads(images, window, strides, padding)
    if ceil_mode and isinstance(padding, int):
        over = [_overhang(side, window, strides, padding) for side in images.shape[1:3]]
        pads = tuple((low, high + beyond) for (low, high), beyond in zip(pads, over, strict=True))

    def on_cpu(images):
        # First over the columns, so that the first of equal maxima in row-major order wins.
        across = _max_of_taps(window, strides, pads[1], 2, images)  # [B, H, W', C]
        return _max_of_taps(window, strides, pads[0], 1, across)

    def native(images):
        windows, steps = (1, window, window, 1), (1, strides, strides, 1)
        pads_of_axes = ((0, 0), *pads, (0, 0))
        return jax.lax.reduce_window(images, -np.inf, jax.lax.max, windows, steps, pads_of_axes)

    return _by_platform(images, on_cpu, native)


def _by_platform(images: jax.Array, on_cpu: Callable, native: Callable) -> jax.Array:
    if platform.form(images) == platform.NATIVE:
        return native(images)
    return jax.lax.platform_dependent(images, cpu=on_cpu, default=native)


def _pads(images: jax.Array, window: int, strides: int, padding: str | int) -> Pads:
    """Pixels before and after the rows and the columns."""
    if isinstance(padding, int):
        return ((padding, padding),) * 2
    sides = images.shape[1:3]
    return tuple(jax.lax.padtype_to_pads(sides, (window, window), (strides, strides), padding))


def _overhang(length: int, window: int, strides: int, padding: int) -> int:
    """How far the last window reaches over the end; it has to start before the end's padding."""
    steps = -(-(length + 2 * padding - window) // strides)
    if steps * strides >= length + padding:
        steps -= 1
    return max(0, steps * strides + window - length - 2 * padding)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1, 2, 3))
def _max_of_taps(window: int, strides: int, pads, axis: int, images: jax.Array) -> jax.Array:
    """Maximum pooling along one axis. XLA's own gradient is many times slower on CPU."""
    return functools.reduce(jnp.maximum, _taps(window, strides, pads, axis, images, -np.inf))


@_max_of_taps.defjvp
def _max_of_taps_jvp(window, strides, pads, axis, primals, tangents):
    taps = _taps(window, strides, pads, axis, primals[0], -np.inf)
    largest, position = taps[0], jnp.zeros(taps[0].shape, np.uint8)
    for i, tap in enumerate(taps[1:], start=1):
        is_larger = (tap > largest) | jnp.isnan(tap)
        largest = jnp.where(is_larger, tap, largest)
        position = jnp.where(is_larger, np.uint8(i), position)
    position = materialize(position)  # otherwise it would be computed again for each tap
    # Linear in the tangent. Transposed, a tap is a pad, and their sum compiles to one loop.
    moved = _taps(window, strides, pads, axis, tangents[0], 0)
    chosen = (jnp.where(position == i, tap, 0) for i, tap in enumerate(moved))
    return largest, functools.reduce(jnp.add, chosen)


def _taps(window: int, strides: int, pads, axis: int, images, fill: float) -> list[jax.Array]:
    """For each position in a window along the axis, the slice that all windows see there."""
    padding = [(*pads, 0) if i == axis else (0, 0, 0) for i in range(images.ndim)]
    padded = jax.lax.pad(images, jnp.array(fill, images.dtype), padding)
    reach = (padded.shape[axis] - window) // strides * strides + 1
    return [jax.lax.slice_in_dim(padded, i, i + reach, strides, axis=axis) for i in range(window)]


def average_pool(
    images: jax.Array, window: int, strides: int = 1, padding: str | int = 0, *, counted=True
) -> jax.Array:
    """Average pooling over square windows, [B, H, W, C] -> [B, H', W', C].

    Args:
      images: Images, [B, H, W, C].
      window: Side of the window.
      strides: Stride of the window in both directions.
      padding: "SAME" or a number of pixels on every side.
      counted: Whether the zeros of the padding count in the average.
    """
    pads = _pads(images, window, strides, padding)

    def on_cpu(images):  # sums of taps are several times faster than reduce_window, backward too
        for axis in (1, 2):
            images = sum(_taps(window, strides, pads[axis - 1], axis, images, 0))
        return images

    def native(images):
        windows, steps = (1, window, window, 1), (1, strides, strides, 1)
        pads_of_axes = ((0, 0), *pads, (0, 0))
        return jax.lax.reduce_window(images, 0.0, jax.lax.add, windows, steps, pads_of_axes)

    sums = _by_platform(images, on_cpu, native)
    if counted:
        return sums / window**2
    inside = jnp.ones((1, *images.shape[1:3], 1), images.dtype)
    for axis in (1, 2):
        inside = sum(_taps(window, strides, pads[axis - 1], axis, inside, 0))
    return sums / inside


def adaptive_average_pool(images: jax.Array, size: int) -> jax.Array:
    """Averages over size x size bins that cover the image, [B, H, W, C] -> [B, size, size, C].

    Bin i reaches from floor(i * H / size) to ceil((i + 1) * H / size), as in PyTorch.
    """
    if images.shape[1:3] == (size, size):
        return images
    rows = _bins(images.shape[1], size).astype(images.dtype)
    columns = _bins(images.shape[2], size).astype(images.dtype)
    return jnp.einsum("bhwc,ih,jw->bijc", images, rows, columns)


def _bins(length: int, size: int) -> np.ndarray:
    """[size, length]: row i averages over bin i."""
    weights = np.zeros((size, length))
    for i in range(size):
        start, stop = i * length // size, -(-(i + 1) * length // size)
        weights[i, start:stop] = 1 / (stop - start)
    return weights
