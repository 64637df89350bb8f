"""What is exported: a model with its weights as one function of images, and what goes with it."""

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from zoo import representation
from zoo.preprocess import Preprocessing
from zoo.weights.pretrained import PretrainedModel

LAYOUTS = ("nchw", "nhwc")


@dataclasses.dataclass(frozen=True)
class Program:
    """A function of images that a file is to hold.

    Attributes:
      function: Function from images to logits [B, classes], or features of a model without a
        classifier. It is pure, and holds the weights.
      shape: Shape of one image, in the layout of the file.
      dtype: Dtype of the images: float32, or uint8 for pixels.
      facts: What a user of the file has to know, as JSON can hold it: "model", "weights", "layout",
        "input", "preprocessing", "class_names", "license".
    """

    function: Callable[[jax.Array], jax.Array]
    shape: tuple[int, int, int]
    dtype: Any
    facts: dict[str, Any]

    def images(self, batch: Any) -> jax.ShapeDtypeStruct:
        """Shape and dtype of a batch; its size may be a symbol."""
        return jax.ShapeDtypeStruct((batch, *self.shape), self.dtype)

    def random_images(self, batch: int, seed: int) -> np.ndarray:
        """A batch of random images: pixels in 0..255, or numbers of mean 0 and deviation 1."""
        generator = np.random.default_rng(seed)
        shape = (batch, *self.shape)
        if self.dtype == np.uint8:
            return generator.integers(0, 256, shape, np.uint8)
        return generator.standard_normal(shape, np.float32)


def program(loaded: PretrainedModel, *, layout: str = "nchw", normalize: bool = False) -> Program:
    """Returns the program of a model.

    Args:
      loaded: Model with its weights, as `zoo.load` returns it.
      layout: Layout of the images, "nchw" or "nhwc".
      normalize: Whether the program normalises: its images are then uint8, R, G, B in 0..255, cut
        and resized but neither scaled nor padded. Otherwise they are what `zoo.preprocess` returns.

    Raises:
      ValueError: There is no such layout.
    """
    if layout not in LAYOUTS:
        raise ValueError(f"A layout is one of {', '.join(LAYOUTS)}, not {layout!r}.")
    preprocessing = loaded.preprocessing
    size = preprocessing.image_size
    channels = preprocessing.channels if normalize else preprocessing.input_channels

    def function(images: jax.Array) -> jax.Array:
        images = jnp.transpose(images, (0, 2, 3, 1)) if layout == "nchw" else images
        images = _normalized(images, preprocessing) if normalize else images
        return loaded.model.apply(loaded.variables, images)  # pyright: ignore[reportReturnType]

    facts = {
        "model": loaded.info.name,
        "weights": loaded.info.weights,
        "license": loaded.info.license,
        "layout": layout,
        "input": "uint8 pixels, RGB" if normalize else "(pixels / 255 - mean) / std",
        "preprocessing": dataclasses.asdict(preprocessing),
        "class_names": list(loaded.class_names),
    }
    size = size - 2 * preprocessing.padding if normalize else size
    shape = (channels, size, size) if layout == "nchw" else (size, size, channels)
    return Program(function, shape, np.dtype(np.uint8 if normalize else np.float32), facts)


def texts(facts: dict[str, Any]) -> dict[str, str]:
    """Returns facts as texts, those that are none in JSON."""
    return {key: v if isinstance(v, str) else json.dumps(v) for key, v in facts.items()}


def _normalized(pixels: jax.Array, preprocessing: Preprocessing) -> jax.Array:
    """The last steps of `zoo.preprocess`: pads and normalises pixels [B, H, W, C]."""
    names = preprocessing.representation
    statistics = representation.statistics(names, preprocessing.mean, preprocessing.std)
    mean, std = (np.asarray(x, np.float32).reshape(1, 1, 1, -1) for x in statistics)
    sides = (preprocessing.padding,) * 2
    pixels = jnp.pad(pixels, ((0, 0), sides, sides, (0, 0)))
    pixels = representation.represent(pixels, names)
    images = (pixels.astype(jnp.float32) / np.float32(255) - mean) / std
    return images[..., ::-1] if preprocessing.channel_order == "BGR" else images
