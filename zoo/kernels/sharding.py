"""Operations that reshape along the batch, also where the sharding is part of the type.

On a mesh with explicit axes, which `jax.make_mesh` makes by default, JAX asks for the sharding of a
result that it cannot infer. The batch is the only axis that networks leave sharded.
"""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from zoo.kernels import platform


def reshape_batch(x: Any, shape: Sequence[int]) -> Any:
    """`x.reshape(shape)` that splits or merges the batch axis, such as [B * n, ...] -> [B, n, ...].

    The new first axis is sharded as the batch of `x` is. NumPy arrays stay such.
    """
    if not platform.has_explicit_sharding(x):
        return x.reshape(shape)
    rest = x.size // max(1, -math.prod(shape))  # where a size is -1
    sizes = tuple(rest if size == -1 else size for size in shape)
    return jax.lax.reshape(x, sizes, out_sharding=_of_batch(x, len(sizes)))


def broadcast_batch(x: jax.Array, like: jax.Array) -> jax.Array:
    """Broadcasts [1, ...] -> [B, ...] to the batch of `like`, sharded as that is."""
    shape = (like.shape[0], *x.shape[1:])
    if not platform.has_explicit_sharding(like):
        return jnp.broadcast_to(x, shape)
    return jnp.broadcast_to(x, shape, out_sharding=_of_batch(like, len(shape)))


def shard_batch(x: jax.Array, like: jax.Array) -> jax.Array:
    """Reshards x, [B, ...], as the batch of `like` is sharded."""
    if not platform.has_explicit_sharding(like):
        return x
    return jax.sharding.reshard(x, _of_batch(like, x.ndim))


def _of_batch(x: jax.Array, axes: int) -> NamedSharding:
    """The sharding of the batch of `x`, with its mesh: `jax.set_mesh` need not be in effect."""
    sharding = jax.typeof(x).sharding
    return NamedSharding(sharding.mesh, PartitionSpec(sharding.spec[0], *[None] * (axes - 1)))
