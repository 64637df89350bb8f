"""Feature visualisation: pictures that make a unit, a channel or a class as strong as can be.

Reproducible from a key, any number of pictures at once, in one compiled loop. See
`zoo.look.objectives` for what can be asked for, `zoo.look.fourier` for how pictures are made up,
and `zoo.look.robustness` for the transformations that keep them free of noise.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from zoo.look.objectives import Objective
from zoo.look.program import Program

Transform = Callable[[jax.Array, jax.Array], jax.Array]


class Image(Protocol):
    """Pictures by parameters: `zoo.look.fourier.FourierImage` or `MacoImage`."""

    def init(self, key: jax.Array, batch: int) -> jax.Array:
        """Returns random parameters of so many pictures."""
        ...

    def render(self, parameters: jax.Array, /) -> jax.Array:
        """Returns the pictures of parameters, [B, H, W, C] in [0, 1]."""
        ...


class Visualised(NamedTuple):
    """Pictures, and how they came about.

    Attributes:
      images: Pictures [B, H, W, C] in [0, 1].
      values: The objective before each step, as that step saw it, and of the finished pictures,
        [steps + 1, B].
      importance: Sum over the steps and channels of the absolute gradient of each pixel, [B, H, W]:
        MACO's transparency, which is low where the network did not care.
    """

    images: jax.Array
    values: jax.Array
    importance: jax.Array


def visualise(
    model: nn.Module,
    variables: Any,
    objective: Objective,
    image: Image,
    start: jax.Array,
    *,
    normalise: Callable[[jax.Array], jax.Array],
    key: jax.Array | None = None,
    transform: Transform | None = None,
    steps: int = 256,
    learning_rate: float = 0.05,
    redirected: int = 16,
    progress: Callable[[int], object] | None = None,
) -> Visualised:
    """Climbs an objective by Adam from `start`.

    Example:
      >>> image = fourier.FourierImage(128, 128)
      >>> pictures = visualise(
      ...     model, variables, objectives.channel("stage4", 7), image,
      ...     image.init(jax.random.key(0), batch=4), normalise=preprocessing.normalise,
      ...     key=jax.random.key(1), transform=robustness.standard,
      ... )

    Args:
      model: Unbound network, as in evaluation.
      variables: Its variables.
      objective: What is climbed, for each picture by itself.
      image: How pictures are made up.
      start: Its parameters at the start, `image.init(key, batch)`.
      normalise: From images [B, H, W, C] in [0, 1] to the network's input.
      key: Determines the transformations; needed where there are any.
      transform: (key, images) -> images, drawn anew for each step; None for none.
      steps: Number of steps.
      learning_rate: Of Adam with 0.9, 0.999 and 1e-8.
      redirected: In so many first steps a ReLU that nothing passes of an image lets pass what would
        raise its inputs, so that a unit that is dead at the start does not stay so (as lucid).
      progress: Called with a number of steps whenever so many more are done. The loop is cut into
        equal parts for it, which changes no number.

    Raises:
      ValueError: The network has no output of a name, or there is a transformation and no key.
    """
    if transform is not None and key is None:
        raise ValueError("A transformation is random: give a key.")
    key = jax.random.key(0) if key is None else key
    rendered = jax.eval_shape(image.render, start)
    program = Program(model, variables, jax.eval_shape(normalise, rendered), objective.at)
    seen = program
    if transform is not None:
        shape = jax.eval_shape(lambda x: normalise(transform(key, x)), rendered)
        seen = Program(model, variables, shape, objective.at)

    def value(
        variables: Any, key: jax.Array, pixels: jax.Array, step: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        if transform is not None:
            pixels = transform(jax.random.fold_in(key, step), pixels)
        early = (step < redirected).astype(pixels.dtype)
        relu = (lambda x: _redirected(x, early)) if redirected and seen.relus else None
        values = objective.of(*seen(variables, normalise(pixels), relu=relu))
        values = values.reshape(rendered.shape[0], -1).mean(1)  # over crops of a picture
        return values.sum(), values

    @jax.jit
    def climb(variables: Any, key: jax.Array, carry: _Climb, numbers: jax.Array) -> tuple:
        def one_step(carry: _Climb, step: jax.Array) -> tuple[_Climb, jax.Array]:
            pixels, back = jax.vjp(image.render, carry.parameters)
            slope, values = jax.grad(value, argnums=2, has_aux=True)(variables, key, pixels, step)
            (gradient,) = back(slope)
            return carry.moved(gradient, slope, step + 1, learning_rate), values

        return jax.lax.scan(one_step, carry, numbers)

    @jax.jit
    def finish(variables: Any, parameters: jax.Array) -> tuple[jax.Array, jax.Array]:
        finished = image.render(parameters)
        return finished, objective.of(*program(variables, normalise(finished)))

    zeros = jnp.zeros_like(start)
    carry = _Climb(start, zeros, zeros, jnp.zeros(rendered.shape[:-1], rendered.dtype))
    values = []
    for numbers in np.split(np.arange(steps), _parts(steps) if progress else 1):
        carry, found = climb(variables, key, carry, jnp.asarray(numbers))
        values.append(found)
        if progress:
            jax.block_until_ready(found)
            progress(len(numbers))
    finished, last = finish(variables, carry.parameters)
    return Visualised(finished, jnp.concatenate([*values, last[None]]), carry.importance)


class _Climb(NamedTuple):
    """The state of Adam, and the importance of pixels so far."""

    parameters: jax.Array
    mean: jax.Array
    square: jax.Array
    importance: jax.Array

    def moved(
        self, gradient: jax.Array, slope: jax.Array, count: jax.Array, learning_rate: float
    ) -> "_Climb":
        """The state after step number `count`, from the gradients by parameters and pixels."""
        mean = 0.9 * self.mean + 0.1 * gradient
        square = 0.999 * self.square + 0.001 * gradient**2
        direction = mean / (1 - 0.9**count)
        direction = direction / (jnp.sqrt(square / (1 - 0.999**count)) + 1e-8)
        parameters = self.parameters + learning_rate * direction
        return _Climb(parameters, mean, square, self.importance + jnp.abs(slope).sum(-1))


def _parts(steps: int) -> int:
    """The largest number of equal parts of so many steps, up to 16."""
    return next(parts for parts in range(16, 0, -1) if steps % parts == 0)


@jax.custom_vjp
def _redirected(x: jax.Array, early: jax.Array) -> jax.Array:
    return jax.nn.relu(x)


def _redirected_backward(kept: tuple, g: jax.Array) -> tuple[jax.Array, jax.Array]:
    positive, early = kept
    plain = jnp.where(positive, g, 0)
    axes = tuple(range(1, g.ndim))
    blocked = jnp.all(plain == 0, axis=axes, keepdims=True) & (early > 0)
    return jnp.where(blocked, jax.nn.relu(g), plain), jnp.zeros_like(early)


_redirected.defvjp(lambda x, early: (jax.nn.relu(x), (x > 0, early)), _redirected_backward)
