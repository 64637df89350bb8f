"""Noise for whole images, normally distributed or uniform.

`jax.random.normal` takes 3 ms on CPU for an image of 224 pixels; this takes a tenth.
"""

import functools
import math
import statistics
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np


def normal_noise(keys: jax.Array, shape: Sequence[int]) -> jax.Array:
    """Standard normal noise for each of the keys [B], as fine as an image can show.

    Each word of `_bits` gives two values, by a table of the distribution's 2 ** 16 quantiles.

    Returns:
      float32 [B, *shape].
    """
    count = math.prod(shape)
    bits = _bits(keys, -(-count // 2))
    halves = jnp.concatenate([bits & 0xFFFF, bits >> 16], 1)[:, :count].astype(jnp.int32)
    values = jnp.asarray(_quantiles()).at[halves].get(mode="promise_in_bounds")
    return values.reshape(-1, *shape)


def uniform_noise(keys: jax.Array, shape: Sequence[int]) -> jax.Array:
    """Noise that is uniform in [-1, 1) for each of the keys [B]: float32 [B, *shape]."""
    bits = _bits(keys, math.prod(shape))
    return ((bits >> 8).astype(jnp.int32).astype(jnp.float32) / 2**23 - 1).reshape(-1, *shape)


def _bits(keys: jax.Array, count: int) -> jax.Array:
    """uint32 [B, count]: two rounds of murmur3's mixing of a counter and two words of each key."""
    first, second = (word[:, None] for word in jax.vmap(_two_words)(keys).T)
    counter = jnp.arange(count, dtype=jnp.uint32)[None]
    return _mixed(_mixed(counter * np.uint32(0x9E3779B9) + first) ^ second)


def _two_words(key: jax.Array) -> jax.Array:
    return jax.random.bits(key, (2,))


def _mixed(words: jax.Array) -> jax.Array:
    """murmur3's fmix32, a bijection of uint32 in which each bit changes half of the others."""
    words = (words ^ (words >> 16)) * np.uint32(0x85EBCA6B)
    words = (words ^ (words >> 13)) * np.uint32(0xC2B2AE35)
    return words ^ (words >> 16)


@functools.cache
def _quantiles() -> np.ndarray:
    """The standard normal distribution in 2 ** 16 equally likely values."""
    quantile = statistics.NormalDist().inv_cdf
    upper = [quantile((n + 0.5) / 2**16) for n in range(2**15, 2**16)]
    return np.asarray([-value for value in reversed(upper)] + upper, np.float32)
