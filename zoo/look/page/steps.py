"""How the numbers of a small network's layers are made: what the page multiplies and adds."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from zoo.look.inside import Inside
from zoo.look.layers import Layer
from zoo.look.page.encode import floats


def step_of(layer: Layer, seen: Inside, variables: Mapping[str, Any]) -> dict[str, Any] | None:
    """Returns the kind of a layer's arithmetic and its parameters; None where it is not known.

    The kinds: "conv", "dense", "norm", "relu", "max", "average", "sum", "mean", "flatten".
    """
    shapes = [seen.values[name].shape for name in layer.inputs]
    if not shapes:
        return None
    if layer.kind == "sum" and len(shapes) > 1:
        alike = all(shape == seen.values[layer.name].shape for shape in shapes)
        return {"type": "sum"} if alike else None
    if len(shapes) != 1:
        return None
    if layer.kind in ("relu", "relu6"):
        return {"type": "relu", "most": 6 if layer.kind == "relu6" else None}
    if layer.kind == "flatten":
        return _flatten(seen.values[layer.inputs[0]], seen.values[layer.name])
    if layer.kind in ("mean", "global_average_pool") and len(shapes[0]) == 3:
        return {"type": "mean"}
    if layer.kind in ("max_pool", "average_pool") and layer.name in seen.windows:
        return {"type": layer.kind.removesuffix("_pool"), **_numbers(layer.name, seen)}
    return _of_module(layer, shapes[0], seen, variables)


def _of_module(
    layer: Layer, given: tuple[int, ...], seen: Inside, variables: Mapping[str, Any]
) -> dict[str, Any] | None:
    own = {key: np.asarray(x) for key, x in arrays_at(variables, layer.path).items()}
    kernel = own.get("kernel")
    if kernel is not None and kernel.ndim == 4 and layer.name in seen.windows:
        window = seen.windows[layer.name]
        if kernel.shape[:3] != (*window.size, given[-1] // window.groups):
            return None
        return {"type": "conv", **_numbers(layer.name, seen), **_encoded(own, "kernel", "bias")}
    if kernel is not None and kernel.ndim == 2 and kernel.shape[0] == given[-1]:
        return {"type": "dense", **_encoded(own, "kernel", "bias")}
    if layer.kind == "BatchNorm" and "mean" in own and "var" in own:
        epsilon = layer.settings["epsilon"]
        return {"type": "norm", "epsilon": epsilon, **_encoded(own, "mean", "var", "scale", "bias")}
    return None


def arrays_at(variables: Mapping[str, Any], path: str) -> dict[str, Any]:
    """Returns a module's own parameters and statistics by their names."""
    found: dict[str, Any] = {}
    for collection in variables.values():
        for part in path.split("/"):
            collection = collection.get(part, {}) if isinstance(collection, Mapping) else {}
        if isinstance(collection, Mapping):
            found |= {key: x for key, x in collection.items() if not isinstance(x, Mapping)}
    return found


def _flatten(given: np.ndarray, made: np.ndarray) -> dict[str, Any] | None:
    if given.ndim != 3:
        return None
    if np.array_equal(given.transpose(2, 0, 1).ravel(), made):
        return {"type": "flatten", "channels_first": True}
    same = np.array_equal(given.ravel(), made)
    return {"type": "flatten", "channels_first": False} if same else None


def _encoded(own: Mapping[str, np.ndarray], *keys: str) -> dict[str, str]:
    return {key: floats(own[key]) for key in keys if key in own}


def _numbers(name: str, seen: Inside) -> dict[str, Any]:
    window = seen.windows[name]
    return {
        "size": [*map(int, window.size)],
        "strides": [*map(int, window.strides)],
        "padding": [[*map(int, pair)] for pair in window.padding],
        "dilation": [*map(int, window.dilation)],
        "groups": int(window.groups),
    }
