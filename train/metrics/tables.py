"""What an evaluation adds up on the devices: sums over examples, and tables of them."""

from dataclasses import dataclass
from typing import Any, Protocol

import jax
import jax.numpy as jnp

from train import losses
from train.metrics.calibration import calibration_bins
from train.metrics.confusion import confusion_matrix


def log_loss(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Negative logarithm of the label's probability: [B, K], int [B] -> float [B], in nats."""
    return losses.cross_entropy(logits, labels)


def brier(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Squared distance of the probabilities from the one-hot label: [B, K], int [B] -> [B].

    Source: Brier 1950: in [0, 2]. Other programs halve it for two classes.
    """
    return ((jax.nn.softmax(logits) - losses.as_targets(labels, logits)) ** 2).sum(-1)


def top_k(logits: jax.Array, labels: jax.Array, k: int = 5) -> jax.Array:
    """Whether the label is among the k largest logits, see `losses.in_top`: bool [B]."""
    return losses.in_top(logits, labels, k)


class Table(Protocol):
    """Arrays to which batches are added in an evaluation."""

    def empty(self, num_classes: int) -> Any:
        """Returns the arrays of no examples."""
        ...

    def add(self, total: Any, logits: jax.Array, labels: jax.Array, mask: jax.Array) -> Any:
        """Returns the arrays with those examples of a batch whose mask is not 0."""
        ...


@dataclass(frozen=True)
class Confusion:
    """A `Table`: the confusion matrix, int32 [K, K]."""

    def empty(self, num_classes: int) -> jax.Array:
        """See `Table.empty`."""
        return jnp.zeros((num_classes, num_classes), jnp.int32)

    def add(
        self, total: jax.Array, logits: jax.Array, labels: jax.Array, mask: jax.Array
    ) -> jax.Array:
        """See `Table.add`."""
        return total + confusion_matrix(logits, labels, mask)


@dataclass(frozen=True)
class Calibration:
    """A `Table`: sums by bins of confidence, float32 [bins, 3]."""

    bins: int = 15

    def empty(self, num_classes: int) -> jax.Array:
        """See `Table.empty`."""
        return jnp.zeros((self.bins, 3))

    def add(
        self, total: jax.Array, logits: jax.Array, labels: jax.Array, mask: jax.Array
    ) -> jax.Array:
        """See `Table.add`."""
        return total + calibration_bins(logits, labels, mask, bins=self.bins).astype(total.dtype)


@dataclass(frozen=True)
class Scores:
    """A `Table`: all logits, float32 [rows, K], labels, int32 [rows], and which of them count.

    Every device has all of them: 200 MB of ImageNet's 50,000 images.

    Attributes:
      rows: number of examples of the whole evaluation, with the padding of its batches.
    """

    rows: int

    def empty(self, num_classes: int) -> dict[str, jax.Array]:
        """See `Table.empty`."""
        return {
            "logits": jnp.zeros((self.rows, num_classes)),
            "labels": jnp.zeros((self.rows,), jnp.int32),
            "counts": jnp.zeros((self.rows,), bool),
            "next": jnp.zeros((), jnp.int32),
        }

    def add(self, total: dict, logits: jax.Array, labels: jax.Array, mask: jax.Array) -> dict:
        """See `Table.add`."""
        start = total["next"]
        corner = start, jnp.zeros_like(start)
        update = jax.lax.dynamic_update_slice
        return {
            "logits": update(total["logits"], logits.astype(total["logits"].dtype), corner),
            "labels": update(total["labels"], labels.astype(jnp.int32), (start,)),
            "counts": update(total["counts"], mask != 0, (start,)),
            "next": start + len(labels),
        }
