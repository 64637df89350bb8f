"""AutoAugment, RandAugment, TrivialAugment and AugMix as in torchvision 0.29.

Functions and arguments have torchvision's names. Operations follow its tensor backend; with
`backend="pillow"` they follow Pillow, which its references train with by default. "bicubic" is
known to Pillow alone.

Sources: Cubuk et al. 2019 and 2020, Müller and Hutter 2021, Hendrycks et al. 2020;
torchvision `transforms.v2`.
"""

import functools
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from input_pipeline.augment import autoaugment_tables as tables
from input_pipeline.augment.augmix import AugMix, chains
from input_pipeline.augment.draws import whole_number
from input_pipeline.augment.policy import (
    Levels,
    Operation,
    Policy,
    Setting,
    constant,
    of_random_operations,
    of_sub_policies,
)

SUB_POLICIES = {"imagenet": tables.IMAGENET, "cifar10": tables.CIFAR10, "svhn": tables.SVHN}

# The operations of each policy, in torchvision's order.
_RANDOM = (
    *("Identity", "ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate", "Brightness", "Color"),
    *("Contrast", "Sharpness", "Posterize", "Solarize", "AutoContrast", "Equalize"),
)
_AUGMIX = (
    *("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate", "Posterize", "Solarize"),
    *("AutoContrast", "Equalize", "Brightness", "Color", "Contrast", "Sharpness"),
)
NAMES = {
    "autoaugment": (*_RANDOM[1:], "Invert"),
    "randaugment": _RANDOM,
    "trivial_augment_wide": _RANDOM,
    "augmix": _AUGMIX,
    "augmix_without_all_ops": _AUGMIX[:9],
}
SIGNED = frozenset(
    ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate")
    + ("Brightness", "Color", "Contrast", "Sharpness")
)

# Of each operation the name in augment.OPS, and its argument there from torchvision's magnitude.
_OPS: dict[str, tuple[str, Callable]] = {
    "Identity": ("identity", lambda magnitude: magnitude),
    "ShearX": ("shear_x", lambda magnitude: magnitude),
    "ShearY": ("shear_y", lambda magnitude: magnitude),
    "TranslateX": ("translate_x", jnp.trunc),
    "TranslateY": ("translate_y", jnp.trunc),
    "Rotate": ("rotate", lambda magnitude: magnitude),
    "Brightness": ("brightness", lambda magnitude: 1 + magnitude),
    "Color": ("saturation", lambda magnitude: 1 + magnitude),
    "Contrast": ("contrast", lambda magnitude: 1 + magnitude),
    "Sharpness": ("sharpness", lambda magnitude: 1 + magnitude),
    "Posterize": ("posterize", jnp.trunc),
    "Solarize": ("solarize", lambda magnitude: 255 * magnitude),
    "AutoContrast": ("autocontrast", lambda magnitude: magnitude),
    "Equalize": ("equalize", lambda magnitude: magnitude),
    "Invert": ("invert", lambda magnitude: magnitude),
}


def auto_augment(
    policy: str = "imagenet",
    *,
    interpolation: str = "nearest",
    fill: float | tuple[float, ...] | None = None,
    backend: str = "tensor",
) -> Policy:
    """Returns AutoAugment: one of 25 pairs of operations for each image.

    Args:
      policy: "imagenet", "cifar10" or "svhn".
      interpolation, fill, backend: see `Policy`.
    """
    names = NAMES["autoaugment"]
    choose = of_sub_policies(SUB_POLICIES[policy], names)
    return Policy(space("autoaugment", 10, backend), choose, fill, interpolation, backend)


def rand_augment(
    num_ops: int = 2,
    magnitude: int = 9,
    num_magnitude_bins: int = 31,
    *,
    interpolation: str = "nearest",
    fill: float | tuple[float, ...] | None = None,
    backend: str = "tensor",
) -> Policy:
    """Returns RandAugment: operations drawn from 14, all at one magnitude.

    Args:
      num_ops: operations of each image.
      magnitude: position on a scale of `num_magnitude_bins`.
      interpolation, fill, backend: see `Policy`.
    """
    _check_bin(magnitude, num_magnitude_bins)
    choose = of_random_operations(len(_RANDOM), num_ops, constant(magnitude))
    operations = space("randaugment", num_magnitude_bins, backend)
    return Policy(operations, choose, fill, interpolation, backend)


def trivial_augment_wide(
    num_magnitude_bins: int = 31,
    *,
    interpolation: str = "nearest",
    fill: float | tuple[float, ...] | None = None,
    backend: str = "tensor",
) -> Policy:
    """Returns TrivialAugment with its wide space: one of 14 operations at a random magnitude.

    Args:
      num_magnitude_bins: number of magnitudes.
      interpolation, fill, backend: see `Policy`.
    """
    choose = of_random_operations(len(_RANDOM), 1, any_bin(num_magnitude_bins))
    operations = space("trivial_augment_wide", num_magnitude_bins, backend)
    return Policy(operations, choose, fill, interpolation, backend)


def aug_mix(
    severity: int = 3,
    mixture_width: int = 3,
    chain_depth: int = -1,
    alpha: float = 1.0,
    all_ops: bool = True,
    *,
    interpolation: str = "bilinear",
    fill: float | tuple[float, ...] | None = None,
    backend: str = "tensor",
) -> AugMix:
    """Returns AugMix: a mixture of chains of operations, blended with the image.

    Args:
      severity: each operation draws one of the first `severity` of 10 magnitudes.
      mixture_width: number of chains.
      chain_depth: operations in a chain; -1: 1 to 3.
      alpha: parameter of the distributions of the shares.
      all_ops: also brightness, colour, contrast and sharpness.
      interpolation, fill, backend: see `Policy`.
    """
    _check_bin(severity - 1, 10)
    operations = space("augmix" if all_ops else "augmix_without_all_ops", 10, backend)
    choose = chains(len(operations), mixture_width, chain_depth, any_bin(severity))
    policy = Policy(operations, choose, fill, interpolation, backend)
    return AugMix(policy, mixture_width, alpha, blend="torchvision")


def argument_of(name: str, magnitude: ArrayLike | None, backend: str = "tensor") -> ArrayLike:
    """Returns the argument in `augment.OPS` of torchvision's operation at a magnitude with its
    sign; None for operations without.

    Example:
      >>> float(argument_of("Color", -0.27))  # the factor of the saturation
      0.73
    """
    if magnitude is None:
        return 0.0
    if name == "Solarize" and backend == "pillow":  # which compares with it in float64
        return np.ceil(255 * np.asarray(magnitude, np.float64))
    return _OPS[name][1](magnitude)


def space(policy: str, bins: int, backend: str = "tensor") -> tuple[Operation, ...]:
    """Returns the operations of one of the policies in `NAMES`; their levels are bins, from 0."""
    argument = functools.partial(_argument, policy, bins, backend)
    return tuple(
        Operation(name, _OPS[name][0], functools.partial(argument, name)) for name in NAMES[policy]
    )


def magnitudes(policy: str, height: int, width: int, bins: int) -> dict[str, np.ndarray | None]:
    """Returns the magnitudes of a policy's operations by bin, float32 [bins]; None for those that
    have none. The sign of those in `SIGNED` is drawn.

    Args:
      policy: a key of `NAMES`.
      height, width: size of the images in pixels.
      bins: number of magnitudes.
    """
    wide = policy == "trivial_augment_wide"
    mix = policy.startswith("augmix")
    enhance, shear = (0.99, 0.99) if wide else (0.9, 0.3)
    across, down = (
        32.0 if wide else length / 3 if mix else 150 / 331 * length for length in (width, height)
    )
    bits, range_of_bits = (4 if mix else 8), (6 if wide else 4)
    posterize = np.round(bits - np.arange(bins) / ((bins - 1) / range_of_bits))
    ends = {"ShearX": shear, "ShearY": shear, "Rotate": 135.0 if wide else 30.0}
    ends |= {"TranslateX": across, "TranslateY": down}
    ends |= dict.fromkeys(("Brightness", "Color", "Contrast", "Sharpness"), enhance)
    known = {name: np.linspace(0, end, bins, dtype=np.float32) for name, end in ends.items()}
    known["Posterize"] = posterize.astype(np.float32)
    known["Solarize"] = np.linspace(1, 0, bins, dtype=np.float32)
    return {name: known.get(name) for name in NAMES[policy]}


def any_bin(bins: int) -> Levels:
    """Returns the levels that are each of the bins with the same probability."""
    return lambda uniform: whole_number(uniform, bins).astype(jnp.float32)


def _argument(policy: str, bins: int, backend: str, name: str, setting: Setting) -> ArrayLike:
    """The argument in augment.OPS of an operation at a bin."""
    table = magnitudes(policy, setting.height, setting.width, bins)[name]
    if table is None:
        return 0.0
    level = jnp.asarray(setting.level).astype(jnp.int32)
    if name not in SIGNED:
        return jnp.asarray(argument_of(name, table, backend), jnp.float32)[level]
    return argument_of(name, jnp.asarray(table)[level] * setting.sign)


def _check_bin(magnitude: int, bins: int) -> None:
    if not 0 <= magnitude < bins:
        raise ValueError(f"magnitude={magnitude}: there are {bins} magnitudes, from 0 on")
