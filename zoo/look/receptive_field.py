"""Receptive fields: which pixels an output can depend on, read from the network's program.

This is exact where gradients are not: those of maximum pooling skip all but the largest, and
padding cuts fields at the border off.
"""

import functools
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.extend import core

from zoo.features import features
from zoo.kernels import platform
from zoo.look.follow import Seen, follow, shape_of
from zoo.look.layers import Layer
from zoo.look.trace import Trace


class ReceptiveField(NamedTuple):
    """What the positions of an output see, in either direction.

    Position i sees the pixels start + i * stride to start + i * stride + size - 1. Where start is
    below 0, that is padding.

    Attributes:
      size: Number of pixels in a row; infinity where every position sees the whole image.
      stride: Distance in pixels of what neighbouring positions see.
      start: First pixel that position 0 sees.
    """

    size: float
    stride: float
    start: float


def receptive_fields(
    model: nn.Module, image_size: int, channels: int = 3, at: Sequence[str] = ()
) -> dict[str, ReceptiveField]:
    """Returns the receptive field of each output of a network; nothing is computed.

    >>> receptive_fields(zoo.create("vgg16"), 224)["stage5"]
    ReceptiveField(size=212, stride=32, start=-90)

    Attention, squeeze-and-excitation and other means over the whole map make every position see the
    whole image: its size is infinity. So it is where this is not followed further: attention within
    windows, tokens in one row, images that the network resizes itself.

    Args:
      model: Unbound network.
      image_size: Side of its square images in pixels, as the network takes them.
      channels: Number of channels of its images.
      at: Names of outputs, as for `zoo.features`; by default all that are maps.

    Raises:
      ValueError: The network has no output of a name, or its program has an operation between
        positions whose field is not known.
    """
    images = jax.ShapeDtypeStruct((1, image_size, image_size, channels), jnp.float32)
    with platform.tracing(platform.NATIVE):
        variables = jax.eval_shape(model.init, jax.random.key(0), images)
        outputs = functools.partial(features, model, at=tuple(at) or None)
        program, shapes = jax.make_jaxpr(outputs, return_shape=True)(variables, images)
    positions = {name: number for number, name in enumerate(sorted(shapes))}  # as in a dict of JAX
    return fields_of(program.jaxpr, {name: positions[name] for name in shapes})


def fields_of(program: core.Jaxpr, outputs: Mapping[str, int]) -> dict[str, ReceptiveField]:
    """Returns the receptive fields of outputs of a program; those that are no maps are left out.

    Args:
      program: Program whose last input are images, of JAX's own operations
        (`platform.tracing(platform.NATIVE)`).
      outputs: Positions of its outputs by the names that the result has.

    Raises:
      ValueError: It has an operation between positions whose field is not known.
    """
    seen = follow(program, [None] * (len(program.invars) - 1) + [Seen(2, 1.0, 1.0, 0.0)])
    found = [field and field.whole_blocks() for field in seen]
    return {
        name: ReceptiveField(*map(_whole, (field.size, field.stride, field.start)))
        for name, number in outputs.items()
        if len(shape_of(program.outvars[number])) == 4 and (field := found[number]) is not None
    }


def layer_fields(traced: Trace, found: Mapping[str, Layer]) -> dict[str, ReceptiveField]:
    """Returns the receptive fields of the layers that are maps, by their names.

    Args:
      traced: A network, traced in the form for accelerators: `platform.tracing(platform.NATIVE)`.
      found: Its layers.

    Raises:
      ValueError: As `receptive_fields`.
    """
    program = traced.jaxpr.replace(outvars=[layer.variable for layer in found.values()])
    return fields_of(program, {name: number for number, name in enumerate(found)})


def _whole(number: float) -> float:
    return int(number) if math.isfinite(number) and number == int(number) else number
