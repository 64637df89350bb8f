"""The convolution of every family: `nn.Conv`'s parameters and numbers, fast on CPU as well.

XLA's CPU backend compiles depthwise, grouped and few-channel convolutions 10 to 800 times slower
than it need, and runs any convolution inside a loop on one core. So on CPU these become sums of
shifted products, block-diagonal dense convolutions or matrix products, which give the same numbers.
Accelerators keep the native convolution: the choice is made when the program is lowered.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

# A block-diagonal kernel of this many input channels keeps both cores busy; wider ones waste
# more multiplications on zeros than they gain. Measured on 32 groups of 8 channels.
SUPER_GROUP_CHANNELS = 32
# Up to this many input channels a convolution is patches and one matrix product.
FEW_CHANNELS = 16


def conv(
    images: jax.Array,
    kernel: jax.Array,
    strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    **settings,
) -> jax.Array:
    """`lax.conv_general_dilated` of NHWC images and a HWIO kernel, in the platform's best form.

    `settings` are its other arguments. Images [B, H, W, C], kernel [h, w, C / groups, features].
    """
    settings = {"dimension_numbers": ("NHWC", "HWIO", "NHWC")} | settings
    native = functools.partial(
        lax.conv_general_dilated, window_strides=strides, padding=padding, **settings
    )
    groups = settings.get("feature_group_count", 1)
    if not _is_plain(kernel, settings):
        return native(images, kernel)
    if isinstance(padding, str):
        padding = lax.padtype_to_pads(images.shape[1:3], kernel.shape[:2], strides, padding)
    tiles = tuple(kernel.shape[:2]) == tuple(strides) and not any(map(any, padding))
    form = _tiles if tiles and groups == 1 else _cpu_form(kernel.shape, groups)
    if form is None:
        return native(images, kernel)
    on_cpu = functools.partial(form, strides=strides, padding=padding, groups=groups)
    return lax.platform_dependent(images, kernel, cpu=on_cpu, default=native)


Conv = functools.partial(nn.Conv, conv_general_dilated=conv)


def _is_plain(kernel: jax.Array, settings: dict) -> bool:
    """Two spatial axes, nothing dilated, one set of weights for the whole batch."""
    dilations = [settings.get(side) or () for side in ("lhs_dilation", "rhs_dilation")]
    return (
        kernel.ndim == 4
        and all(step == 1 for dilation in dilations for step in dilation)
        and settings.get("batch_group_count", 1) == 1
    )


def _cpu_form(kernel_shape: Sequence[int], groups: int):
    height, width, channels, features = kernel_shape
    if groups > 1:
        return _depthwise if channels == 1 and features == groups else _super_groups
    if (height, width) == (1, 1) or channels <= FEW_CHANNELS:
        return _matrix_product
    return None


def _windows(images, window, strides, padding):
    """The taps of a window: for each, the strided slice of the padded images it multiplies."""
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
    """Windows that do not overlap, as of patch embeddings: the image cut up, and a matrix."""
    (height, width), batch = strides, images.shape[0]
    rows, columns = images.shape[1] // height, images.shape[2] // width
    whole = images[:, : rows * height, : columns * width]
    tiles = whole.reshape(batch, rows, height, columns, width, -1).swapaxes(2, 3)
    return tiles.reshape(batch, rows, columns, -1) @ kernel.reshape(-1, kernel.shape[-1])


def _matrix_product(images, kernel, *, strides, padding, groups):
    """Patches side by side, [B, H, W, taps * C], times the kernel as one matrix."""
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
    parts = jnp.split(images, groups // merged, axis=-1)
    native = functools.partial(
        lax.conv_general_dilated,
        window_strides=strides,
        padding=padding,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    return jnp.concatenate([native(p, k) for p, k in zip(parts, dense, strict=True)], axis=-1)
