"""Patch embeddings, and learned tokens such as the class token."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from zoo.kernels.sharding import broadcast_batch
from zoo.layers import initializers
from zoo.layers.conv import Conv
from zoo.layers.image_size import require_multiples

lecun_normal = initializers.lecun_normal()


def patch_embedding(images: jax.Array, patch: int, width: int, dtype: Any) -> jax.Array:
    """Linear embedding of patches, [B, H, W, C] -> [B, H / patch, W / patch, width].

    Call it inside a compact module; its layer is "stem_conv".

    Args:
      images: Images, [B, H, W, C].
      patch: Side of a patch in pixels.
      width: Width of a token.
      dtype: Dtype of the computation.

    Raises:
      ValueError: The patches do not cover the image exactly.
    """
    require_multiples(images, patch, f"A network of {patch}x{patch} patches")
    conv = Conv(width, (patch, patch), patch, padding="VALID", dtype=dtype, name="stem_conv")
    return conv(images)


def normalized_patches(
    x: jax.Array,
    features: int,
    size: int,
    strides: int,
    *,
    name: str,
    dtype: Any,
    padding: int = 0,
    kernel_init: Callable[..., jax.Array] = lecun_normal,
) -> jax.Array:
    """Patch embedding with a LayerNorm, which begins a stage of a pyramid.

    Patches overlap where `size` exceeds `strides`. Call it inside a compact module; its layers are
    `name`_conv and `name`_norm.

    Args:
      x: Image or grid of tokens, [B, H, W, C].
      features: Width of a token.
      size: Side of a patch.
      strides: Distance between patches.
      name: Prefix of the layers' names.
      dtype: Dtype of the computation.
      padding: Number of zeros on every side of `x`.
      kernel_init: Initializer of the convolution.

    Returns:
      [B, H / strides, W / strides, features].
    """
    conv = Conv(
        features,
        (size, size),
        strides,
        padding=padding,
        kernel_init=kernel_init,
        dtype=dtype,
        name=f"{name}_conv",
    )
    return nn.LayerNorm(1e-5, dtype, name=f"{name}_norm")(conv(x))


def prepend_tokens(module: nn.Module, x: jax.Array, *names: str) -> jax.Array:
    """Prepends learned tokens, [B, N, C] -> [B, len(names) + N, C].

    Each name is that of a parameter [1, 1, C] of `module`.
    """
    shape = (1, 1, x.shape[-1])
    tokens = [module.param(name, initializers.normal(0.02), shape) for name in names]
    tokens = [broadcast_batch(token, x).astype(x.dtype) for token in tokens]
    return jnp.concatenate([*tokens, x], axis=1)
