"""Attribution: what in an image, or in a map on the way, a logit depends on.

All functions take a network, its variables, images [B, H, W, C] as the network takes them, and
`targets`, the class of each image, int [B]; "the logit" of an image is that of its class. Results
are as computed: nothing is resized, rectified or normalised for a picture. The network is that of
evaluation.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from zoo.look.class_activation import grad_cam, grad_cam_plus_plus, layer_cam, score_cam
from zoo.look.program import Program, Relu, logit, logit_of, map_of

__all__ = [
    "deconvnet",
    "effective_field",
    "grad_cam",
    "grad_cam_plus_plus",
    "gradient",
    "guided_backprop",
    "integrated_gradients",
    "layer_cam",
    "logit",
    "occlusion",
    "saliency",
    "score_cam",
    "smooth_grad",
    "unit_picture",
]


def gradient(
    model: nn.Module,
    variables: Any,
    images: jax.Array,
    targets: jax.Array,
    *,
    score: Callable[[jax.Array, jax.Array], jax.Array] = logit,
) -> jax.Array:
    """Returns the gradient of each image's logit by the image, [B, H, W, C].

    Args:
      model, variables, images, targets: See the module.
      score: What it is the gradient of, in place of the logit: a function of
        (logits [B, K], targets [B]) -> [B], such as a probability.
    """

    def total(images: jax.Array) -> jax.Array:
        logits: Any = model.apply(variables, images)
        return score(logits, targets).sum()

    return jax.grad(total)(images)


def saliency(model: nn.Module, variables: Any, images: jax.Array, targets: jax.Array) -> jax.Array:
    """Returns the largest absolute gradient of the channels of each pixel, [B, H, W].

    Simonyan et al. 2014, arXiv:1312.6034, section 3.1.
    """
    return jnp.abs(gradient(model, variables, images, targets)).max(-1)


def smooth_grad(
    model: nn.Module,
    variables: Any,
    images: jax.Array,
    targets: jax.Array,
    noise: jax.Array,
) -> jax.Array:
    """Returns the mean gradient of noisy copies of each image, [B, H, W, C].

    Smilkov et al. 2017, arXiv:1706.03825.

    Args:
      model, variables, images, targets: See the module.
      noise: What is added, [N, B, H, W, C], for instance
        `0.15 * spread * jax.random.normal(key, (32, *images.shape))`; the paper has 10 to 20 % of
        the spread of the image's values.
    """

    def of_copy(added: jax.Array) -> jax.Array:
        return gradient(model, variables, images + added, targets)

    return jax.lax.map(of_copy, noise).mean(0)


class Integrated(NamedTuple):
    """Integrated gradients.

    Attributes:
      values: [B, H, W, C]; their sum over an image is nearly the difference of its logit and that
        of the baseline.
      gap: That difference less the sum, [B]: the error of the integral.
    """

    values: jax.Array
    gap: jax.Array


def integrated_gradients(
    model: nn.Module,
    variables: Any,
    images: jax.Array,
    targets: jax.Array,
    *,
    baseline: jax.Array | float = 0.0,
    steps: int = 20,
    rule: str = "gauss_legendre",
) -> Integrated:
    """Integrates the gradient along the line from a baseline to each image.

    Sundararajan et al. 2017, arXiv:1703.01365.

    Args:
      model, variables, images, targets: See the module.
      baseline: Image without a content, broadcast to [B, H, W, C].
      steps: Number of gradients.
      rule: Points and weights of the integral: "gauss_legendre", or "middle" for the middles of
        equal parts.

    Raises:
      ValueError: There is no such rule.
    """
    if rule == "gauss_legendre":
        nodes, weights = np.polynomial.legendre.leggauss(steps)
        nodes, weights = (nodes + 1) / 2, weights / 2
    elif rule == "middle":
        nodes, weights = (np.arange(steps) + 0.5) / steps, np.full(steps, 1 / steps)
    else:
        raise ValueError(f'rule={rule!r} is not known: choose "gauss_legendre" or "middle".')
    start = jnp.broadcast_to(jnp.asarray(baseline, images.dtype), images.shape)
    way = images - start

    def of_point(point: tuple[jax.Array, jax.Array]) -> jax.Array:
        node, weight = point
        return weight * gradient(model, variables, start + node * way, targets)

    points = jnp.asarray(nodes, images.dtype), jnp.asarray(weights, images.dtype)
    values = way * jax.lax.map(of_point, points).sum(0)
    logits = [logit_of(model, variables, x, targets) for x in (images, start)]
    return Integrated(values, logits[0] - logits[1] - values.sum((1, 2, 3)))


def guided_backprop(
    model: nn.Module, variables: Any, images: jax.Array, targets: jax.Array
) -> jax.Array:
    """Returns the gradient where every ReLU passes on only what is positive, [B, H, W, C].

    Springenberg et al. 2015, arXiv:1412.6806: of a gradient g at an input x, max(g, 0) where x > 0.

    Raises:
      ValueError: The network has no ReLU.
    """
    return _with_rule(model, variables, images, targets, _guided)


def deconvnet(model: nn.Module, variables: Any, images: jax.Array, targets: jax.Array) -> jax.Array:
    """Returns what deconvolution sends back from each logit, [B, H, W, C].

    Zeiler and Fergus 2014, arXiv:1311.2901: every ReLU passes on max(g, 0), whatever its input was.

    Raises:
      ValueError: The network has no ReLU.
    """
    return _with_rule(model, variables, images, targets, _deconvolved)


class Unit(NamedTuple):
    """The strongest position of one channel, and what it sees.

    Attributes:
      picture: What the rule sends back from it to the image, [B, H, W, C].
      position: Flat position in the map, int [B].
      value: Its value, [B].
    """

    picture: jax.Array
    position: jax.Array
    value: jax.Array


def unit_picture(
    model: nn.Module,
    variables: Any,
    images: jax.Array,
    at: str,
    channel: int,
    rule: str = "deconvnet",
) -> Unit:
    """Sends the strongest value of a channel back to the image: the pictures of ZFNet.

    Zeiler and Fergus 2014, arXiv:1311.2901, section 2.1.

    Args:
      model, variables, images: See the module.
      at: Name of an output, as for `zoo.features`.
      channel: Channel of it.
      rule: "deconvnet", "guided_backprop", or "gradient" for no other rule.

    Raises:
      ValueError: There is no such output or rule, or the network has no ReLU that it is about.
    """
    rules: dict[str, Relu | None] = {
        "deconvnet": _deconvolved,
        "guided_backprop": _guided,
        "gradient": None,
    }
    if rule not in rules:
        raise ValueError(f"rule={rule!r} is not known: choose one of {', '.join(rules)}.")
    program = Program(model, variables, images, [at])
    map_of(program.shapes, at, model)
    if rules[rule]:
        _check_relus(program, model)

    def strongest(images: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        _, outputs = program(variables, images, relu=rules[rule])
        flat = outputs[at][..., channel].reshape(images.shape[0], -1)
        position = flat.argmax(1)
        value = jnp.take_along_axis(flat, position[:, None], axis=1)[:, 0]
        return (value * jax.lax.stop_gradient(value)).sum(), (position, value)

    picture, (position, value) = jax.grad(strongest, has_aux=True)(images)
    return Unit(picture, position, value)


def effective_field(model: nn.Module, variables: Any, images: jax.Array, at: str) -> jax.Array:
    """Returns how much each pixel moves the middle of an output: its effective receptive field.

    The absolute gradient of all channels at h // 2, w // 2, summed over images and colours, [H, W].
    Luo et al. 2016, arXiv:1701.04128, whose field is what is above 4.55 % of the maximum.

    Raises:
      ValueError: The network has no such output.
    """
    program = Program(model, variables, images, [at])
    shape = map_of(program.shapes, at, model).shape

    def middle(images: jax.Array) -> jax.Array:
        return program(variables, images)[1][at][:, shape[1] // 2, shape[2] // 2].sum()

    return jnp.abs(jax.grad(middle)(images)).sum((0, 3))


def occlusion(
    model: nn.Module,
    variables: Any,
    images: jax.Array,
    targets: jax.Array,
    *,
    window: int,
    stride: int,
    fill: float = 0.0,
) -> jax.Array:
    """Returns by how much the logit falls where an image is covered, [B, H, W].

    Square windows are covered one after the other, the last of a row and column reaching over the
    edge; a pixel's value is the mean over the windows that cover it. Zeiler and Fergus 2014,
    arXiv:1311.2901, section 4.2.

    Args:
      model, variables, images, targets: See the module.
      window: Side of the windows in pixels.
      stride: Distance of neighbouring windows, at most their side.
      fill: Value of covered pixels in all channels.

    Raises:
      ValueError: The stride leaves pixels uncovered.
    """
    if not 0 < stride <= window:
        raise ValueError(f"stride={stride}: windows of {window} pixels leave pixels uncovered.")
    height, width = images.shape[1:3]
    rows, columns = (_starts(side, window, stride) for side in (height, width))
    corners = jnp.array([(row, column) for row in rows for column in columns])
    whole = logit_of(model, variables, images, targets)

    def cover(sums: tuple, corner: jax.Array) -> tuple[tuple, None]:
        y, x = jnp.arange(height)[:, None], jnp.arange(width)[None]
        inside = (y >= corner[0]) & (y < corner[0] + window)
        inside &= (x >= corner[1]) & (x < corner[1] + window)
        covered = jnp.where(inside[None, :, :, None], jnp.asarray(fill, images.dtype), images)
        fall = whole - logit_of(model, variables, covered, targets)
        falls, counts = sums
        return (falls + fall[:, None, None] * inside[None], counts + inside), None

    zeros = jnp.zeros((images.shape[0], height, width), whole.dtype), jnp.zeros((height, width))
    (falls, counts), _ = jax.lax.scan(cover, zeros, corners)
    return falls / counts.astype(falls.dtype)[None]


def _with_rule(
    model: nn.Module, variables: Any, images: jax.Array, targets: jax.Array, relu: Relu
) -> jax.Array:
    program = Program(model, variables, images)
    _check_relus(program, model)

    def total(images: jax.Array) -> jax.Array:
        return logit(program(variables, images, relu=relu)[0], targets).sum()

    return jax.grad(total)(images)


def _check_relus(program: Program, model: nn.Module) -> None:
    """Raises ValueError if a network has no ReLU, whose rule could be another one."""
    if not program.relus:
        raise ValueError(
            f"{type(model).__name__} has no ReLU, so this would be the plain gradient: the rule is "
            "about ReLUs, and GELU, SiLU and ReLU6 have none."
        )


def _starts(side: int, window: int, stride: int) -> list[int]:
    count = -(-max(0, side - window) // stride) + 1
    return [stride * number for number in range(count)]


@jax.custom_vjp
def _guided(x: jax.Array) -> jax.Array:
    return jax.nn.relu(x)


_guided.defvjp(
    lambda x: (jax.nn.relu(x), x > 0),
    lambda positive, g: (jnp.where(positive, jax.nn.relu(g), 0),),
)


@jax.custom_vjp
def _deconvolved(x: jax.Array) -> jax.Array:
    return jax.nn.relu(x)


_deconvolved.defvjp(lambda x: (jax.nn.relu(x), None), lambda _, g: (jax.nn.relu(g),))
