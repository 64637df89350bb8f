"""Losses of classifiers: cross entropies by softmax and sigmoid, of views and tokens, and focal."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import optax

from train.losses.targets import as_targets


def cross_entropy(
    logits: jax.Array,
    labels: jax.Array,
    *,
    label_smoothing: float = 0.0,
    reject_class_logit: float | None = None,
    class_weights: Sequence[float] | None = None,
) -> jax.Array:
    """Softmax cross entropy of each example.

    Args:
      logits: [B, K].
      labels: int [B], in [0, K), or targets [B, K].
      label_smoothing: in [0, 1); the share of the target that is spread evenly over all K classes
        (Szegedy et al. 2016, section 7). Targets [B, K] are smoothed too, as by PyTorch.
      reject_class_logit: the constant logit of a class K + 1 that is never the label; None for no
        such class. With logits that are negated distances this is the maximum a posteriori loss of
        LeNet-5 (LeCun et al. 1998, equation 9).
      class_weights: a weight per class; None for equal ones. With labels int [B] the values are
        divided by the mean weight of the batch's labels, so that their mean is PyTorch's.

    Returns:
      float [B].

    Example:
      >>> cross_entropy(jnp.zeros((1, 4)), jnp.array([2]))  # log(4)
      Array([1.3862944], dtype=float32)
    """
    targets = optax.smooth_labels(as_targets(labels, logits), label_smoothing)
    if class_weights is not None:
        weights = jnp.asarray(class_weights, targets.dtype)
        targets = targets * weights[None]
        if labels.ndim < logits.ndim:
            targets = targets / weights[labels].mean()
    if reject_class_logit is not None:
        logits = jnp.pad(logits, ((0, 0), (0, 1)), constant_values=reject_class_logit)
        targets = jnp.pad(targets, ((0, 0), (0, 1)))
    return optax.softmax_cross_entropy(logits, targets)


def binary_cross_entropy(
    logits: jax.Array,
    labels: jax.Array,
    *,
    label_smoothing: float = 0.0,
    threshold: float | None = None,
    sum: bool = False,
    pos_weight: float | Sequence[float] | None = None,
) -> jax.Array:
    """Sigmoid cross entropy of each example, one yes or no per class.

    Source: timm's `BinaryCrossEntropy` (Wightman et al. 2021, ResNet strikes back, section 2).

    Args:
      logits: [B, K].
      labels: int [B], in [0, K), or targets [B, K].
      label_smoothing: in [0, 1), as in `cross_entropy`; targets [B, K] are not smoothed.
      threshold: targets above it become 1 and all others 0, after smoothing; None for none.
      sum: whether the K values of an example are added instead of averaged.
      pos_weight: factor of the term of what is there: one, or one per class; None for 1.

    Returns:
      float [B].
    """
    targets = as_targets(labels, logits)
    if jnp.ndim(labels) < logits.ndim:
        targets = optax.smooth_labels(targets, label_smoothing)
    if threshold is not None:
        targets = (targets > threshold).astype(targets.dtype)
    values = optax.sigmoid_binary_cross_entropy(logits, targets)
    if pos_weight is not None:
        weights = jnp.broadcast_to(jnp.asarray(pos_weight, targets.dtype), logits.shape[-1:])[None]
        values += (weights - 1) * targets * jax.nn.softplus(-logits)
    return values.sum(-1) if sum else values.mean(-1)


def focal(logits: jax.Array, labels: jax.Array, *, gamma: float = 2.0) -> jax.Array:
    """Softmax cross entropy, each class's term times (1 - its probability)^gamma.

    Easy examples count less. Source: Lin et al. 2017, arXiv:1708.02002, equation 4.

    Args:
      logits: [B, K].
      labels: int [B], in [0, K), or targets [B, K].
      gamma: from 0 on; 0 is the cross entropy.

    Returns:
      float [B], as MONAI's `FocalLoss(use_softmax=True)` summed over classes.
    """
    logs = jax.nn.log_softmax(logits)
    weights = (1 - jnp.exp(logs)) ** gamma
    return -(as_targets(labels, logits) * weights * logs).sum(-1)


def focal_sigmoid(
    logits: jax.Array, labels: jax.Array, *, alpha: float | None = 0.25, gamma: float = 2.0
) -> jax.Array:
    """Sigmoid cross entropy, each term times (1 - its probability)^gamma; RetinaNet's loss.

    Args:
      logits: [B, K].
      labels: int [B], in [0, K), or targets [B, K].
      alpha: weight of what is there, in [0, 1], and 1 - alpha of what is not; None, or below 0,
        for equal weights, as in torchvision's `sigmoid_focal_loss`.
      gamma: from 0 on.

    Returns:
      float [B], the mean over the classes.
    """
    alpha = None if alpha is not None and alpha < 0 else alpha
    targets = as_targets(labels, logits)
    return optax.sigmoid_focal_loss(logits, targets, alpha=alpha, gamma=gamma).mean(-1)


def jensen_shannon(
    logits: jax.Array,
    labels: jax.Array,
    *,
    num_splits: int = 3,
    alpha: float = 12.0,
    label_smoothing: float = 0.0,
) -> jax.Array:
    """Cross entropy of clean images, plus the divergence of the predictions of all their views.

    Source: AugMix (Hendrycks et al. 2020, arXiv:1912.02781, section 3), as timm's
    `JsdCrossEntropy`: the mean prediction is clipped to [1e-7, 1].

    Args:
      logits: [num_splits * B, K]: of B clean images, then of a second view of each, and so on.
      labels: int [B], in [0, K), or targets [B, K]; more, of the views, are left out.
      num_splits: number of views of an image.
      alpha: factor of the Jensen-Shannon divergence.
      label_smoothing: as in `cross_entropy`.

    Returns:
      float [B].

    Raises:
      ValueError: the logits are not `num_splits` times as many as the labels, or equal in number.
    """
    count, left_over = divmod(len(logits), num_splits)
    if left_over or len(labels) not in (count, len(logits)):
        raise ValueError(
            f"jsd takes logits of {num_splits} views of each image, and got {len(logits)} logits "
            f"for {len(labels)} labels: it needs images in views, as AugMix makes them."
        )
    clean = cross_entropy(logits[:count], labels[:count], label_smoothing=label_smoothing)
    logs = jax.nn.log_softmax(logits).reshape(num_splits, count, -1)  # [V, B, K]
    mixture = jnp.log(jnp.clip(jnp.exp(logs).mean(0, keepdims=True), 1e-7, 1))
    mixture = jnp.broadcast_to(mixture, logs.shape)
    return clean + alpha * optax.losses.kl_divergence_with_log_targets(mixture, logs).mean(0)


def token_labelling(
    logits: jax.Array,
    labels: jax.Array,
    token_logits: jax.Array,
    token_labels: jax.Array | None = None,
    *,
    dense_weight: float = 1.0,
    class_weight: float = 1.0,
    label_smoothing: float = 0.0,
) -> jax.Array:
    """Cross entropy of an image, plus the mean of those of its tokens (LV-ViT).

    Source: Jiang et al. 2021, arXiv:2104.10858, equation 5, with the weights of the authors' code.

    Args:
      logits: [B, K].
      labels: int [B], in [0, K), or targets [B, K].
      token_logits: [B, h, w, K] or [B, N, K], as LV-ViT sows them.
      token_labels: label maps, int [B, h, w] or targets [B, h, w, K] (or N instead of h, w); None
        to teach each token the label of its image, as the authors' code does without maps.
      dense_weight: factor of the tokens' mean; 0.5 in the paper.
      class_weight: factor of the image's cross entropy.
      label_smoothing: of the image's labels, as in `cross_entropy`.

    Returns:
      float [B].
    """
    of_image = optax.smooth_labels(as_targets(labels, logits), label_smoothing)  # [B, K]
    if token_labels is None:
        between = tuple(range(1, token_logits.ndim - 1))
        targets = jnp.broadcast_to(jnp.expand_dims(of_image, between), token_logits.shape)
    else:
        targets = as_targets(token_labels, token_logits)
    tokens = optax.softmax_cross_entropy(token_logits, targets)
    tokens = tokens.mean(tuple(range(1, tokens.ndim)))
    return class_weight * optax.softmax_cross_entropy(logits, of_image) + dense_weight * tokens


token_labelling.outputs = ("token_logits",)  # type: ignore[attr-defined] # sown by the model
