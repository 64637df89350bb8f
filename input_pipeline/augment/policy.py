"""What all policies are made of: operations with a strength that is drawn for each image.

A policy is a function (key, uint8 images [B, H, W, C]) -> the same. It has two parts: `draw` says
what one image gets, as a function of that image's key alone, and `apply` does it to a batch.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from input_pipeline.augment.combine import image_keys
from input_pipeline.augment.draws import whole_number
from input_pipeline.augment.operations import apply_ops

INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "random")
Levels = Callable[[jax.Array], jax.Array]  # from uniform draws from [0, 1) to levels
_GEOMETRIC = ("shear_x", "shear_y", "translate_x", "translate_y", "rotate")
_IDENTITY = "identity"


class Setting(NamedTuple):
    """What the argument of an operation depends on; all of them scalars.

    Attributes:
      level: strength on the scale of the policy.
      sign: 1 or -1, each with probability 1/2.
      uniform: uniform in [0, 1), for an operation that draws more than a sign.
      height, width: size of the image in pixels.
    """

    level: ArrayLike
    sign: ArrayLike = 1.0
    uniform: ArrayLike = 0.0
    height: int = 224
    width: int = 224


@dataclass(frozen=True)
class Operation:
    """An operation of a policy.

    Attributes:
      name: in the policy's own terms, such as "ShearX".
      op: one of `operations.OPS`, or a function (images, arguments [B]) -> images.
      argument: from a `Setting` to the argument of `op`.
    """

    name: str
    op: str | Callable
    argument: Callable[[Setting], ArrayLike]


@dataclass(frozen=True)
class Scale:
    """An argument that changes linearly with a level from 0 to 10.

    Attributes:
      start: argument at level 0.
      span: change from level 0 to 10.
      signed: whether the change has a random sign.
      whole: whether the change is truncated to an integer.
      low, high: bounds of the argument.
    """

    start: float = 0.0
    span: float = 0.0
    signed: bool = False
    whole: bool = False
    low: float = -jnp.inf
    high: float = jnp.inf

    def __call__(self, level: ArrayLike, sign: ArrayLike = 1.0) -> jax.Array:
        """Returns the argument at a level; `sign` is 1 or -1."""
        change = jnp.asarray(level, jnp.float32) / 10 * self.span
        change = jnp.trunc(change) if self.whole else change
        return jnp.clip(
            self.start + (sign * change if self.signed else change), self.low, self.high
        )


class Choice(NamedTuple):
    """The operations of one image, one after the other.

    Attributes:
      index: int [L], positions in the policy's space.
      level: float [L], their levels.
      applied: bool [L], whether they are applied.
    """

    index: jax.Array
    level: jax.Array
    applied: jax.Array


class Draws(NamedTuple):
    """What images get: index int32 [..., L] among `Policy.ops`, and argument float32 [..., L]."""

    index: jax.Array
    argument: jax.Array


@dataclass(frozen=True)
class Policy:
    """Operations that are drawn for each image: (key, images) -> images.

    Attributes:
      space: the operations.
      choose: from a key to the `Choice` of one image.
      fill: colour outside of the image after geometric operations: None for black, or one value per
        channel in [0, 255].
      interpolation: of geometric operations: "nearest", "bilinear", "bicubic", or "random" for one
        of the last two at each operation.
      backend: convention of the operations, "tensor" (torchvision's) or "pillow".

    Example:
      >>> policy = rand_augment(num_ops=2, magnitude=9)
      >>> images = policy(jax.random.key(0), jnp.zeros((4, 32, 32, 3), jnp.uint8))
    """

    space: tuple[Operation, ...]
    choose: Callable[[jax.Array], Choice]
    fill: float | tuple[float, ...] | None = None
    interpolation: str = "nearest"
    backend: str = "tensor"

    def __post_init__(self) -> None:
        if self.interpolation not in INTERPOLATIONS:
            raise ValueError(
                f"interpolation={self.interpolation!r}: choose one of {', '.join(INTERPOLATIONS)}"
            )

    def __call__(self, key: jax.Array, images: jax.Array) -> jax.Array:
        """Draws and applies; `key` is one key, or one for each image [B]."""
        keys = image_keys(key, images.shape[0])
        height, width = images.shape[1:3]
        return self.apply(images, jax.vmap(lambda k: self.draw(k, height, width))(keys))

    @property
    def names(self) -> tuple[str, ...]:
        """The policy's own names of its operations, in the order of the space."""
        return tuple(operation.name for operation in self.space)

    @property
    def ops(self) -> tuple[str | Callable, ...]:
        """What `Draws.index` counts: the space, with random interpolation twice; then identity."""
        plain = tuple(operation.op for operation in self.space)
        if self.interpolation != "random":
            return (*plain, _IDENTITY)
        both = [
            f"{op}:{interpolation}" if op in _GEOMETRIC else op
            for interpolation in ("bilinear", "bicubic")
            for op in plain
        ]
        return (*both, _IDENTITY)

    def draw(self, key: jax.Array, height: int, width: int) -> Draws:
        """Draws what one image of a size gets."""
        choice_key, own_key = jax.random.split(key)
        choice = self.choose(choice_key)
        length = choice.index.shape
        uniform, of_sign, of_interpolation = jax.random.uniform(own_key, (3, *length))
        sign = jnp.where(of_sign < 0.5, 1.0, -1.0)
        setting = Setting(choice.level, sign, uniform, height, width)
        arguments = [
            jnp.broadcast_to(jnp.asarray(op.argument(setting), jnp.float32), length)
            for op in self.space
        ]
        argument = jnp.take_along_axis(jnp.stack(arguments), choice.index[None], axis=0)[0]
        index = choice.index
        if self.interpolation == "random":
            index += len(self.space) * (of_interpolation < 0.5)
        return Draws(jnp.where(choice.applied, index, len(self.ops) - 1), argument)

    def apply(self, images: jax.Array, draws: Draws) -> jax.Array:
        """Applies what was drawn, index and argument [B, L] or [B], to images [B, H, W, C]."""
        return apply_ops(
            images,
            *draws,
            ops=self.ops,
            fill=self.fill,
            interpolation="bilinear" if self.interpolation == "random" else self.interpolation,
            backend=self.backend,
        )


def of_sub_policies(sub_policies, names: tuple[str, ...]) -> Callable[[jax.Array], Choice]:
    """Returns the `choose` of AutoAugment: one of the sub-policies, each of its operations with its
    own probability and level.

    Args:
      sub_policies: sequences of (operation, probability, level or None), all of one length.
      names: the operations of the space.
    """
    index = np.asarray([[names.index(name) for name, _, _ in rows] for rows in sub_policies])
    probability = np.asarray([[p for _, p, _ in rows] for rows in sub_policies])
    level = np.asarray([[float(level or 0) for _, _, level in rows] for rows in sub_policies])

    def choose(key: jax.Array) -> Choice:
        uniform = jax.random.uniform(key, (1 + index.shape[1],))
        row = whole_number(uniform[0], len(sub_policies))
        own_index, own_level, own_probability = (
            jnp.asarray(table)[row] for table in (index, level, probability)
        )
        return Choice(own_index, own_level, uniform[1:] < own_probability)

    return choose


def of_random_operations(
    count: int,
    length: int,
    level: Levels,
    probability: float = 1.0,
    weights: tuple[float, ...] | None = None,
) -> Callable[[jax.Array], Choice]:
    """Returns the `choose` of RandAugment: each operation drawn anew.

    Args:
      count: number of operations in the space.
      length: number of operations of an image.
      level: from uniform draws to levels.
      probability: of each drawn operation to be applied.
      weights: of the operations, which are then drawn without replacement; None for equal ones,
        with replacement.
    """

    def choose(key: jax.Array) -> Choice:
        of_index, of_level, of_applied = jax.random.uniform(key, (3, length))
        index = whole_number(of_index, count)
        if weights is not None:  # the largest of log(weight) + Gumbel noise are such draws
            noise = jax.random.gumbel(jax.random.fold_in(key, 1), (count,))
            index = jax.lax.top_k(jnp.log(jnp.asarray(weights)) + noise, length)[1]
        return Choice(index, level(of_level), of_applied < probability)

    return choose


def constant(level: float) -> Levels:
    """Returns the levels that are all `level`."""
    return lambda uniform: jnp.full_like(uniform, level)
