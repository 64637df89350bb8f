"""timm's policies, by its strings: "rand-m9-mstd0.5-inc1", "original-mstd0.5", "augmix-m3-w3".

Levels go from 0 to 10. Operations follow Pillow, as timm's do. A string is a name and settings:

| string                           | policy                                                 |
|----------------------------------|--------------------------------------------------------|
| rand                             | RandAugment: n2 operations, each with probability p0.5 |
| original, originalr, v0, v0r, 3a | AutoAugment: a random sub-policy                       |
| augmix                           | AugMix: w3 chains of d1 to 3 operations                |

m is the level (default 10, augmix 3), mstd the standard deviation of its normal distribution (over
100: uniform from 0 to m, the default of augmix), mmax the largest level (10), inc1 operations whose
strength increases with the level, t a set of operations (weights, 3a, 3aw).

Source: timm 1.0.31 `data/auto_augment.py`.
"""

import functools
import math
import re
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from input_pipeline.augment import autoaugment_tables as tables
from input_pipeline.augment.augmix import AugMix, chains
from input_pipeline.augment.operations import TIMM_OPS
from input_pipeline.augment.policy import (
    Choice,
    Levels,
    Operation,
    Policy,
    Scale,
    Setting,
    of_random_operations,
    of_sub_policies,
)

_ENHANCE = Scale(0.1, 1.8)
_INCREASING = Scale(1.0, 0.9, signed=True, low=0.1)
_NONE = Scale()
# Argument of each operation by its level; of TranslateX and TranslateY it depends on the image.
SCALES = {
    **dict.fromkeys(("AutoContrast", "Equalize", "Invert"), _NONE),
    **dict.fromkeys(("Color", "Contrast", "Brightness", "Sharpness"), _ENHANCE),
    "ColorIncreasing": _INCREASING,
    "ContrastIncreasing": _INCREASING,
    "BrightnessIncreasing": _INCREASING,
    "SharpnessIncreasing": _INCREASING,
    "Rotate": Scale(span=30, signed=True),
    "Posterize": Scale(span=4, whole=True),
    "PosterizeIncreasing": Scale(4, -4, whole=True, low=0),
    "PosterizeOriginal": Scale(4, 4, whole=True),
    "Solarize": Scale(span=256, whole=True, high=256),
    "SolarizeIncreasing": Scale(256, -256, whole=True, low=0),
    "SolarizeAdd": Scale(span=110, whole=True, high=128),
    "ShearX": Scale(span=0.3, signed=True),
    "ShearY": Scale(span=0.3, signed=True),
    "Desaturate": Scale(0.5, 0.5, high=1),
    "GaussianBlur": Scale(0.1, 1.9, high=2),
    "GaussianBlurRand": Scale(span=1, high=1),
}

_PLAIN = (
    *("AutoContrast", "Equalize", "Invert", "Rotate", "Posterize", "Solarize", "SolarizeAdd"),
    *("Color", "Contrast", "Brightness", "Sharpness", "ShearX", "ShearY"),
    *("TranslateXRel", "TranslateYRel"),
)
_HAVE_INCREASING = ("Posterize", "Solarize", "Color", "Contrast", "Brightness", "Sharpness")
_STRONGER = tuple(f"{name}Increasing" if name in _HAVE_INCREASING else name for name in _PLAIN)
_AUGMIX = (
    *("AutoContrast", "ColorIncreasing", "ContrastIncreasing", "BrightnessIncreasing"),
    *("SharpnessIncreasing", "Equalize", "Rotate", "PosterizeIncreasing", "SolarizeIncreasing"),
    *("ShearX", "ShearY", "TranslateXRel", "TranslateYRel"),
)
# Sets of operations that `t` names; with weights, operations are drawn without replacement.
_WEIGHTS = {
    "weights": {
        **{"Rotate": 3, "ShearX": 2, "ShearY": 2, "TranslateXRel": 1, "TranslateYRel": 1},
        **dict.fromkeys(("ColorIncreasing", "SharpnessIncreasing", "AutoContrast"), 0.25),
        **dict.fromkeys(("SolarizeIncreasing", "SolarizeAdd", "ContrastIncreasing"), 0.05),
        **dict.fromkeys(("BrightnessIncreasing", "Equalize", "PosterizeIncreasing"), 0.05),
        "Invert": 0.05,
    },
    "3aw": {
        **{"SolarizeIncreasing": 6, "Desaturate": 6, "GaussianBlur": 6},
        **{"Rotate": 3, "ShearX": 2, "ShearY": 2},
        **dict.fromkeys(("PosterizeIncreasing", "AutoContrast", "ColorIncreasing"), 1),
        **dict.fromkeys(("SharpnessIncreasing", "ContrastIncreasing", "BrightnessIncreasing"), 1),
        **dict.fromkeys(("Equalize", "Invert"), 1),
    },
}
_THREE = ("SolarizeIncreasing", "Desaturate", "GaussianBlur")

_ROUNDED_UP = {"PosterizeOriginal": "PosterizeIncreasing", "Posterize": "PosterizeIncreasing"}
SUB_POLICIES = {
    "original": tables.ORIGINAL,
    "originalr": tables.renamed(tables.ORIGINAL, _ROUNDED_UP),
    "v0": tables.V0,
    "v0r": tables.renamed(tables.V0, _ROUNDED_UP),
    "3a": tables.THREE_AUGMENT,
}
# The settings that each kind of string may have, and their defaults.
_SETTINGS = {
    "rand": {"m": 10.0, "n": 2.0, "p": 0.5, "mstd": 0.0, "mmax": 10.0, "inc": 0.0},
    "augmix": {"m": 3.0, "w": 3.0, "d": -1.0, "a": 1.0, "b": 0.0, "mstd": math.inf},
} | dict.fromkeys(SUB_POLICIES, {"mstd": 0.0})


def is_timm(name: str) -> bool:
    """Whether a policy's name is one of timm's strings."""
    return name.partition("-")[0] in _SETTINGS and name != "augmix"  # which is torchvision's


def timm_policy(
    name: str,
    *,
    interpolation: str = "random",
    fill: float | tuple[float, ...] | None = (128.0, 128.0, 128.0),
    backend: str = "pillow",
) -> Policy | AugMix:
    """Returns the policy of a string.

    Args:
      name: such as "rand-m9-mstd0.5-inc1".
      interpolation, fill, backend: see `Policy`. timm's training programs take the interpolation of
        the training crop and the mean colour.

    Raises:
      ValueError: there is no such policy, or it has no such setting.
    """
    kind, settings, chosen = parse(name)
    if kind == "augmix":
        level = _levels(settings["m"], settings["mstd"], 10)
        choose = chains(len(_AUGMIX), int(settings["w"]), int(settings["d"]), level)
        policy = Policy(_space(_AUGMIX, 0.3), choose, fill, interpolation, backend)
        return AugMix(
            policy,
            width=int(settings["w"]),
            alpha=settings["a"],
            blend="chain" if settings["b"] else "timm",
        )
    if kind in SUB_POLICIES:
        sub_policies = SUB_POLICIES[kind]
        names = tuple(dict.fromkeys(name for rows in sub_policies for name, _, _ in rows))
        choose = _with_noise(of_sub_policies(sub_policies, names), settings["mstd"])
        return Policy(_space(names), choose, fill, interpolation, backend)
    names = _names(chosen, bool(settings["inc"]))
    weights = _WEIGHTS.get(chosen)
    choose = of_random_operations(
        count=len(names),
        length=int(settings["n"]),
        level=_levels(settings["m"], settings["mstd"], settings["mmax"]),
        probability=settings["p"],
        weights=tuple(float(weight) for weight in weights.values()) if weights else None,
    )
    return Policy(_space(names), choose, fill, interpolation, backend)


def parse(name: str) -> tuple[str, dict[str, float], str]:
    """Returns the kind of a string, its settings with their defaults, and what `t` names.

    Raises:
      ValueError: there is no such policy or setting.

    Example:
      >>> parse("rand-m9-inc1")[1]["m"]
      9.0
    """
    kind, *parts = name.split("-")
    if kind not in _SETTINGS:
        raise ValueError(f"{name}: the policies of timm begin with {', '.join(_SETTINGS)}")
    settings, chosen = dict(_SETTINGS[kind]), ""
    for part in parts:
        match = re.fullmatch(r"([a-z]+)(\d+(?:\.\d+)?|inf)", part)
        if kind == "rand" and part.startswith("t"):
            chosen = part[1:]
        elif match and match[1] in settings:
            settings[match[1]] = float(match[2])
        else:
            raise ValueError(
                f"{name}: {part} is not understood; {kind} has {', '.join(settings)}, each with a "
                "number after it"
            )
    if settings["mstd"] > 100:
        settings["mstd"] = math.inf  # uniform
    return kind, settings, chosen


def argument(name: str, setting: Setting, translate: float = 0.45) -> jax.Array:
    """Returns the argument that timm gives to an operation at a level.

    Args:
      name: such as "ColorIncreasing".
      setting: level from 0 to 10, sign, and size of the image.
      translate: largest translation as a share of the image's size.
    """
    if name == "GaussianBlurRand":  # the largest radius; the radius itself is drawn
        return SCALES[name](setting.level)
    span = translate
    if name in ("TranslateX", "TranslateY"):
        span = float(int(min(setting.height, setting.width) * 0.45))
    scale = SCALES.get(name) or Scale(span=span, signed=True)
    return scale(setting.level, setting.sign)


def _space(names: tuple[str, ...], translate: float = 0.45) -> tuple[Operation, ...]:
    def operation(name: str) -> Operation:
        op, _ = TIMM_OPS[name]
        return Operation(name, op, functools.partial(_own_argument, name, translate))

    return tuple(map(operation, names))


def _own_argument(name: str, translate: float, setting: Setting) -> ArrayLike:
    """The argument in augment.OPS."""
    value = argument(name, setting, translate)
    if name == "GaussianBlurRand":
        value = 0.1 + setting.uniform * (2 * value - 0.1)
    _, convert = TIMM_OPS[name]
    return convert(value, setting.height, setting.width)


def _names(chosen: str, increasing: bool) -> tuple[str, ...]:
    if chosen in _WEIGHTS:
        return tuple(_WEIGHTS[chosen])
    if chosen not in ("", "3a"):
        raise ValueError(f"t{chosen} is no set of operations: there are tweights, t3a and t3aw")
    return _THREE if chosen == "3a" else _STRONGER if increasing else _PLAIN


def _levels(level: ArrayLike, std: float, largest: float) -> Levels:
    """Levels that are normally distributed, or uniform from 0 if `std` is infinite."""

    def draw(uniform: jax.Array) -> jax.Array:
        if math.isinf(std):
            levels = level * uniform
        else:
            levels = level + std * jax.scipy.special.ndtri(uniform) if std else level
        return jnp.clip(jnp.broadcast_to(levels, uniform.shape), 0, largest)

    return draw


def _with_noise(choose: Callable, std: float) -> Callable:
    """`choose` with levels that vary."""
    if not std:
        return choose

    def noisy(key: jax.Array) -> Choice:
        choice = choose(key)
        uniform = jax.random.uniform(jax.random.fold_in(key, 1), choice.level.shape)
        return choice._replace(level=_levels(choice.level, std, 10)(uniform))

    return noisy
