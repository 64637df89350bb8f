"""What a picture is made for: objectives of feature visualisation, which can be added and scaled.

An objective is one number for each image, the higher the better. Names of outputs are those of
`zoo.features`. Sources: Olah et al. 2017, Feature Visualization, Distill; Simonyan et al. 2014,
arXiv:1312.6034 (logits); Mahendran and Vedaldi 2015, arXiv:1412.0035 (inversion).

Example:
  >>> objective = objectives.channel("stage3", 7) - 0.1 * objectives.logit(3)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp

Outputs = Mapping[str, jax.Array]


@dataclass(frozen=True)
class Objective:
    """A function of what a network computes.

    Attributes:
      at: Names of the outputs that it reads.
      of: (logits [B, K], {name: output}) -> [B].
    """

    at: tuple[str, ...]
    of: Callable[[jax.Array, Outputs], jax.Array]

    def __add__(self, other: Objective) -> Objective:
        at = tuple(dict.fromkeys((*self.at, *other.at)))
        return Objective(
            at, lambda logits, outputs: self.of(logits, outputs) + other.of(logits, outputs)
        )

    def __mul__(self, factor: float) -> Objective:
        return Objective(self.at, lambda logits, outputs: factor * self.of(logits, outputs))

    __rmul__ = __mul__

    def __neg__(self) -> Objective:
        return -1 * self

    def __sub__(self, other: Objective) -> Objective:
        return self + -other


def neuron(at: str, channel: int, position: tuple[int, int] | None = None) -> Objective:
    """One unit: a channel at a position (row, column), by default h // 2, w // 2."""

    def of(logits: jax.Array, outputs: Outputs) -> jax.Array:
        x = outputs[at]
        if x.ndim == 2:  # of an embedding
            return x[:, channel]
        row, column = position or (x.shape[1] // 2, x.shape[2] // 2)
        return x[:, row, column, channel]

    return Objective((at,), of)


def channel(at: str, channel: int) -> Objective:
    """The mean of a channel over all positions."""
    return Objective((at,), lambda logits, outputs: _means(outputs[at])[:, channel])


def deep_dream(at: str) -> Objective:
    """The mean square of a whole output: more of whatever is there."""
    return Objective((at,), lambda logits, outputs: (_flat(outputs[at]) ** 2).mean(1))


def direction(at: str, vector: jax.Array, power: float = 0.0) -> Objective:
    """The mean over positions of the product with a vector [C], times its cosine^`power`.

    A power above 0 asks for the direction more than for strength; 2 is common. Activation atlases
    (Carter et al. 2019) are made this way.
    """
    vector = jnp.asarray(vector)

    def of(logits: jax.Array, outputs: Outputs) -> jax.Array:
        x = outputs[at].reshape(outputs[at].shape[0], -1, vector.size)  # [B, N, C]
        product = x @ vector
        if not power:
            return product.mean(1)
        lengths = jnp.linalg.norm(x, axis=-1) * jnp.linalg.norm(vector)
        cosine = product / jnp.maximum(lengths, 1e-6)
        return (product * jnp.maximum(cosine, 0.1) ** power).mean(1)

    return Objective((at,), of)


def logit(target: int) -> Objective:
    """The logit of a class, before the softmax."""
    return Objective((), lambda logits, outputs: logits[:, target])


def probability(target: int, temperature: float = 1.0) -> Objective:
    """The probability of a class, softmax(logits / temperature).

    It can also grow by making other classes less likely, so that pictures are weaker than those of
    logits.
    """
    return Objective((), lambda logits, outputs: jax.nn.softmax(logits / temperature)[:, target])


def diversity(at: str) -> Objective:
    """How different the images of a batch are: minus the mean cosine of their Gram matrices.

    Add it with a small factor to get several pictures of one unit that show different things.
    """

    def of(logits: jax.Array, outputs: Outputs) -> jax.Array:
        x = outputs[at].reshape(outputs[at].shape[0], -1, outputs[at].shape[-1])  # [B, N, C]
        gram = jnp.einsum("bnc,bnd->bcd", x, x).reshape(x.shape[0], -1)
        gram = gram / jnp.maximum(jnp.linalg.norm(gram, axis=1, keepdims=True), 1e-6)
        others = (gram @ gram.T) * (1 - jnp.eye(x.shape[0]))
        return -others.sum(1) / max(1, x.shape[0] - 1)

    return Objective((at,), of)


def inversion(at: str, output: jax.Array) -> Objective:
    """Minus the squared distance to an output [h, w, C] of another image, over its square.

    What it ends with shows what the network has kept of that image.
    """
    wanted = jnp.asarray(output)[None]

    def of(logits: jax.Array, outputs: Outputs) -> jax.Array:
        return -(_flat(outputs[at] - wanted) ** 2).sum(1) / (wanted**2).sum()

    return Objective((at,), of)


def each(objectives: Sequence[Objective]) -> Objective:
    """One objective for each picture of a batch, in their order: different units at once.

    Where a transformation makes several images of a picture, they lie beside each other.
    """
    at = tuple(dict.fromkeys(name for objective in objectives for name in objective.at))

    def of(logits: jax.Array, outputs: Outputs) -> jax.Array:
        values = jnp.stack([objective.of(logits, outputs) for objective in objectives])
        images = jnp.arange(values.shape[1])
        return values[images * len(objectives) // len(images), images]

    return Objective(at, of)


def _flat(x: jax.Array) -> jax.Array:
    return x.reshape(x.shape[0], -1)


def _means(x: jax.Array) -> jax.Array:
    """Means over all positions: [B, ..., C] -> [B, C]."""
    return x.mean(tuple(range(1, x.ndim - 1)))
