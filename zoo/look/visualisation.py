"""Feature visualisation: pictures that make a unit, a channel or a class as strong as can be.

Reproducible from a key, any number of pictures at once, in one compiled loop. See
`zoo.look.objectives` for what can be asked for, `zoo.look.fourier` for how pictures are made up,
and `zoo.look.robustness` for the transformations that keep them free of noise.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from flax import linen as nn

from zoo.look.objectives import Objective
from zoo.look.program import Program

Transform = Callable[[jax.Array, jax.Array], jax.Array]


class Image(Protocol):
    """Pictures by parameters: `zoo.look.fourier.FourierImage` or `MacoImage`."""

    def init(self, key: jax.Array, batch: int) -> jax.Array:
        """Returns random parameters of `batch` pictures."""
        ...

    def render(self, parameters: jax.Array) -> jax.Array:
        """Returns the pictures, [B, H, W, C] in [0, 1]."""
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

    Raises:
      ValueError: The network has no output of a name, or there is a transformation and no key.
    """
    if key is None:
        if transform is not None:
            raise ValueError("A transformation is random: give a key.")
        key = jax.random.key(0)  # of which nothing depends
    start_pixels = jax.eval_shape(image.render, start)
    program = Program(model, variables, jax.eval_shape(normalise, start_pixels), objective.at)
    seen = program
    if transform is not None:
        shape = jax.eval_shape(lambda x: normalise(transform(key, x)), start_pixels)
        seen = Program(model, variables, shape, objective.at)

    def climb(variables: Any, start: jax.Array, key: jax.Array) -> Visualised:
        def value(pixels: jax.Array, step: jax.Array) -> tuple[jax.Array, jax.Array]:
            if transform is not None:
                pixels = transform(jax.random.fold_in(key, step), pixels)
            early = (step < redirected).astype(pixels.dtype)
            relu = (lambda x: _redirected(x, early)) if redirected and seen.relus else None
            values = objective.of(*seen(variables, normalise(pixels), relu=relu))
            values = values.reshape(start_pixels.shape[0], -1).mean(1)  # over crops of a picture
            return values.sum(), values

        def one_step(carry: tuple, step: jax.Array) -> tuple[tuple, jax.Array]:
            parameters, mean, square, importance = carry
            pixels, back = jax.vjp(image.render, parameters)
            slope, values = jax.grad(value, has_aux=True)(pixels, step)
            (gradient,) = back(slope)
            mean = 0.9 * mean + 0.1 * gradient
            square = 0.999 * square + 0.001 * gradient**2
            count = step + 1
            direction = mean / (1 - 0.9**count)
            direction = direction / (jnp.sqrt(square / (1 - 0.999**count)) + 1e-8)
            parameters = parameters + learning_rate * direction
            return (parameters, mean, square, importance + jnp.abs(slope).sum(-1)), values

        zeros = jnp.zeros_like(start)
        carry = start, zeros, zeros, jnp.zeros(start_pixels.shape[:-1], start_pixels.dtype)
        (parameters, _, _, importance), values = jax.lax.scan(one_step, carry, jnp.arange(steps))
        finished = image.render(parameters)
        last = objective.of(*program(variables, normalise(finished)))
        return Visualised(finished, jnp.concatenate([values, last[None]]), importance)

    return jax.jit(climb)(variables, start, key)


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
