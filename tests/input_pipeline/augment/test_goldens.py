"""All operations equal their references, within the bounds that the README of the goldens states.

Cases of one operation and image run together, each image of the batch with its own parameters.
"""

import functools
import itertools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from input_pipeline import augment

EXACT = {
    *("horizontal_flip", "vertical_flip", "crop", "center_crop", "five_crop", "ten_crop", "pad"),
    *("zoom_out", "permute_channels", "erase", "invert", "posterize", "solarize", "equalize"),
}
COORDINATES_ARE_ROUNDED = {"rotate", "affine", "perspective"}
# The parameters that an image can have of its own; all others are the same for a batch.
OF_IMAGE = {
    "adjust_brightness": ["brightness_factor"],
    "adjust_contrast": ["contrast_factor"],
    "adjust_saturation": ["saturation_factor"],
    "adjust_sharpness": ["sharpness_factor"],
    "adjust_hue": ["hue_factor"],
    "adjust_gamma": ["gamma", "gain"],
    "rotate": ["angle"],
    "affine": ["angle", "translate", "scale", "shear"],
    "perspective": ["startpoints", "endpoints"],
    "gaussian_blur": ["sigma"],
    "posterize": ["bits"],
    "solarize": ["threshold"],
    "resized_crop": ["top", "left", "height", "width"],
    "erase": ["i", "j", "h", "w"],
}
PAIRS = ("translate", "shear", "sigma")  # (x, y)


def image_cases(folder):
    """{"rotate-photo_a": cases}: those of one operation, image, convention and other parameters."""
    path = folder / "image_ops.json"
    cases = json.loads(path.read_text()) if path.is_file() else []
    stored = np.load(folder / "image_ops.npz").files if cases else []
    cases = [case | {"backend": "tensor"} for case in cases]
    cases += [c | {"backend": "pillow"} for c in cases if f"{c['id']}:pillow" in stored]
    groups: dict[str, list] = {}
    for case in cases:
        name = f"{case['op']}-{case['input']}-{case['backend']}"
        static = json.dumps(shared_parameters(case), sort_keys=True)
        groups.setdefault(f"{name}-{static}", []).append(case)
    numbers = itertools.count()
    groups = {f"{name.partition('-{')[0]}-{next(numbers)}": v for name, v in groups.items()}
    return by_turns(groups, lambda case: (case["op"], case["backend"]))


def by_turns(groups: dict[str, list], kind) -> dict:
    """By default the first group of each kind is run, with `-m recipe_goldens` all are."""
    seen, marked = set(), {}
    for name, cases in groups.items():
        first = kind(cases[0]) not in seen
        seen.add(kind(cases[0]))
        marked[name] = cases if first else pytest.param(cases, marks=pytest.mark.full)
    return marked


def own_names(case) -> list[str]:
    return [] if case["params"].get("expand") else OF_IMAGE.get(case["op"], [])


def shared_parameters(case) -> dict:
    return {k: v for k, v in case["params"].items() if k not in own_names(case)}


@pytest.mark.recipe_goldens(cases=image_cases)
@pytest.mark.usefixtures("quick_compilation")
def test_an_operation_gives_the_picture_of_its_reference(cases, recipe_goldens, read_image):
    op, backend, shared = cases[0]["op"], cases[0]["backend"], shared_parameters(cases[0])
    image = read_image(cases[0]["input"])
    if op == "elastic":
        shared["displacement"] = displacement(shared.pop("seed"), shared.pop("strength"), image)
    if backend == "pillow":
        shared["backend"] = "pillow"
    own = {name: own_values(name, cases) for name in own_names(cases[0])}
    function = jax.jit(functools.partial(getattr(augment, op), **shared))
    images = np.stack([image] * len(cases))
    results = np.moveaxis(np.asarray(function(images, **own)), -4, 0)
    expected = np.load(recipe_goldens / "image_ops.npz")
    for result, case in zip(results, cases, strict=True):
        name = case["id"] + (":pillow" if backend == "pillow" else "")
        check(result, expected[name], case)


def own_values(name: str, cases):
    values = np.asarray([case["params"][name] for case in cases])
    return tuple(jnp.asarray(column) for column in values.T) if name in PAIRS else values


def displacement(seed: int, strength: float, image: np.ndarray) -> np.ndarray:
    height, width, _ = image.shape
    noise = np.random.RandomState(seed).uniform(-1, 1, (height + 8, width + 8, 2))
    mean = np.lib.stride_tricks.sliding_window_view(noise, (9, 9), (0, 1)).mean((-1, -2))
    return (mean * strength / (width / 2, height / 2)).astype(np.float32)


def check(result: np.ndarray, expected: np.ndarray, case) -> None:
    op, interpolation = case["op"], case["params"].get("interpolation", "")
    assert result.dtype == case["dtype"] and list(result.shape) == case["shape"]
    difference = np.abs(result.astype(np.float64) - expected)
    if op in COORDINATES_ARE_ROUNDED and interpolation == "nearest":
        assert (difference.max(-1) > 0).mean() <= 0.005, case["id"]
        return
    exact = op in EXACT or (op == "resize" and interpolation.startswith("nearest"))
    assert difference.max() <= (0 if exact else case.get("tolerance", 1)), case["id"]


def timm_cases(folder):
    """{"Rotate-bicubic": cases}: those of one operation, image and interpolation."""
    path = folder / "timm_ops.json"
    groups: dict[str, list] = {}
    for case in json.loads(path.read_text()) if path.is_file() else []:
        key = f"{case['op']}-{case['input']}-{case['interpolation']}-{case['fill']}"
        groups.setdefault(key, []).append(case)
    return by_turns(groups, lambda case: augment.TIMM_OPS[case["op"]][0])


@pytest.mark.recipe_goldens(cases=timm_cases)
@pytest.mark.usefixtures("quick_compilation")
def test_timms_operations_give_the_pictures_of_timm(cases, recipe_goldens, read_image):
    first, expected = cases[0], np.load(recipe_goldens / "timm_ops.npz")
    images = np.stack([read_image(first["input"])] * len(cases))
    arguments = None if first["arg"] is None else jnp.asarray([case["arg"] for case in cases])
    results = jax.jit(
        lambda images, arguments: augment.timm_op(
            images,
            first["op"],
            arguments,
            interpolation=first["interpolation"] or "bilinear",
            fill=first["fill"],
        )
    )(images, arguments)
    for result, case in zip(np.asarray(results), cases, strict=True):
        assert list(result.shape) == case["shape"]
        most = np.abs(result.astype(int) - expected[case["id"]]).max()
        assert most <= (2 if case["op"] == "GaussianBlur" else 1), case["id"]
