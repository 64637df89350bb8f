"""Convolutions, their gradients and matrix products by oneDNN, called by compiled programs.

XLA's arrays keep their layouts: images NHWC, kernels HWIO, operands of matrix products as einsum's
letters say. oneDNN brings kernels into blocks itself.
"""

import functools
import json
import math
from collections.abc import Callable, Sequence
from ctypes import c_int64

import jax
import jax.numpy as jnp

from zoo.kernels import dnnl, foreign
from zoo.kernels.dnnl import DESTINATION, GRADIENT, SOURCE, WEIGHTS
from zoo.kernels.parts import Part, Turns

NAME = "zoo_onednn"  # by which XLA knows it
# Each part repeats some work: kernels into blocks, sums of their gradients. On 2 cores that pays;
# more were not measured, and beyond this OpenMP shares the work out.
MOST_PARTS = 8
# Smaller convolutions are done before another thread has come to help.
FEWEST_PRODUCTS = 2**22


def supports(*arrays) -> bool:
    """Whether the operations can run on arrays of these types, on this machine."""
    return all(array.dtype == jnp.float32 and array.size for array in arrays) and available()


@functools.cache
def available() -> bool:
    """Whether oneDNN can be used here; if so, XLA knows our handler from now on."""
    if dnnl.library() is None:
        return False
    foreign.register(NAME, _run)
    return True


def _run(key: bytes, inputs: Sequence[int], outputs: Sequence[int]) -> list[Callable[[], None]]:
    addresses, turns = (*inputs, *outputs), Turns()
    return [functools.partial(part.run, addresses, turns) for part in parts_of(key)]


@functools.cache
def parts_of(key: bytes) -> list[Part]:
    """The work, cut where that pays.

    Convolutions are cut along the batch, a part for each core: XLA does other operations at the
    same time, and OpenMP's threads would wait for the one whose core is taken (GoogLeNet's step: a
    tenth). Matrix products gained nothing by it.
    """
    operation, *settings = json.loads(key)
    if operation == "einsum":
        return [Part(functools.partial(_matrix_product, *settings), dnnl.cores(), (0, 0, 0))]
    return _convolution_parts(operation, *settings)


def _shares(batch: int, products: int) -> tuple[int, int]:
    """Into how many parts a batch is cut, and how many threads work on each."""
    cores = dnnl.cores()
    if batch % cores or cores > MOST_PARTS:
        return 1, cores
    return (cores, 1) if products >= FEWEST_PRODUCTS else (1, 1)


def _call(key: Sequence, operands: Sequence[jax.Array], result: Sequence[int]) -> jax.Array:
    output = jax.ShapeDtypeStruct(tuple(result), jnp.float32)
    return jax.ffi.ffi_call(NAME, output)(*operands, key=json.dumps(key))


def convolution(images, kernel, result, *operands, operation: str, **settings) -> jax.Array:
    """Runs "conv2d", "conv2d_input_gradient" or "conv2d_kernel_gradient" on two `operands`.

    `images`, `kernel` and `result` are shapes; `settings` strides, padding and groups.
    """
    geometry = [settings[name] for name in ("strides", "padding", "groups")]
    return _call([operation, images, kernel, *geometry], operands, result)


def matrix_product(first: jax.Array, second: jax.Array, *, axes: Sequence[str]) -> jax.Array:
    """The einsum of two arrays, `axes` their letters and the result's: see `is_matrix_product`."""
    sizes = dict(zip(axes[0] + axes[1], first.shape + second.shape, strict=True))
    result = [sizes[letter] for letter in axes[2]]
    return _call(["einsum", axes, sizes], (first, second), result)


# Convolutions.


def _convolution_parts(operation, images, kernel, *geometry) -> list[Part]:
    products = math.prod(_output_shape(images, kernel, *geometry)) * math.prod(kernel[:3])
    count, threads = _shares(images[0], products)
    images = [images[0] // count, *images[1:]]
    image_bytes, kernel_bytes = 4 * math.prod(images), 0
    output_bytes = 4 * math.prod(_output_shape(images, kernel, *geometry))
    share = {
        "conv2d": (image_bytes, kernel_bytes, output_bytes),
        "conv2d_input_gradient": (kernel_bytes, output_bytes, image_bytes),
        "conv2d_kernel_gradient": (image_bytes, output_bytes, kernel_bytes),
    }[operation]
    is_sum = count > 1 and operation == "conv2d_kernel_gradient"
    prepare = functools.partial(_convolution, operation, images, kernel, *geometry)
    return [
        Part(
            functools.partial(prepare, adds=is_sum and i > 0),
            threads,
            [i * size for size in share],
            number=i if is_sum else None,
        )
        for i in range(count)
    ]


_POINTWISE = {
    "conv2d": ("nc", "cf", "nf"),
    "conv2d_input_gradient": ("cf", "nf", "nc"),
    "conv2d_kernel_gradient": ("nc", "nf", "cf"),
}


def _output_shape(images, kernel, strides, padding, groups):
    sizes = zip(images[1:3], padding, kernel[:2], strides, strict=True)
    sides = [(side + sum(pads) - window) // step + 1 for side, pads, window, step in sizes]
    return images[0], *sides, kernel[3]


def _convolution(operation, images, kernel, strides, padding, groups, adds) -> dnnl.Operation:
    batch, height, width, channels = images
    rows, columns, inner, features = kernel
    if (rows, columns, *strides, groups) == (1, 1, 1, 1, 1) and not any(map(any, padding)):
        # A product of matrices, which leaves the kernel as it is: a fifth faster.
        sizes = {"n": batch * height * width, "c": channels, "f": features}
        return _matrix_product(_POINTWISE[operation], sizes, adds)
    source = _nhwc(batch, height, width, channels)
    destination = _nhwc(*_output_shape(images, kernel, strides, padding, groups))
    weights = _hwio(rows, columns, inner, features, groups)
    grouped = (groups,) if groups > 1 else ()
    blocked = dnnl.layout((*grouped, features // groups, inner, rows, columns))
    (top, bottom), (left, right) = padding
    pairs = (strides, (0, 0), (top, left), (bottom, right))  # nothing is dilated
    geometry = [(c_int64 * 2)(*pair) for pair in pairs]
    forward = "dnnl_convolution_forward_primitive_desc_create"
    plan = (dnnl.TRAINING, dnnl.DIRECT, source, blocked, None, destination, *geometry)
    if operation == "conv2d":
        operands = [(SOURCE, source), (WEIGHTS, weights), (DESTINATION, destination)]
        return dnnl.Operation(forward, plan, operands)
    hint = dnnl.describe(forward, *plan)
    if operation == "conv2d_input_gradient":
        create = "dnnl_convolution_backward_data_primitive_desc_create"
        arguments = (dnnl.DIRECT, source, blocked, destination, *geometry, hint)
        kinds = [(WEIGHTS, weights), (DESTINATION + GRADIENT, destination)]
        return dnnl.Operation(create, arguments, [*kinds, (SOURCE + GRADIENT, source)])
    create = "dnnl_convolution_backward_weights_primitive_desc_create"
    arguments = (dnnl.DIRECT, source, blocked, None, destination, *geometry, hint)
    kinds = [(SOURCE, source), (DESTINATION + GRADIENT, destination)]
    return dnnl.Operation(create, arguments, [*kinds, (WEIGHTS + GRADIENT, weights)], adds)


def _nhwc(batch, height, width, channels):
    row = width * channels
    return dnnl.layout((batch, channels, height, width), (height * row, 1, row, channels))


def _hwio(rows, columns, inner, features, groups):
    shape = (features // groups, inner, rows, columns)
    strides = (1, features, columns * inner * features, inner * features)
    if groups == 1:
        return dnnl.layout(shape, strides)
    return dnnl.layout((groups, *shape), (features // groups, *strides))


# Matrix products: [batch ..., rows, inner] times [batch ..., inner, columns].


def is_matrix_product(axes: Sequence[str]) -> bool:
    """Whether oneDNN can run the einsum of these letters without rearranging arrays.

    Letters that all three have are batches. Of the others, those that the same two have are one
    axis of a matrix: they must stand side by side, in the same order in both. None of these three
    axes may be missing, and the result must end in one of them.
    """
    first, second, result = axes
    batch, rows, columns, inner = _matrices(axes)
    side_by_side = (
        rows in first and rows in result,
        columns in second and columns in result,
        inner in first and inner in second,
    )
    counted = all(sum(letter in name for name in axes) >= 2 for letter in "".join(axes))
    complete = bool(rows and columns and inner) and result[-1] not in batch
    return all(side_by_side) and counted and complete


def _matrices(axes: Sequence[str]) -> tuple[str, str, str, str]:
    """The letters of the batch, of the rows, of the columns and of the axis that is summed."""
    first, second, result = axes
    batch = "".join(letter for letter in result if letter in first and letter in second)

    def shared(one: str, other: str) -> str:
        return "".join(letter for letter in one if letter in other and letter not in batch)

    return batch, shared(first, result), shared(second, result), shared(first, second)


def _matrix_product(
    axes: Sequence[str], sizes: dict[str, int], adds: bool = False
) -> dnnl.Operation:
    first, second, result = axes
    batch, rows, columns, inner = _matrices(axes)

    def layout(letters: str, across: str, along: str):
        strides = dict(zip(letters, _strides([sizes[letter] for letter in letters]), strict=True))
        shape = [sizes[letter] for letter in batch]
        shape += [math.prod(sizes[letter] for letter in side) for side in (across, along)]
        steps = [strides[letter] for letter in (*batch, across[-1], along[-1])]
        return dnnl.layout(shape, steps)

    kinds = [SOURCE, WEIGHTS]
    if result[-1] in rows:  # the transposed product, whose columns are the result's last axis
        layouts = [layout(first, inner, rows), layout(second, columns, inner)]
        kinds.reverse()
        product = layout(result, columns, rows)
    else:
        layouts = [layout(first, rows, inner), layout(second, inner, columns)]
        product = layout(result, rows, columns)
    operands = [*zip(kinds, layouts, strict=True), (DESTINATION, product)]
    by_kind = dict(operands)
    arguments = (by_kind[SOURCE], by_kind[WEIGHTS], None, product)
    return dnnl.Operation("dnnl_matmul_primitive_desc_create", arguments, operands, adds)


def _strides(shape: Sequence[int]) -> list[int]:
    """Of an array in rows."""
    return [math.prod(shape[i + 1 :]) for i in range(len(shape))]
