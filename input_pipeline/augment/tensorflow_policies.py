"""RandAugment and AutoAugment as the TensorFlow programs of EfficientNet and AugReg have them.

They differ from timm's, which are made after them, in this:

- Each drawn operation of RandAugment is applied: the program draws a probability and does not use
  it.
- Levels above 10 go on and are not clipped. Posterize keeps int(level / 10 * 4) bits, so that it
  gets weaker with the level: black at 0, identity from 20 on. Solarize is identity from 10 on.
- Contrast blends with height * width / 256, at most 255, instead of with the mean grey value.
- Cutout is one of the operations. Translations are in pixels, whatever the size of the image.
- Geometric operations take the nearest pixel, and fill with grey (128).

Source: tensorflow/tpu `efficientnet/autoaugment.py`; google-research/big_vision
`pp/autoaugment.py`. Shears are about the corner of the image here and about the centre of its first
pixel there, which are up to 0.15 pixels apart at level 10.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from input_pipeline.augment import autoaugment_tables as tables
from input_pipeline.augment.combine import fold_in, image_keys, integers
from input_pipeline.augment.crop import erase
from input_pipeline.augment.policy import (
    Draws,
    Operation,
    Policy,
    Scale,
    Setting,
    constant,
    of_random_operations,
    of_sub_policies,
)

FILL = 128.0

_ENHANCE = Scale(0.1, 1.8)
_OPS: dict[str, str | Callable] = {
    "AutoContrast": "autocontrast",
    "Equalize": "equalize",
    "Invert": "invert",
    "Rotate": "rotate",
    "Posterize": "posterize",
    "Solarize": "solarize",
    "Color": "saturation",
    "Contrast": "contrast",  # replaced by `contrast` below
    "Brightness": "brightness",
    "Sharpness": "sharpness",
    "ShearX": "shear_x",
    "ShearY": "shear_y",
    "TranslateX": "translate_x",
    "TranslateY": "translate_y",
    "Cutout": "identity",  # `TensorFlowPolicy.apply` cuts
    "SolarizeAdd": "solarize_add",
}
NAMES = tuple(_OPS)


@dataclass(frozen=True)
class TensorFlowPolicy(Policy):
    """A policy with cutout, whose box `apply` draws from the images' keys."""

    def __call__(self, key: jax.Array, images: jax.Array) -> jax.Array:
        """See `Policy`."""
        batch, height, width, _ = images.shape
        keys = image_keys(key, batch)
        draws = jax.vmap(lambda k: self.draw(k, height, width))(fold_in(keys, 0))

        def layer(images: jax.Array, inputs: tuple[Draws, jax.Array]) -> tuple[jax.Array, None]:
            one, number = inputs
            images = self.apply(images, one)
            if "Cutout" in self.names:
                chosen = one.index == self.names.index("Cutout")
                size = jnp.where(chosen, one.argument, 0).astype(jnp.int32)
                images = cutout(fold_in(keys, number), images, size)
            return images, None

        numbers = jnp.arange(1, 1 + draws.index.shape[1])
        return jax.lax.scan(layer, images, (jax.tree.map(jnp.transpose, draws), numbers))[0]


def tf_rand_augment(num_layers: int = 2, magnitude: float = 10) -> TensorFlowPolicy:
    """Returns RandAugment(num_layers, magnitude): operations drawn from 16, at one magnitude.

    Args:
      num_layers: operations of each image.
      magnitude: their level; may be above 10.
    """
    choose = of_random_operations(len(NAMES), num_layers, constant(magnitude))
    return _policy(NAMES, choose, translate=100, cutout_size=40)


def tf_auto_augment() -> TensorFlowPolicy:
    """Returns AutoAugment, policy "v0"."""
    sub_policies = tables.renamed(tables.V0, {"TranslateYRel": "TranslateY"})
    names = tuple(name for name in NAMES if name != "Cutout")
    return _policy(names, of_sub_policies(sub_policies, names), translate=250, cutout_size=100)


def argument(
    name: str, setting: Setting, translate: float = 100, cutout_size: float = 40
) -> jax.Array:
    """Returns the argument of an operation at a level.

    Args:
      name: one of `NAMES`.
      setting: level and sign.
      translate, cutout_size: translation and half of the side of a box at level 10, in pixels.
    """
    scales = {
        **dict.fromkeys(("Color", "Contrast", "Brightness", "Sharpness"), _ENHANCE),
        **dict.fromkeys(("ShearX", "ShearY"), Scale(span=0.3, signed=True)),
        **dict.fromkeys(("TranslateX", "TranslateY"), Scale(span=translate, signed=True)),
        "Rotate": Scale(span=30, signed=True),
        "Posterize": Scale(span=4, whole=True),
        "Solarize": Scale(span=256, whole=True),
        "SolarizeAdd": Scale(span=110, whole=True),
        "Cutout": Scale(span=cutout_size, whole=True),
    }
    return scales.get(name, Scale())(setting.level, setting.sign)


def contrast(images: jax.Array, factor: jax.Array) -> jax.Array:
    """TensorFlow's contrast of uint8 images [B, H, W, C]: factor [B] times the distance from
    `contrast_constant`."""
    constant_ = contrast_constant(*images.shape[1:3])
    scaled = constant_ + factor[:, None, None, None] * (images.astype(jnp.float32) - constant_)
    return jnp.clip(scaled, 0, 255).astype(jnp.uint8)


def contrast_constant(height: int, width: int) -> int:
    """Returns the grey value that contrast blends with: min(255, height * width / 256)."""
    return min(255, height * width // 256)


def cutout(key: jax.Array, images: jax.Array, size: jax.Array) -> jax.Array:
    """Fills a box of 2 `size` pixels about a random pixel with grey, as far as it is in the image.

    Args:
      key: a PRNG key, or one for each image [B].
      images: uint8 [B, H, W, C].
      size: int [B], half of the side of the box; 0 cuts nothing.
    """
    batch, height, width, _ = images.shape
    keys = image_keys(key, batch)

    def ends(number: int, length: int) -> tuple[jax.Array, jax.Array]:
        centre = integers(fold_in(keys, number), 0, length)
        return jnp.maximum(centre - size, 0), jnp.minimum(centre + size, length)

    (top, bottom), (left, right) = ends(0, height), ends(1, width)
    return erase(images, top, left, bottom - top, right - left, FILL)


def _policy(
    names: tuple[str, ...], choose: Callable, translate: float, cutout_size: float
) -> TensorFlowPolicy:
    def operation(name: str) -> Operation:
        own = functools.partial(argument, name, translate=translate, cutout_size=cutout_size)
        return Operation(name, contrast if name == "Contrast" else _OPS[name], own)

    space = tuple(map(operation, names))
    return TensorFlowPolicy(space, choose, FILL, interpolation="nearest", backend="pillow")
