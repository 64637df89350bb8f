"""Stochastic depth: a residual branch dropped as a whole, at rates that depend on its block.

The rate of block i of n, from 0, by the rule (r is the network's `drop_path`):

| rule               | rate of block i | used by                                                 |
| ------------------ | --------------- | ------------------------------------------------------- |
| "linear"           | r i / (n - 1)   | timm: the vision transformers, ConvNeXt, RSB's ResNets  |
| "stochastic_depth" | r (i + 1) / n   | Huang et al. 2016, arXiv:1603.09382: the ResNets        |
| "efficientnet"     | r i / n         | the EfficientNets and MobileNets; r is never reached    |
| "constant"         | r               | CaiT                                                    |
| "mini_batch"       | r (i + 1) / n   | Huang's own code: one decision for the whole batch      |

CvT has rates of its own for each stage. NASNet's grow with depth, "stochastic_depth", and with
training too: the network is told the progress of it, see `zoo.models.nasnet`.
"""

import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import errors
from flax import linen as nn

from zoo.kernels.sharding import shard_batch

RULES = ("linear", "stochastic_depth", "efficientnet", "constant", "mini_batch")


class DropPath(nn.Module):
    """Drops the branch of each example with probability `rate`, [B, ...] -> the same shape.

    Kept branches are divided by the probability of keeping them, so that the expectation stays and
    evaluation is the identity. Examples are independent, and so are all `DropPath`s of a network.

    With `mini_batch` one decision holds for the whole batch (with BatchNorm per device: for that of
    the device), kept branches stay as they are, and evaluation multiplies every branch by the
    probability of keeping it, as Huang et al. 2016 do. They also skip the computation of a dropped
    branch; here it is computed, and its BatchNorms' statistics are updated.

    In training it draws from the rng stream "dropout", as `nn.Dropout` does; there is no stream
    "drop_path". At the rate 0 it needs no random numbers:

        model = zoo.create("convnext_tiny", drop_path=0.1)
        model.apply(variables, images, train=True, rngs={"dropout": jax.random.key(0)})

    Attributes:
      rate: Drop rate in [0, 1); may be a traced scalar, as in a scan over blocks.
      mini_batch: Whether one decision holds for the whole batch.
    """

    rate: float | jax.Array
    mini_batch: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        if isinstance(self.rate, float | int) and self.rate == 0:
            return x
        keep = 1 - self.rate
        if not train:
            return x * jnp.asarray(keep, x.dtype) if self.mini_batch else x
        try:
            key = self.make_rng("dropout")
        except errors.InvalidRngError as error:
            raise ValueError(
                f'Drop path ({"/".join(self.path)}) draws from the rng stream "dropout", which is '
                'missing. Call apply(..., train=True, rngs={"dropout": key}), or create the model '
                "with drop_path=0."
            ) from error
        if self.mini_batch:
            return jnp.where(jax.random.bernoulli(key, keep, (1,) * x.ndim), x, 0)
        mask = jax.random.bernoulli(key, keep, (x.shape[0],) + (1,) * (x.ndim - 1))
        mask = shard_batch(mask, x)
        return jnp.where(mask, x / jnp.asarray(keep, x.dtype), 0)


def drop_path_rates(last: float, num_blocks: int, first: float = 0.0) -> list[float]:
    """Drop rates that grow linearly from `first` in the first block to `last` in the last.

    `drop_path_rates(0.2, 3)` is `[0.0, 0.1, 0.2]`. One block has the rate `first`.
    """
    steps = max(1, num_blocks - 1)
    return [first + (last - first) * block / steps for block in range(num_blocks)]


def rule_drop_path_rates(rule: str, rate: float, depths: Sequence[int]) -> list[list[float]]:
    """The rates of all blocks, stage by stage, by one of the `RULES` above.

    `rule_drop_path_rates("stochastic_depth", 0.3, (2, 1))` is `[[0.1, 0.2], [0.3]]`.

    Raises:
      ValueError: There is no such rule.
    """
    if rule not in RULES:
        raise ValueError(f"drop_path_rule is one of {', '.join(RULES)}, not {rule!r}.")
    share = rate / max(1, sum(depths))
    if rule == "efficientnet":
        return stage_drop_path_rates(rate * (1 - 1 / max(1, sum(depths))), depths)
    firsts = {"linear": 0.0, "constant": rate}
    return stage_drop_path_rates(rate, depths, firsts.get(rule, share))


def stage_drop_path_rates(
    last: float, depths: Sequence[int], first: float = 0.0
) -> list[list[float]]:
    """The rates of `drop_path_rates` over all blocks, stage by stage.

    `stage_drop_path_rates(0.2, (2, 1))` is `[[0.0, 0.1], [0.2]]`.
    """
    rates = iter(drop_path_rates(last, sum(depths), first))
    return [list(itertools.islice(rates, depth)) for depth in depths]
