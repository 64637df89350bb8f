"""Operations that depend on how the values of a whole channel are distributed."""

import jax
import jax.numpy as jnp

from input_pipeline.augment.pixels import look_up, one_by_one, truncated


def autocontrast(images: jax.Array) -> jax.Array:
    """Stretches each channel to [0, 255], truncated; a constant channel stays. Both backends.

    uint8 [B, H, W, C] -> the same.
    """
    low = images.min((1, 2), keepdims=True).astype(jnp.float32)
    high = images.max((1, 2), keepdims=True).astype(jnp.float32)
    flat = low == high
    values = images.astype(jnp.float32)
    # The division comes last, so that whole results are whole.
    stretched = truncated((values - low) * 255 / jnp.where(flat, 1, high - low))
    return jnp.where(flat, images, stretched)


def equalize(images: jax.Array) -> jax.Array:
    """Makes the values of each channel about equally frequent. Both backends.

    Of the histogram h of a channel of N values, step = (N - h[last that is not 0]) // 255; values v
    become (sum of h below v + step // 2) // step, clipped; with step 0 the channel stays.

    uint8 [B, H, W, C] -> the same.
    """
    counts = histogram(images)
    levels = jnp.arange(256, dtype=jnp.int32)[None, :, None]
    last = jnp.max(jnp.where(counts > 0, levels, 0), 1, keepdims=True)
    of_last = jnp.sum(jnp.where(levels == last, counts, 0), 1, keepdims=True)
    step = (images.shape[1] * images.shape[2] - of_last) // 255
    below = jnp.cumsum(counts, 1) - counts
    table = jnp.clip((below + step // 2) // jnp.maximum(step, 1), 0, 255)
    return look_up(jnp.where(step == 0, levels, table).astype(jnp.uint8), images)


def histogram(images: jax.Array) -> jax.Array:
    """How often each value stands in each channel: uint8 [B, H, W, C] -> int32 [B, 256, C]."""
    batch, height, width, channels = images.shape
    planes = jnp.moveaxis(images, -1, 1).reshape(batch * channels, height * width)

    def count(planes: jax.Array) -> jax.Array:
        zeros = jnp.zeros(256, jnp.int32)
        return jax.vmap(lambda p: zeros.at[p].add(1, mode="promise_in_bounds"))(planes)

    return one_by_one(count, planes).reshape(batch, channels, 256).swapaxes(1, 2)
