"""Stochastic depth (Huang et al. 2016, arXiv:1603.09382): a residual branch dropped as a whole."""

import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import errors
from flax import linen as nn

from zoo.kernels.sharding import shard_batch


class DropPath(nn.Module):
    """Drops the branch of each example with probability `rate`, [B, ...] -> the same shape.

    Kept branches are divided by the probability of keeping them, so that the expectation stays and
    evaluation is the identity. Examples are independent, and so are all `DropPath`s of a network.

    In training it draws from the rng stream "dropout", as `nn.Dropout` does; there is no stream
    "drop_path". At the rate 0 it needs no random numbers:

        model = zoo.create("convnext_tiny", drop_path=0.1)
        model.apply(variables, images, train=True, rngs={"dropout": jax.random.key(0)})

    Attributes:
      rate: Drop rate in [0, 1); may be a traced scalar, as in a scan over blocks.
    """

    rate: float | jax.Array

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        if not train or (isinstance(self.rate, float | int) and self.rate == 0):
            return x
        try:
            key = self.make_rng("dropout")
        except errors.InvalidRngError as error:
            raise ValueError(
                f'Drop path ({"/".join(self.path)}) draws from the rng stream "dropout", which is '
                'missing. Call apply(..., train=True, rngs={"dropout": key}), or create the model '
                "with drop_path=0."
            ) from error
        keep = 1 - self.rate
        mask = jax.random.bernoulli(key, keep, (x.shape[0],) + (1,) * (x.ndim - 1))
        mask = shard_batch(mask, x)
        return jnp.where(mask, x / jnp.asarray(keep, x.dtype), 0)


def drop_path_rates(last: float, num_blocks: int, first: float = 0.0) -> list[float]:
    """Drop rates that grow linearly from `first` in the first block to `last` in the last.

    `drop_path_rates(0.2, 3)` is `[0.0, 0.1, 0.2]`. One block has the rate `first`.
    """
    steps = max(1, num_blocks - 1)
    return [first + (last - first) * block / steps for block in range(num_blocks)]


def stage_drop_path_rates(
    last: float, depths: Sequence[int], first: float = 0.0
) -> list[list[float]]:
    """The rates of `drop_path_rates` over all blocks, stage by stage.

    `stage_drop_path_rates(0.2, (2, 1))` is `[[0.0, 0.1], [0.2]]`.
    """
    rates = iter(drop_path_rates(last, sum(depths), first))
    return [list(itertools.islice(rates, depth)) for depth in depths]
