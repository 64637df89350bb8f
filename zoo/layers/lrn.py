"""Local response normalisation (Krizhevsky et al. 2012, section 3.3)."""

import jax
import jax.numpy as jnp

from zoo.layers.observe import observable


@observable
def local_response_norm(
    x: jax.Array, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> jax.Array:
    """Divides each activation by a power of the energy in `size` neighbouring channels.

    `x / (k + alpha / size * sum of squares) ** beta`, [B, H, W, C] -> [B, H, W, C]. Channels beyond
    the ends count as zero. The defaults and the division of alpha by `size` are those of Caffe and
    PyTorch; the paper has k = 2 and does not divide alpha.
    """
    low = (size - 1) // 2
    squares = jnp.pad(jnp.square(x), ((0, 0), (0, 0), (0, 0), (low, size - 1 - low)))
    channels = x.shape[-1]
    energy = sum(squares[..., i : i + channels] for i in range(size))
    return x * (k + alpha / size * energy) ** -beta
