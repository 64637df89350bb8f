"""Class activation maps: where in a stage's output a class is seen.

All functions take a network, its variables, images [B, H, W, C] as the network takes them, the
class of each image, int [B], and the name of an output, as for `zoo.features`. Maps are as
computed, [B, h, w]: not resized, rectified or normalised.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.core import Tracer

from zoo.look.program import Program, logit, logit_of, map_of


def grad_cam(
    model: nn.Module, variables: Any, images: jax.Array, targets: jax.Array, at: str
) -> jax.Array:
    """Returns Grad-CAM's map of a stage, [B, h, w], without the ReLU at its end.

    The sum over channels of the output times the mean of its gradient. For the last stage of a
    network that ends in a global mean and one dense layer it is the class activation map of Zhou et
    al. 2016 (arXiv:1512.04150) divided by h * w. Selvaraju et al. 2017, arXiv:1610.02391.

    Raises:
      ValueError: The network has no such output, or its logits do not depend on it, as on the
        patches of a transformer's last block, after which only the class token is read. (Within
        `jax.jit`, where no value is known, the map is zero.)
    """
    output, slope = _output_and_gradient(model, variables, images, targets, at)
    return (output * slope.mean((1, 2), keepdims=True)).sum(-1)


def grad_cam_plus_plus(
    model: nn.Module, variables: Any, images: jax.Array, targets: jax.Array, at: str
) -> jax.Array:
    """Returns Grad-CAM++'s map of a stage, [B, h, w], from the logit itself.

    Chattopadhay et al. 2018, arXiv:1710.11063, in the form that is in use: with G the gradient,
    alpha = G^2 / (2 G^2 + sum(A) G^3 + 1e-6), and weights that are sums of alpha max(G, 0).

    Raises:
      ValueError: As `grad_cam`.
    """
    output, slope = _output_and_gradient(model, variables, images, targets, at)
    total = output.sum((1, 2), keepdims=True)
    alpha = jnp.where(slope != 0, slope**2 / (2 * slope**2 + total * slope**3 + 1e-6), 0)
    weights = (jax.nn.relu(slope) * alpha).sum((1, 2), keepdims=True)
    return (output * weights).sum(-1)


def layer_cam(
    model: nn.Module, variables: Any, images: jax.Array, targets: jax.Array, at: str
) -> jax.Array:
    """Returns Layer-CAM's map of a stage, [B, h, w]: each position weighed by its own gradient.

    Jiang et al. 2021, IEEE Transactions on Image Processing 30.

    Raises:
      ValueError: As `grad_cam`.
    """
    output, slope = _output_and_gradient(model, variables, images, targets, at)
    return (output * jax.nn.relu(slope)).sum(-1)


class Scored(NamedTuple):
    """Score-CAM's map.

    Attributes:
      map: [B, h, w].
      scores: Logit of the image behind the mask of each channel, [B, C].
    """

    map: jax.Array
    scores: jax.Array


def score_cam(
    model: nn.Module, variables: Any, images: jax.Array, targets: jax.Array, at: str
) -> Scored:
    """Returns Score-CAM's map of a stage; it needs no gradient, but a run for each channel.

    Each channel, stretched over the image with its corners aligned and scaled to [0, 1], is a mask
    of the image; the logits of the masked images, by a softmax over the channels, weigh them. Wang
    et al. 2020, arXiv:1910.01279.

    Raises:
      ValueError: The network has no such output.
    """
    program = Program(model, variables, images, [at])
    output = map_of(program(variables, images)[1], at, model)
    rows, columns = (_aligned(images.shape[axis], output.shape[axis]) for axis in (1, 2))
    masks = jnp.einsum("yh,xw,bhwc->cbyx", rows, columns, output)
    low, high = (f(masks, axis=(2, 3), keepdims=True) for f in (jnp.min, jnp.max))
    masks = (masks - low) / (high - low + 1e-8)
    scores = jax.lax.map(
        lambda mask: logit_of(model, variables, images * mask[..., None], targets), masks
    )
    weights = jax.nn.softmax(scores, axis=0)  # [C, B]
    return Scored(jnp.einsum("cb,bhwc->bhw", weights, output), scores.T)


def _output_and_gradient(
    model: nn.Module, variables: Any, images: jax.Array, targets: jax.Array, at: str
) -> tuple[jax.Array, jax.Array]:
    """An output [B, h, w, C], and the gradient of the logits by it."""
    program = Program(model, variables, images, [at])
    shape = map_of(program.shapes, at, model)

    def logits(added: jax.Array) -> tuple[jax.Array, jax.Array]:
        logits, outputs = program(variables, images, {at: added})
        return logit(logits, targets).sum(), outputs[at]

    slope, output = jax.grad(logits, has_aux=True)(jnp.zeros(shape.shape, shape.dtype))
    if not isinstance(slope, Tracer) and not slope.any():
        name = type(model).__name__
        why = f"{name} reads nothing of it any more, as of patches after the last block: take an "
        why += "earlier one"
        if getattr(model, "scan", False):
            why = "its blocks are in a scan: take them apart with zoo.look.explore.apart"
        raise ValueError(f"The logits do not depend on {at}: {why}.")
    return output, slope


def _aligned(long: int, short: int) -> np.ndarray:
    """[long, short]: rows interpolate linearly between points, from the first to the last."""
    position = np.linspace(0, short - 1, long)
    return np.maximum(0, 1 - np.abs(position[:, None] - np.arange(short)))
