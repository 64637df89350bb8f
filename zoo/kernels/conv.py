"""Two-dimensional convolution: `lax.conv_general_dilated`, fast on CPU as well.

XLA's CPU backend makes depthwise, grouped and few-channel convolutions and most gradients 2 to 800
times slower than necessary, and runs any convolution inside a loop on one core. In programs for
CPU the convolution and its two gradients are three primitives, each the transpose of the others.
They are lowered to

- oneDNN (`zoo.kernels.onednn`) where it is available, in float32 and on one device;
- otherwise sums of shifted products, block-diagonal dense convolutions, matrix products.

All forms give the same numbers up to rounding; derivatives of any order and `vmap` work.
"""

import functools
import itertools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad

from zoo.kernels import bilinear, onednn, platform

# A block-diagonal kernel of this many input channels keeps both cores busy; wider ones waste
# more multiplications on zeros than they gain. Measured on 32 groups of 8 channels.
SUPER_GROUP_CHANNELS = 32
# Up to this many input channels a convolution is patches and one matrix product.
FEW_CHANNELS = 16
# oneDNN's gradients to depthwise kernels with more columns take up to twenty times as long.
FAST_COLUMNS = 3


def conv(
    images: jax.Array,
    kernel: jax.Array,
    strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    **settings,
) -> jax.Array:
    """`lax.conv_general_dilated` of NHWC images and a HWIO kernel, in the platform's best form.

    Args:
      images: Images, [B, H, W, C].
      kernel: Kernel, [h, w, C / groups, features].
      strides: Strides of the window, (rows, columns).
      padding: "SAME", "VALID" or (low, high) for rows and columns.
      **settings: Further arguments of `lax.conv_general_dilated`.

    Returns:
      [B, H', W', features].

    Raises:
      ValueError: The channels of the kernel and of the images do not match.
    """
    plain: dict[str, Any] = {"dimension_numbers": ("NHWC", "HWIO", "NHWC")}
    settings = plain | settings
    form = platform.form(images, kernel)
    if form == platform.NATIVE or not _is_plain(kernel, settings):
        return lax.conv_general_dilated(images, kernel, strides, padding, **settings)
    if isinstance(padding, str):
        padding = lax.padtype_to_pads(images.shape[1:3], kernel.shape[:2], strides, padding)
    parameters = dict(
        strides=tuple(strides),
        padding=tuple((int(low), int(high)) for low, high in padding),
        groups=settings.get("feature_group_count", 1),
    )
    _output_shape(images, kernel, **parameters)  # raises where the channels do not match
    if form == platform.PORTABLE:
        native, portable = (functools.partial(f, **parameters) for f in (_native, _portable))
        if _cpu_form(kernel.shape, **parameters) is _native:
            return native(images, kernel)
        return lax.platform_dependent(images, kernel, cpu=portable, default=native)
    images, kernel = bilinear.match_varying_axes(images, kernel)
    return _forward.bind(images, kernel, **parameters)


def _is_plain(kernel: jax.Array, settings: dict) -> bool:
    """Whether the primitives can do this: two spatial axes, and none of the rarer settings."""
    dilations = [settings.get(side) or () for side in ("lhs_dilation", "rhs_dilation")]
    return (
        kernel.ndim == 4
        and all(step == 1 for dilation in dilations for step in dilation)
        and settings.get("batch_group_count", 1) == 1
        and settings.get("precision") is None
        and settings.get("preferred_element_type") is None
    )


# The three primitives. Each takes two of (images, kernel, gradient of the output) and gives the
# third: sum(forward(images, kernel) * gradient) is linear in each of them.


def _native(images, kernel, *, strides, padding, groups):
    return lax.conv_general_dilated(
        images,
        kernel,
        strides,
        padding,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


def _gradients_of(form):
    """The gradients of a formulation of the convolution, to the images and to the kernel."""

    def input_gradient(kernel, gradient, *, size, **settings):
        shape = _input_shape(kernel, gradient, size=size, **settings)
        return transpose(lambda images: form(images, kernel, **settings), shape, gradient)

    def kernel_gradient(images, gradient, *, window, **settings):
        shape = _kernel_shape(images, gradient, window=window, **settings)
        return transpose(lambda kernel: form(images, kernel, **settings), shape, gradient)

    def transpose(function, shape, gradient):
        zeros, _ = bilinear.match_varying_axes(jnp.zeros(shape, gradient.dtype), gradient)
        return jax.vjp(function, zeros)[1](gradient)[0]

    return input_gradient, kernel_gradient


def _output_shape(images, kernel, *, strides, padding, groups):
    if images.shape[3] != kernel.shape[2] * groups or kernel.shape[3] % groups:
        raise ValueError(
            f"A kernel {kernel.shape} in {groups} groups does not fit images of {images.shape[3]} "
            "channels."
        )
    geometry = dict(strides=strides, padding=padding, groups=groups)
    return onednn.output_shape(images.shape, kernel.shape, **geometry)


def _input_shape(kernel, gradient, *, size, groups, **_):
    return (gradient.shape[0], *size, kernel.shape[2] * groups)


def _kernel_shape(images, gradient, *, window, groups, **_):
    return (*window, images.shape[3] // groups, gradient.shape[3])


def _primitive(name: str, native, portable, shape) -> Primitive:
    def on_cpu(ffi_calls_allowed, *arrays, **_):
        fast = ffi_calls_allowed and onednn.supports(*arrays)
        return functools.partial(_by_onednn, name) if fast else portable

    return bilinear.define(name, shape, native, on_cpu, _PARAMETERS)


def _by_onednn(name, first, second, **settings):
    if name == "conv2d":
        images, kernel = first.shape, second.shape
        result = _output_shape(first, second, **settings)
    elif name == "conv2d_input_gradient":
        images = result = _input_shape(first, second, **settings)
        kernel = first.shape
    elif _is_wide_depthwise(first, **settings):
        return _narrow_kernel_gradients(first, second, **settings)
    else:
        images = first.shape
        kernel = result = _kernel_shape(first, second, **settings)
    geometry = {key: settings[key] for key in ("strides", "padding", "groups")}
    return onednn.convolution(images, kernel, result, first, second, operation=name, **geometry)


def _is_wide_depthwise(images, *, strides, groups, window, **_) -> bool:
    depthwise = groups == images.shape[3] and strides == (1, 1)
    return depthwise and FAST_COLUMNS < window[1] <= images.shape[2]


def _narrow_kernel_gradients(images, gradient, *, window, padding, **settings):
    """The gradient to a depthwise kernel, concatenated from gradients to narrow kernels."""
    rows, columns = window
    first = (columns // 2 - 1) % FAST_COLUMNS  # so that the middle columns are in one kernel
    cuts = sorted({0, *range(first, columns, FAST_COLUMNS), columns})
    narrow = []
    for start, stop in itertools.pairwise(cuts):
        seen, sides = images, (padding[1][0] - start, padding[1][1] - (columns - stop))
        if min(sides) < 0 or max(sides) > (stop - start) // 2:  # the fast kernel pads no more
            along_rows = [(0, 0, 0), (0, 0, 0), (*sides, 0), (0, 0, 0)]  # below zero: crops
            seen, sides = lax.pad(images, jnp.zeros((), images.dtype), along_rows), (0, 0)
        form = functools.partial(_by_onednn, "conv2d_kernel_gradient", window=(rows, stop - start))
        narrow.append(form(seen, gradient, padding=(padding[0], sides), **settings))
    return jnp.concatenate(narrow, axis=1)


_PARAMETERS = ("strides", "padding", "groups", "size", "window")


# Formulations for CPU that XLA compiles well.


def _portable(images, kernel, **settings):
    return _cpu_form(kernel.shape, **settings)(images, kernel, **settings)


def _cpu_form(kernel_shape: Sequence[int], *, strides, padding, groups):
    height, width, channels, features = kernel_shape
    if groups > 1:
        return _depthwise if channels == 1 and features == groups else _super_groups
    if (height, width) == tuple(strides) and not any(map(any, padding)):
        return _tiles
    if (height, width) == (1, 1) or channels <= FEW_CHANNELS:
        return _matrix_product
    return _native


def _windows(images, window, strides, padding):
    """Yields the taps of a window, each with the strided slice of the images it multiplies."""
    padded = jnp.pad(images, ((0, 0), *padding, (0, 0)))
    batch, height, width, channels = padded.shape
    out_height = (height - window[0]) // strides[0] + 1
    out_width = (width - window[1]) // strides[1] + 1
    for row in range(window[0]):
        for column in range(window[1]):
            stop = (
                row + (out_height - 1) * strides[0] + 1,
                column + (out_width - 1) * strides[1] + 1,
            )
            yield (
                (row, column),
                lax.slice(padded, (0, row, column, 0), (batch, *stop, channels), (1, *strides, 1)),
            )


def _tiles(images, kernel, *, strides, padding, groups):
    """Windows that do not overlap, as in patch embeddings: patches times one matrix."""
    (height, width), batch = strides, images.shape[0]
    rows, columns = images.shape[1] // height, images.shape[2] // width
    whole = images[:, : rows * height, : columns * width]
    tiles = whole.reshape(batch, rows, height, columns, width, -1).swapaxes(2, 3)
    return tiles.reshape(batch, rows, columns, -1) @ kernel.reshape(-1, kernel.shape[-1])


def _matrix_product(images, kernel, *, strides, padding, groups):
    """im2col: patches, [B, H, W, taps * C], times the kernel as one matrix."""
    taps = [tap for _, tap in _windows(images, kernel.shape[:2], strides, padding)]
    patches = taps[0] if len(taps) == 1 else jnp.concatenate(taps, axis=-1)
    return patches @ kernel.reshape(-1, kernel.shape[-1])


def _depthwise(images, kernel, *, strides, padding, groups):
    """A sum over the taps: shifted images times that tap's row of the kernel."""
    taps = _windows(images, kernel.shape[:2], strides, padding)
    return functools.reduce(jnp.add, (tap * kernel[at].reshape(1, 1, 1, -1) for at, tap in taps))


def _super_groups(images, kernel, *, strides, padding, groups):
    """Neighbouring groups merged into dense convolutions with block-diagonal kernels."""
    height, width, channels, features = kernel.shape
    merged = max(1, min(groups, SUPER_GROUP_CHANNELS // channels))
    while groups % merged:
        merged -= 1
    # [H, W, C, F] -> [H, W, groups / merged, merged, C, F / groups], then blocks on the diagonal.
    blocks = kernel.reshape(height, width, channels, groups // merged, merged, features // groups)
    diagonal = jnp.einsum("hwcsmf,mn->shwmcnf", blocks, jnp.eye(merged, dtype=kernel.dtype))
    dense = diagonal.reshape(groups // merged, height, width, merged * channels, -1)
    slices = jnp.split(images, groups // merged, axis=-1)
    native = functools.partial(
        lax.conv_general_dilated,
        window_strides=strides,
        padding=padding,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    return jnp.concatenate([native(x, k) for x, k in zip(slices, dense, strict=True)], axis=-1)


_portable_input_gradient, _transposed_kernel_gradient = _gradients_of(_portable)


def _portable_kernel_gradient(images, gradient, *, window, **settings):
    shape = _kernel_shape(images, gradient, window=window, **settings)
    if _cpu_form(shape, **settings) is not _native:
        return _transposed_kernel_gradient(images, gradient, window=window, **settings)
    # One matrix product per tap: XLA's own convolution over the batch axis is several times slower.
    taps = _windows(images, window, settings["strides"], settings["padding"])
    return jnp.stack([jnp.einsum("bhwc,bhwf->cf", tap, gradient) for _, tap in taps]).reshape(shape)


_native_input_gradient, _native_kernel_gradient = _gradients_of(_native)
_forward = _primitive("conv2d", _native, _portable, _output_shape)
_input_gradient = _primitive(
    "conv2d_input_gradient", _native_input_gradient, _portable_input_gradient, _input_shape
)
_kernel_gradient = _primitive(
    "conv2d_kernel_gradient", _native_kernel_gradient, _portable_kernel_gradient, _kernel_shape
)


def _sizes(images: Any = None, kernel: Any = None) -> dict:
    """The parameter that gives the size of a gradient, which its operands do not determine."""
    if images is not None:
        return {"size": tuple(images.aval.shape[1:3])}
    return {"window": tuple(kernel.aval.shape[:2])}


# The transpose rules, for either operand as the linear one.
ad.defbilinear(
    _forward,
    lambda ct, images, kernel, **s: _input_gradient.bind(kernel, ct, **s, **_sizes(images=images)),
    lambda ct, images, kernel, **s: _kernel_gradient.bind(images, ct, **s, **_sizes(kernel=kernel)),
)
ad.defbilinear(
    _input_gradient,
    lambda ct, kernel, gradient, size, **s: _kernel_gradient.bind(
        ct, gradient, **s, **_sizes(kernel=kernel)
    ),
    lambda ct, kernel, gradient, size, **s: _forward.bind(ct, kernel, **s),
)
ad.defbilinear(
    _kernel_gradient,
    lambda ct, images, gradient, window, **s: _input_gradient.bind(
        ct, gradient, **s, **_sizes(images=images)
    ),
    lambda ct, images, gradient, window, **s: _forward.bind(images, ct, **s),
)
