"""How well confidence says how often a network is right."""

import jax
import jax.numpy as jnp
import numpy as np


def calibration_bins(
    logits: jax.Array, labels: jax.Array, mask: jax.Array | None = None, *, bins: int = 15
) -> jax.Array:
    """Sums over the examples in each bin of confidence; those of batches add up.

    Args:
      logits: [B, K].
      labels: int [B], in [0, K).
      mask: bool [B] or numbers; 0 where an example does not count. None: all count.
      bins: number of equal bins (lo, hi] of the largest probability.

    Returns:
      float [bins, 3]: number of examples, of those that are right, sum of confidences.
    """
    confidence = jnp.exp(jax.nn.log_softmax(logits).max(-1))
    counts = jnp.ones_like(confidence) if mask is None else (mask != 0).astype(confidence.dtype)
    right = (logits.argmax(-1) == labels).astype(confidence.dtype)
    index = jnp.clip(jnp.ceil(confidence * bins).astype(jnp.int32) - 1, 0, bins - 1)
    values = jnp.stack([jnp.ones_like(right), right, confidence], axis=-1) * counts[:, None]
    return jnp.zeros((bins, 3), confidence.dtype).at[index].add(values)


def calibration_error(bins: np.ndarray) -> float:
    """Expected calibration error: Σ of bins' shares times |accuracy - confidence|.

    Source: Guo et al. 2017, arXiv:1706.04599, equation 3.

    Args:
      bins: the sums of `calibration_bins`, [bins, 3].

    Returns:
      A number in [0, 1]; nan without examples.
    """
    count, right, confidence = np.asarray(bins, np.float64).T
    return float(np.abs(right - confidence).sum() / count.sum()) if count.sum() else float("nan")
