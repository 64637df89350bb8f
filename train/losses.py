"""Losses and accuracies, one value per example."""

import jax
import jax.numpy as jnp
import optax


def cross_entropy(
    logits: jax.Array,
    labels: jax.Array,
    *,
    label_smoothing: float = 0.0,
    reject_class_logit: float | None = None,
) -> jax.Array:
    """Softmax cross entropy of each example.

    Args:
      logits: [B, K].
      labels: int [B], in [0, K).
      label_smoothing: in [0, 1); the share of the target that is spread evenly over all K classes
        (Szegedy et al. 2016, section 7).
      reject_class_logit: the constant logit of a class K + 1 that is never the label; None for no
        such class. With logits that are negated distances this is the maximum a posteriori loss of
        LeNet-5 (LeCun et al. 1998, equation 9).

    Returns:
      float [B].

    Example:
      >>> cross_entropy(jnp.zeros((1, 4)), jnp.array([2]))  # log(4)
      Array([1.3862944], dtype=float32)
    """
    targets = optax.smooth_labels(jax.nn.one_hot(labels, logits.shape[-1]), label_smoothing)
    if reject_class_logit is not None:
        logits = jnp.pad(logits, ((0, 0), (0, 1)), constant_values=reject_class_logit)
        targets = jnp.pad(targets, ((0, 0), (0, 1)))
    return optax.softmax_cross_entropy(logits, targets)


LOSSES = {"cross_entropy": cross_entropy}  # by the names of loss.name


def in_top(logits: jax.Array, labels: jax.Array, k: int) -> jax.Array:
    """Whether the label is among the k largest logits: [B, K], int [B] -> bool [B].

    Of equal logits, the one of the smaller class counts as larger, as in argmax.
    """
    own = jnp.take_along_axis(logits, labels[:, None], axis=1)  # [B, 1]
    classes = jnp.arange(logits.shape[1])[None]
    ahead = (logits > own) | ((logits == own) & (classes < labels[:, None]))
    return ahead.sum(axis=1) < k
