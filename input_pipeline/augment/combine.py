"""Keys for each image, one of several operations for each image, and chains of transforms.

A transform is a function (key, images) -> images, whose draws for an image come from the image's
own key alone: `key` is one key, of which each image gets a part, or keys [B].
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from input_pipeline.augment.pixels import stored

SMALL = 4096  # draws of an image that are stored
Transform = Callable[[jax.Array, jax.Array], jax.Array]


def is_one_key(key: jax.Array) -> bool:
    """Whether this is one key and not keys [B]; raw uint32 keys have an axis more."""
    return key.ndim == (0 if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) else 1)


def image_keys(key: jax.Array, batch: int) -> jax.Array:
    """One key for each image: parts of `key`, or the keys [B] themselves."""
    return jax.random.split(key, batch) if is_one_key(key) else key


def fold_in(keys: jax.Array, number: ArrayLike) -> jax.Array:
    """`jax.random.fold_in` for each of the keys [B]; the number is one for all, or [B]."""
    return jax.vmap(jax.random.fold_in, (0, 0 if jnp.ndim(number) else None))(keys, number)


def uniform(
    keys: jax.Array, low: ArrayLike = 0.0, high: ArrayLike = 1.0, shape: tuple[int, ...] = ()
) -> jax.Array:
    """A uniform draw [B, *shape] from [low, high) for each of the keys [B]."""
    draws = jax.vmap(lambda key: jax.random.uniform(key, shape, minval=low, maxval=high))(keys)
    return stored(draws) if math.prod(shape) <= SMALL else draws


def integers(
    keys: jax.Array, low: ArrayLike, high: ArrayLike, shape: tuple[int, ...] = ()
) -> jax.Array:
    """A whole number [B, *shape] from [low, high) for each of the keys [B]; the ends may be [B]."""
    batch = keys.shape[0]
    ends = [jnp.broadcast_to(jnp.asarray(end, jnp.int32), (batch,)) for end in (low, high)]
    draw = jax.vmap(lambda key, low, high: jax.random.randint(key, shape, low, high))
    return stored(draw(keys, *ends))


def switch(
    index: jax.Array,
    branches: Sequence[Callable[..., jax.Array]],
    images: jax.Array,
    *operands: Any,
) -> jax.Array:
    """Applies to each image the branch that its index says, or several one after the other.

    On CPU a loop goes through the images, and each pays for its own branches alone. Elsewhere all
    branches are computed on the batch, and the results selected: so do not let vmap do it, which
    would be that on CPU too. Where a batch is sharded over devices, call it inside of `shard_map`.

    Args:
      index: int [B], or [B, K] for K branches in a row; numbers outside are clipped.
      branches: functions of (images [b, H, W, C], *operands [b, ...]) for any b, that all return
        images of one shape and dtype; with K branches in a row that of the images.
      images: [B, H, W, C].
      operands: arrays or trees of arrays [B, ...]; with K branches in a row [B, K, ...].

    Returns:
      [B, ...], what the branches return.

    Example:
      >>> augment.switch(jnp.array([0, 1]), [augment.invert, augment.equalize], images)
    """
    index = jnp.clip(index, 0, len(branches) - 1)

    def one_by_one(index, images, *operands):
        def apply(image, number, operands):
            operands = jax.tree.map(lambda a: a[None], operands)
            return lax.switch(number, branches, image[None], *operands)[0]

        def step(arguments):
            number, image, *operands = arguments
            if number.ndim == 0:
                return apply(image, number, operands)
            image, _ = lax.scan(
                lambda image, place: (apply(image, *place), None), image, (number, operands)
            )
            return image

        return lax.map(step, (index, images, *operands))

    def select(index, images, *operands):
        if index.ndim == 2:
            for place in range(index.shape[1]):
                now = jax.tree.map(lambda a, place=place: a[:, place], operands)
                images = select(index[:, place], images, *now)
            return images
        result = branches[0](images, *operands)
        for number, branch in enumerate(branches[1:], 1):
            chosen = (index == number).reshape(-1, *(1,) * (result.ndim - 1))
            result = jnp.where(chosen, branch(images, *operands), result)
        return result

    return lax.platform_dependent(index, images, *operands, cpu=one_by_one, default=select)


def compose(*transforms: Transform) -> Transform:
    """One transform after the other, each with a key of its own."""

    def composed(key: jax.Array, images: jax.Array) -> jax.Array:
        keys = image_keys(key, images.shape[0])
        for number, transform in enumerate(transforms):
            images = transform(fold_in(keys, number), images)
        return images

    return composed


def random_apply(transform: Transform, p: float = 0.5) -> Transform:
    """The transform for each image with probability `p`; the others stay as they are.

    The transform must keep the shape of the images.
    """

    def applied(key: jax.Array, images: jax.Array) -> jax.Array:
        keys = image_keys(key, images.shape[0])
        chosen = uniform(fold_in(keys, 0)) < p
        return switch(
            chosen.astype(jnp.int32), [_keep, _turned(transform)], images, fold_in(keys, 1)
        )

    return applied


def random_choice(*transforms: Transform, p: Sequence[float] | None = None) -> Transform:
    """One of the transforms for each image.

    Args:
      transforms: that give images of one shape.
      p: weights of the transforms, whose sum need not be 1; None: all the same.
    """
    weights = jnp.asarray([1.0] * len(transforms) if p is None else p, jnp.float32)

    def chosen(key: jax.Array, images: jax.Array) -> jax.Array:
        keys = image_keys(key, images.shape[0])
        index = jax.vmap(lambda key: jax.random.categorical(key, jnp.log(weights)))(
            fold_in(keys, 0)
        )
        return switch(index, [_turned(t) for t in transforms], images, fold_in(keys, 1))

    return chosen


def random_order(*transforms: Transform) -> Transform:
    """All of the transforms, in an order of its own for each image; they must keep shapes."""

    def ordered(key: jax.Array, images: jax.Array) -> jax.Array:
        keys = image_keys(key, images.shape[0])
        count = len(transforms)
        order = jax.vmap(lambda key: jax.random.permutation(key, count))(fold_in(keys, 0))
        of_place = jnp.stack([fold_in(keys, 1 + place) for place in range(count)], 1)
        return switch(order, [_turned(transform) for transform in transforms], images, of_place)

    return ordered


def _keep(images: jax.Array, keys: jax.Array) -> jax.Array:
    return images


def _turned(transform: Transform) -> Callable[[jax.Array, jax.Array], jax.Array]:
    return lambda images, keys: transform(keys, images)
