"""Position embeddings as parameters, and their resampling for other image and window sizes."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from zoo.layers import initializers

trunc_normal = initializers.truncated_normal(0.02)


def add_positions(
    module: nn.Module,
    tokens: jax.Array,
    name: str = "pos_embed",
    *,
    init: Callable[..., jax.Array] = trunc_normal,
    trained: bool = True,
) -> jax.Array:
    """Adds a position embedding to tokens, [B, N, C] -> [B, N, C].

    Args:
      module: The calling module, which owns the parameter.
      tokens: Tokens [B, N, C], or tokens in W windows, [B, W, N, C].
      name: Name of the parameter, [1, N, C] or [1, W, N, C].
      init: Initializer of the parameter.
      trained: Whether the parameter gets gradients; otherwise it keeps its initial values.

    Raises:
      ValueError: The parameter belongs to another number of tokens.
    """
    shape = (1, *tokens.shape[1:])
    if module.has_variable("params", name):
        found = module.get_variable("params", name).shape
        if found != shape:
            raise ValueError(
                f"{name} of these parameters is for {math.prod(found[:-1])} tokens of width "
                f"{found[-1]}, these images make {math.prod(shape[:-1])} of width {shape[-1]}. "
                "zoo.load_torch(name, source, "
                "image_size=...) resamples the embedding of reference weights to another size."
            )
    positions = module.param(name, init, shape)
    if not trained:
        positions = jax.lax.stop_gradient(positions)
    return tokens + positions.astype(tokens.dtype)


def resample_tokens(value: np.ndarray, shape: tuple[int, ...], **settings) -> np.ndarray:
    """Resamples embeddings of a square grid of tokens, and of class tokens before it.

    [1, p + n * n, C] -> [1, p + m * m, C] = `shape`, bicubic as in timm. The p embeddings before
    the grid, at most three, stay as they are. `settings` are those of `resample_grid`.

    Raises:
      ValueError: These numbers of tokens are not p class tokens and a square grid.
    """
    for prefix in range(4):
        old, new = (math.isqrt(n[1] - prefix) for n in (value.shape, shape))
        if old**2 + prefix == value.shape[1] and new**2 + prefix == shape[1]:
            kept, grid = value[:, :prefix], value[:, prefix:]
            size = (1, new, new, value.shape[2])
            grid = resample_grid(grid.reshape(1, old, old, -1), size, **settings)
            return np.concatenate([kept, grid.reshape(1, new * new, -1)], axis=1)
    raise ValueError(f"{value.shape[1]} and {shape[1]} tokens are not class tokens and squares")


def resample_grid(
    value: np.ndarray, shape: tuple[int, ...], method: str = "cubic", **settings
) -> np.ndarray:
    """Resamples a square grid, [1, n, n, C] -> [1, m, m, C] = `shape`.

    `method` and `settings` are arguments of `jax.image.resize`.
    """
    resized = jax.image.resize(jnp.asarray(value), shape, method, **settings)
    return np.asarray(resized, value.dtype)


def resample_bias_table(value: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Resamples relative-position biases to another window, [(2n - 1)^2, heads] -> `shape`."""
    old, new = math.isqrt(value.shape[0]), math.isqrt(shape[0])
    grid = resample_grid(value.reshape(1, old, old, -1), (1, new, new, shape[1]))
    return grid.reshape(shape)
