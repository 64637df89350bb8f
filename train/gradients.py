"""How a step gets its gradient: in parts of the batch one after the other, and by SAM.

Both wrap a function (params, batch_stats, *batch, dropout_key) -> (gradients, batch_stats, metrics)
of mean gradients and metrics that are sums.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from train.freeze import is_frozen, parameter_name

Compute = Callable[..., tuple[Any, Any, Any]]


def accumulated(compute: Compute, parts: int) -> Compute:
    """Returns a function that computes a batch in `parts` equal parts, one after the other.

    Its gradient is that of the whole batch, in the memory of a part. BatchNorm normalizes each part
    by itself, and its running statistics follow the parts in turn. Part i has images i, i + parts,
    ..., so that each device holds a share of all parts.

    Args:
      compute: see above.
      parts: number of parts, which divides the batch; 1 returns `compute`.
    """
    if parts == 1:
        return compute

    def by_parts(params, batch_stats, *batch_and_key):
        *batch, key = batch_and_key

        def split(array) -> jax.Array:
            return jnp.swapaxes(array.reshape(-1, parts, *array.shape[1:]), 0, 1)

        def body(carry, part):
            sums, batch_stats = carry
            index, examples = part
            gradients, batch_stats, metrics = compute(
                params, batch_stats, *examples, jax.random.fold_in(key, index)
            )
            return (jax.tree.map(jnp.add, sums, (gradients, metrics)), batch_stats), None

        examples = jax.tree.map(split, tuple(batch))
        first = jax.tree.map(lambda array: array[0], examples)
        gradients, _, metrics = jax.eval_shape(compute, params, batch_stats, *first, key)
        zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), (gradients, metrics))
        ((gradients, metrics), batch_stats), _ = jax.lax.scan(
            body, (zeros, batch_stats), (jnp.arange(parts), examples)
        )
        return jax.tree.map(lambda x: x / parts, gradients), batch_stats, metrics

    return by_parts


def sharpness_aware(
    compute: Compute, radius: float, adaptive: bool = False, freeze: str = ""
) -> Compute:
    """Returns a function whose gradient is SAM's (Foret et al. 2021), as in davda54/sam.

    The gradient is taken a second time, at the parameters moved up the first gradient by `radius`.
    The second pass has the same images and dropout. Running statistics of BatchNorm and metrics are
    those of the first one, at the parameters themselves.

    Args:
      compute: see above.
      radius: length of the move, over all parameters; 0 returns `compute`.
      adaptive: whether the move is scaled by the squares of the parameters (ASAM).
      freeze: expression for parameters that are not trained, which do not move.
    """
    if not radius:
        return compute

    def twice(params, batch_stats, *batch):
        gradients, new_stats, metrics = compute(params, batch_stats, *batch)
        trained = jax.tree_util.tree_map_with_path(
            lambda path, g: 0 * g if is_frozen(freeze, parameter_name(path)) else g, gradients
        )
        above = jax.tree.map(jnp.add, params, ascent(params, trained, radius, adaptive))
        gradients, _, _ = compute(above, batch_stats, *batch)
        return gradients, new_stats, metrics

    return twice


def ascent(params: Any, gradients: Any, radius: float, adaptive: bool = False) -> Any:
    """Returns the move of `sharpness_aware`, a tree as the parameters."""
    scaled = gradients
    if adaptive:
        scaled = jax.tree.map(lambda p, g: jnp.abs(p) * g, params, gradients)
    factor = radius / (optax.tree.norm(scaled) + 1e-12)
    if adaptive:
        return jax.tree.map(lambda p, g: jnp.square(p) * g * factor, params, gradients)
    return jax.tree.map(lambda g: g * factor, gradients)
