"""Convolutions, their gradients and matrix products by oneDNN, called by compiled programs.

XLA's arrays keep their layouts: images NHWC, kernels HWIO, operands of matrix products as the
subscripts of einsum say. oneDNN reorders kernels into its blocked layouts itself. This file
describes an operation to onednn.cc: layouts in the order of oneDNN's axes, and the number of parts
into which the batch is split.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from zoo.kernels import extension

# Each part repeats some work: it reorders the kernel, and adds its gradient to the others'. On 2
# cores that pays; more were not measured, and with more parts than this OpenMP splits the work.
MOST_PARTS = 8
# Operations of fewer multiply-adds are done before another thread can begin to help; and where
# another program has the core, the wait for that thread is longer than they are.
FEWEST_PRODUCTS = 2**22

_SOURCE, _WEIGHTS, _DESTINATION = range(3)

Layout = tuple[Sequence[int], Sequence[int]]  # shape, and strides in elements


def supports(*arrays) -> bool:
    """Whether the operations can run on arrays of these types, on this machine."""
    return all(array.dtype == jnp.float32 and array.size for array in arrays) and available()


def available() -> bool:
    """Whether oneDNN can be used here; if so, its handlers are registered with XLA."""
    return extension.load() is not None


def cores() -> int:
    """The default number of OpenMP threads of an operation."""
    loaded = extension.load()
    assert loaded is not None, "oneDNN is not available"
    return loaded.cores()


def convolution(
    images: Sequence[int],
    kernel: Sequence[int],
    result: Sequence[int],
    *operands: jax.Array,
    operation: str,
    strides: Sequence[int],
    padding: Sequence[tuple[int, int]],
    groups: int,
) -> jax.Array:
    """Runs a convolution or one of its gradients.

    Args:
      images: Shape of the images, [B, H, W, C].
      kernel: Shape of the kernel, [h, w, C / groups, features].
      result: Shape of the result.
      *operands: Two arrays: images and kernel of "conv2d", kernel and the output's cotangent of
        "conv2d_input_gradient", images and the output's cotangent of "conv2d_kernel_gradient".
      operation: Name of the operation, one of these three.
      strides: Strides of the window, (rows, columns).
      padding: (low, high) for rows and columns.
      groups: Number of feature groups.
    """
    output = output_shape(images, kernel, strides=strides, padding=padding, groups=groups)
    parts, threads = _split(images[0], math.prod(output) * math.prod(kernel[:3]))
    images, output = (images[0] // parts, *images[1:]), (output[0] // parts, *output[1:])
    order = _ORDERS[operation]
    elements = {_SOURCE: math.prod(images), _WEIGHTS: 0, _DESTINATION: math.prod(output)}
    offsets = [4 * elements[kind] for kind in order]  # bytes from one part to the next
    if (*kernel[:2], *strides, groups) == (1, 1, 1, 1, 1) and not any(map(any, padding)):
        # A matrix product, which needs no reordered kernel: a fifth faster.
        sizes = {"n": math.prod(images[:3]), "c": images[3], "f": kernel[3]}
        layouts, order = _matrix_product(_POINTWISE[operation], sizes)
        settings = _MATMUL
    else:
        layouts = [
            _nhwc(*images),
            _hwio(kernel[0], kernel[1], kernel[2], kernel[3], groups),
            _nhwc(*output),
        ]
        (top, bottom), (left, right) = padding
        settings = dict(
            operation=operation,
            window_strides=_int64s(strides),
            padding_low=_int64s((top, left)),
            padding_high=_int64s((bottom, right)),
        )
    return _call(layouts, order, operands, result, offsets, parts, threads, **settings)


def output_shape(images, kernel, *, strides, padding, groups) -> tuple[int, ...]:
    """The shape of a convolution's output, [B, H', W', features]."""
    sizes = zip(images[1:3], padding, kernel[:2], strides, strict=True)
    sides = [(side + sum(pads) - window) // step + 1 for side, pads, window, step in sizes]
    return (images[0], *(max(0, side) for side in sides), kernel[3])


def matrix_product(first: jax.Array, second: jax.Array, *, axes: Sequence[str]) -> jax.Array:
    """Runs an einsum of two arrays as a matrix product.

    Args:
      first, second: The operands.
      axes: Subscripts of both operands and of the result, for which `is_matrix_product` holds.
    """
    sizes = dict(zip(axes[0] + axes[1], first.shape + second.shape, strict=True))
    layouts, order = _matrix_product(axes, sizes)
    result = [sizes[letter] for letter in axes[2]]
    threads = cores() if math.prod(sizes.values()) >= FEWEST_PRODUCTS else 1
    return _call(layouts, order, (first, second), result, (0, 0, 0), 1, threads, **_MATMUL)


def _split(batch: int, products: int) -> tuple[int, int]:
    """The number of parts into which a batch is split, and the number of threads for each.

    Convolutions are split along the batch, with one part per core: XLA runs other operations at the
    same time, and OpenMP's threads would wait for the one whose core is taken (a tenth of
    GoogLeNet's training step). Matrix products gained nothing by it.
    """
    most = cores()
    if products < FEWEST_PRODUCTS:
        return 1, 1
    return (1, most) if batch % most or most > MOST_PARTS else (most, 1)


def _call(layouts, order, operands, result, offsets, parts, threads, **attributes) -> jax.Array:
    for name, (shape, strides) in zip(("source", "weights", "destination"), layouts, strict=True):
        attributes |= {name: _int64s(shape), f"{name}_strides": _int64s(strides)}
    attributes |= dict(order=_int64s(order), offsets=_int64s(offsets))
    attributes |= dict(parts=np.int64(parts), threads=np.int64(threads))
    output = jax.ShapeDtypeStruct(tuple(result), jnp.float32)
    return jax.ffi.ffi_call(extension.ONEDNN, output)(*operands, **attributes)


def _int64s(values) -> np.ndarray:
    return np.array([*values], np.int64)


_NO_WINDOW = {name: _int64s(()) for name in ("window_strides", "padding_low", "padding_high")}
_MATMUL = {"operation": "matmul"} | _NO_WINDOW


# Convolutions.

# The roles of both operands and of the result.
_ORDERS = {
    "conv2d": (_SOURCE, _WEIGHTS, _DESTINATION),
    "conv2d_input_gradient": (_WEIGHTS, _DESTINATION, _SOURCE),
    "conv2d_kernel_gradient": (_SOURCE, _DESTINATION, _WEIGHTS),
}
_POINTWISE = {
    "conv2d": ("nc", "cf", "nf"),
    "conv2d_input_gradient": ("cf", "nf", "nc"),
    "conv2d_kernel_gradient": ("nc", "nf", "cf"),
}


def _nhwc(batch: int, height: int, width: int, channels: int) -> Layout:
    row = width * channels
    return (batch, channels, height, width), (height * row, 1, row, channels)


def _hwio(rows: int, columns: int, inner: int, features: int, groups: int) -> Layout:
    shape = (features // groups, inner, rows, columns)
    strides = (1, features, columns * inner * features, inner * features)
    if groups == 1:
        return shape, strides
    return (groups, *shape), (features // groups, *strides)


# Matrix products: [batch ..., rows, inner] times [batch ..., inner, columns].


def is_matrix_product(axes: Sequence[str]) -> bool:
    """Whether oneDNN can run the einsum of these subscripts without transposing arrays.

    Letters in all three subscripts are batch axes. Of the others, those that the same two share are
    one axis of a matrix: they must be adjacent, and in the same order in both. None of these three
    axes may be missing, and the result must end in one of them.
    """
    first, second, result = axes
    batch, rows, columns, inner = _matrices(axes)
    adjacent = (
        rows in first and rows in result,
        columns in second and columns in result,
        inner in first and inner in second,
    )
    paired = all(sum(letter in name for name in axes) >= 2 for letter in "".join(axes))
    complete = bool(rows and columns and inner) and result[-1] not in batch
    return all(adjacent) and paired and complete


def _matrices(axes: Sequence[str]) -> tuple[str, str, str, str]:
    """The letters of the batch, of the rows, of the columns and of the contracted axis."""
    first, second, result = axes
    batch = "".join(letter for letter in result if letter in first and letter in second)

    def shared(one: str, other: str) -> str:
        return "".join(letter for letter in one if letter in other and letter not in batch)

    return batch, shared(first, result), shared(second, result), shared(first, second)


def _matrix_product(axes, sizes: dict[str, int]) -> tuple[list[Layout], tuple[int, ...]]:
    """The layouts of source, weights and destination, and the roles of operands and result."""
    first, second, result = axes
    batch, rows, columns, inner = _matrices(axes)

    def layout(letters: str, row_axes: str, column_axes: str) -> Layout:
        strides = dict(zip(letters, _strides([sizes[letter] for letter in letters]), strict=True))
        shape = [sizes[letter] for letter in batch]
        shape += [math.prod(sizes[letter] for letter in side) for side in (row_axes, column_axes)]
        last = (*batch, row_axes[-1], column_axes[-1])
        return shape, [strides[letter] for letter in last]

    if result[-1] in rows:  # the transposed product, whose columns are the result's last axis
        order = (_WEIGHTS, _SOURCE, _DESTINATION)
        source, weights = layout(second, columns, inner), layout(first, inner, rows)
        return [source, weights, layout(result, columns, rows)], order
    source, weights = layout(first, rows, inner), layout(second, inner, columns)
    return [source, weights, layout(result, rows, columns)], (_SOURCE, _WEIGHTS, _DESTINATION)


def _strides(shape: Sequence[int]) -> list[int]:
    """Strides of a row-major array, in elements."""
    return [math.prod(shape[i + 1 :]) for i in range(len(shape))]
