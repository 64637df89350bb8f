"""DropBlock: dropout of whole squares of a feature map."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from zoo.kernels.sharding import shard_batch


class DropBlock(nn.Module):
    """Drops squares of each channel of each example, [B, H, W, C] -> the same shape.

    Ghiasi et al. 2018, arXiv:1810.12890, Algorithm 1, as the authors' code (tensorflow/tpu,
    models/official/resnet): squares lie wholly within the map, every channel draws its own, and
    what is kept is divided by the share that is kept of the whole batch. Evaluation is the
    identity. In training it draws from the rng stream "dropout".

    Attributes:
      rate: Share of the map to drop, in [0, 1), of which overlaps of squares take a part; may be a
        traced scalar.
      size: Side of the squares in pixels; at most that of the map.
    """

    rate: float | jax.Array
    size: int = 7

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        if not train or (isinstance(self.rate, float | int) and self.rate == 0):
            return x
        height, width = x.shape[1:3]
        size = min(self.size, height, width)
        inside = [jnp.arange(side) - size // 2 for side in (height, width)]
        rows, columns = (
            (at >= 0) & (at <= side - size)
            for at, side in zip(inside, (height, width), strict=True)
        )
        centres = (height - size + 1) * (width - size + 1)
        rate = self.rate * height * width / size**2 / centres
        drawn = jax.random.bernoulli(self.make_rng("dropout"), rate, x.shape)
        drawn = drawn & rows[None, :, None, None] & columns[None, None, :, None]
        dropped = lax.reduce_window(
            shard_batch(drawn, x).astype(x.dtype),
            jnp.zeros((), x.dtype),
            lax.max,
            (1, size, size, 1),
            (1, 1, 1, 1),
            "SAME",
        )
        kept = 1 - dropped
        share = jnp.mean(kept, dtype=jnp.float32)
        scale = 1 / jnp.maximum(share, 1 / x.size)  # nothing kept: 0, not 0 / 0
        return x * kept * scale.astype(x.dtype)
