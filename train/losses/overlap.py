"""Losses of the overlap of predicted and true sets: Dice, Tversky, Lovász-softmax.

They take all examples (and pixels) of a batch as one set, so that their value is one of the batch.
With p the softmax of the logits and y the targets, each class has the counts
tp = Σ p·y, fp = Σ p·(1 - y) and fn = Σ (1 - p)·y.
"""

import jax
import jax.numpy as jnp

from train.losses.targets import as_labels, as_targets, of_batch

Smooth = float | tuple[float, float]


@of_batch
def dice(
    logits: jax.Array,
    labels: jax.Array,
    *,
    smooth: Smooth = 0.0,
    absent: str = "zero",
    squared: bool = False,
    eps: float = 1e-7,
    mask: jax.Array | None = None,
) -> jax.Array:
    """Soft Dice loss of a batch: the mean over classes of 1 - tp / (tp + fp / 2 + fn / 2).

    Source: Milletari et al. 2016, arXiv:1606.04797. With a `smooth` it is
    segmentation-models-pytorch's, and with `absent="count"` and half of MONAI's smoothings MONAI's.

    Args:
      logits: [..., K].
      labels: int [...], in [0, K), or targets [..., K].
      smooth: what is added to numerator and denominator: one number or two.
      absent: whether the loss of a class without labels is "zero", or does "count".
      squared: whether the denominator has squares, (Σ p² + Σ y²) / 2, as in the source.
      eps: the least that a denominator is.
      mask: bool [...]; where it is False nothing counts. None: all counts.

    Returns:
      float [].

    Raises:
      ValueError: `absent` is neither.
    """
    p, y = _flat(logits, labels, mask)
    return _mean(1 - _dice_score(p, y, smooth, squared, eps), y, absent)


def dice_per_example(
    logits: jax.Array, labels: jax.Array, *, smooth: Smooth = 1e-5, squared: bool = False
) -> jax.Array:
    """Soft Dice loss of each example by itself, the mean over all K classes.

    As `dice` with `absent="count"`; MONAI's with `batch=False` and half of its smoothing.

    Returns:
      float [B].
    """
    p, y = jax.nn.softmax(logits), as_targets(labels, logits)
    shape = len(logits), -1, logits.shape[-1]
    score = _dice_score(p.reshape(shape), y.reshape(shape), smooth, squared)
    return (1 - score).mean(-1)


@of_batch
def tversky(
    logits: jax.Array,
    labels: jax.Array,
    *,
    alpha: float = 0.5,
    beta: float = 0.5,
    smooth: Smooth = 0.0,
    absent: str = "zero",
    eps: float = 1e-7,
    mask: jax.Array | None = None,
) -> jax.Array:
    """Soft Tversky loss of a batch: the mean over classes of 1 - tp / (tp + alpha·fp + beta·fn).

    Source: Salehi et al. 2017, arXiv:1706.05721. alpha = beta = 0.5 is `dice`, 1 the soft Jaccard
    loss.

    Args:
      logits, labels, smooth, absent, eps, mask: as in `dice`.
      alpha: weight of false positives.
      beta: weight of false negatives.

    Returns:
      float [].
    """
    p, y = _flat(logits, labels, mask)
    tp = (p * y).sum(0)
    fp, fn = p.sum(0) - tp, y.sum(0) - tp
    return _mean(1 - _ratio(tp, tp + alpha * fp + beta * fn, smooth, eps), y, absent)


@of_batch
def lovasz_softmax(
    logits: jax.Array,
    labels: jax.Array,
    *,
    classes: str = "present",
    mask: jax.Array | None = None,
) -> jax.Array:
    """The Lovász extension of the Jaccard loss, of a batch.

    Source: Berman et al. 2018, arXiv:1705.08790, Algorithm 1.

    Args:
      logits: [..., K].
      labels: int [...], in [0, K); of targets [..., K] the largest.
      classes: the mean is over those "present" among the labels, or over "all".
      mask: bool [...]; where it is False nothing counts. None: all counts.

    Returns:
      float [].

    Raises:
      ValueError: `classes` is neither.
    """
    if classes not in ("present", "all"):
        raise ValueError(f'classes={classes!r} is not known: choose "present" or "all".')
    p, y = _flat(logits, as_labels(labels, logits), mask)
    errors = jnp.abs(y - p)  # 0 where masked, so that these are last and count nothing
    order = jnp.argsort(-errors, axis=0)
    errors, y = (jnp.take_along_axis(x, order, axis=0) for x in (errors, y))
    total = y.sum(0, keepdims=True)
    jaccard = 1 - (total - y.cumsum(0)) / (total + (1 - y).cumsum(0))
    steps = jnp.diff(jaccard, axis=0, prepend=jnp.zeros_like(total))
    of_class = (errors * steps).sum(0)  # [K]
    counted = total[0] > 0 if classes == "present" else jnp.ones_like(of_class, bool)
    return jnp.where(counted, of_class, 0).sum() / jnp.maximum(counted.sum(), 1)


def _flat(
    logits: jax.Array, labels: jax.Array, mask: jax.Array | None
) -> tuple[jax.Array, jax.Array]:
    """Probabilities and targets [N, K], both 0 where the mask is False."""
    classes = logits.shape[-1]
    p = jax.nn.softmax(logits).reshape(-1, classes)
    y = as_targets(labels, logits).astype(p.dtype).reshape(-1, classes)
    if mask is None:
        return p, y
    mask = jnp.reshape(mask, (-1, 1)).astype(bool)
    return jnp.where(mask, p, 0), jnp.where(mask, y, 0)


def _dice_score(
    p: jax.Array, y: jax.Array, smooth: Smooth, squared: bool, eps: float = 1e-7
) -> jax.Array:
    """tp / (tp + fp / 2 + fn / 2) over the axis before the last one, [..., N, K] -> [..., K]."""
    power = 2 if squared else 1
    denominator = ((p**power).sum(-2) + (y**power).sum(-2)) / 2
    return _ratio((p * y).sum(-2), denominator, smooth, eps)


def _ratio(numerator: jax.Array, denominator: jax.Array, smooth: Smooth, eps: float) -> jax.Array:
    above, below = (smooth, smooth) if isinstance(smooth, (int, float)) else smooth
    return (numerator + above) / jnp.maximum(denominator + below, eps)


def _mean(losses: jax.Array, targets: jax.Array, absent: str) -> jax.Array:
    if absent not in ("zero", "count"):
        raise ValueError(f'absent={absent!r} is not known: choose "zero" or "count".')
    if absent == "zero":
        losses = jnp.where(targets.sum(0) > 0, losses, 0)
    return losses.mean()
