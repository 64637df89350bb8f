"""Losses and accuracies, one value an example."""

import jax
import jax.numpy as jnp
import optax


def cross_entropy(
    logits: jax.Array,
    labels: jax.Array,
    *,
    label_smoothing: float = 0.0,
    rubbish_logit: float | None = None,
) -> jax.Array:
    """Softmax cross entropy: logits [B, K], labels int [B] -> [B].

    Args:
      label_smoothing: share of the target that is spread evenly over all K classes.
      rubbish_logit: the constant logit of a further class that is never right. With logits that are
        minus a distance this is the maximum a posteriori loss of LeNet-5 (LeCun 1998, eq. 9).
    """
    targets = optax.smooth_labels(jax.nn.one_hot(labels, logits.shape[-1]), label_smoothing)
    if rubbish_logit is not None:
        logits = jnp.pad(logits, ((0, 0), (0, 1)), constant_values=rubbish_logit)
        targets = jnp.pad(targets, ((0, 0), (0, 1)))
    return optax.softmax_cross_entropy(logits, targets)


def in_top(logits: jax.Array, labels: jax.Array, k: int) -> jax.Array:
    """Whether the label is among the k largest logits: [B, K], [B] -> bool [B].

    Of equal logits the one of the smaller class counts as larger, as in argmax.
    """
    own = jnp.take_along_axis(logits, labels[:, None], axis=1)  # [B, 1]
    classes = jnp.arange(logits.shape[1])[None]
    ahead = (logits > own) | ((logits == own) & (classes < labels[:, None]))
    return ahead.sum(axis=1) < k
