"""The stages of a network as a table: name, stride and channels, counted from shapes."""

import re
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from zoo.layers.image_size import any_size

# Names of outputs: "stem", "stage1", and of networks with several branches "small_stage1".
STAGE = re.compile(r"(\w+_)?(stem|stage\d+)(_\w+)?")
# A multiple of all strides, patches and windows: this many more pixels give every stage exactly
# this many divided by its stride more positions, however images are padded at their edges.
_EXTRA_PIXELS = 64 * 3 * 7


class Stage(NamedTuple):
    """One of the outputs on the way through a network, for `zoo.features`.

    Attributes:
      name: Name of the output: "stem", "stage1", "stage2", ...
      stride: Distance of neighbouring positions in pixels of the image, in either direction; a
        float where that is no whole number (CrossViT), None for vectors, which have no positions.
      channels: Number of features of each position.
    """

    name: str
    stride: int | float | None
    channels: int


def stages(model: nn.Module, image_size: int, channels: int) -> tuple[Stage, ...]:
    """Returns the stem and the stages of `model`, in the order in which an image passes them.

    Nothing is computed: the figures come from the shapes of two image sizes.

    Args:
      model: Unbound network.
      image_size: Side of its square images, in pixels.
      channels: Number of channels of its images.
    """
    shapes = _shapes(model, image_size, channels)
    larger = _shapes(model, image_size + _EXTRA_PIXELS, channels)
    found = []
    for name, shape in shapes.items():
        stride = None
        if len(shape) == 4:
            stride = _EXTRA_PIXELS / (larger[name][1] - shape[1])
            stride = int(stride) if stride.is_integer() else image_size / shape[1]
        found.append(Stage(name, stride, shape[-1]))
    return tuple(found)


def _shapes(model: nn.Module, image_size: int, channels: int) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of what the model sows as its stem and stages, by name."""
    shapes = {}

    def record(key: jax.Array, images: jax.Array) -> None:
        variables = model.init(key, images)
        _, state = model.apply(variables, images, mutable=["intermediates"])
        for name, values in state["intermediates"].items():
            if STAGE.fullmatch(name) and isinstance(values, tuple):
                shapes[name] = values[0].shape

    images = jax.ShapeDtypeStruct((1, image_size, image_size, channels), jnp.float32)
    with any_size():
        jax.eval_shape(record, jax.random.key(0), images)
    return shapes
