"""One image's way through a network: what every layer makes of it, and what a class goes by."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from zoo.kernels import platform
from zoo.look.layers import IMAGE, Layer, layers
from zoo.look.program import Program
from zoo.look.receptive_field import ReceptiveField, layer_fields
from zoo.look.trace import trace
from zoo.look.windows import Window, windows


class Inside(NamedTuple):
    """What a network computes of one image.

    Attributes:
      layers: Layers by name, in the order of their execution; the first is "image".
      values: Output of each layer, without the batch axis.
      slopes: Gradient of the logit of `target` by each output, of the same shapes.
      logits: [K].
      target: The class.
      fields: Receptive fields of the layers that are maps; {} where the program has an operation
        whose field is not known.
      windows: Windows of convolutions and poolings.
    """

    layers: dict[str, Layer]
    values: dict[str, np.ndarray]
    slopes: dict[str, np.ndarray]
    logits: np.ndarray
    target: int
    fields: dict[str, ReceptiveField]
    windows: dict[str, Window]


def inside(model: nn.Module, variables: Any, image: Any, target: int | None = None) -> Inside:
    """Runs a network forwards and backwards on one image, and keeps all of it.

    Args:
      model: Unbound network.
      variables: Its variables.
      image: Image [H, W, C], as the network takes it.
      target: Class whose gradient is taken; by default the first one.
    """
    images = jnp.asarray(image)[None]
    found = Program(model, variables, images).layers
    names = [name for name in found if name != IMAGE]
    program = Program(model, variables, images, names)

    def run(variables: Any, images: jax.Array, added: Mapping[str, jax.Array]) -> tuple[Any, Any]:
        logits, outputs = program(variables, images, added)
        chosen = logits[0].argmax() if target is None else target
        return logits[0, chosen], (logits[0], outputs, chosen)

    zeros = {name: jnp.zeros(x.shape, x.dtype) for name, x in program.shapes.items()}
    slope_of = jax.jit(jax.grad(run, argnums=(1, 2), has_aux=True))
    (slope, slopes), (logits, outputs, chosen) = slope_of(variables, images, zeros)
    values = {IMAGE: images, **outputs}
    slopes = {IMAGE: slope, **slopes}
    fields, sides = _of_shapes(model, variables, images)
    return Inside(
        found,
        {name: _without_batch(values[name]) for name in found},
        {name: _without_batch(slopes[name]) for name in found},
        np.asarray(logits, np.float32),
        int(chosen),
        {name: field for name, field in fields.items() if name in found},
        {name: window for name, window in sides.items() if name in found},
    )


def _of_shapes(
    model: nn.Module, variables: Any, images: Any
) -> tuple[dict[str, ReceptiveField], dict[str, Window]]:
    """Receptive fields and windows, from the form of the network that has JAX's operations."""
    with platform.tracing(platform.NATIVE):
        shapes = jax.eval_shape(lambda *arrays: arrays, variables, images)
        traced = trace(model, *shapes)
    found = layers(traced, variables)
    try:
        fields = layer_fields(traced, found)
    except ValueError:
        fields = {}
    return fields, windows(traced, found)


def _without_batch(x: Any) -> np.ndarray:
    array = np.asarray(x, np.float32)
    return array[0] if array.ndim and len(array) == 1 else array
