"""What the page shows of a network: its layers, what they make of an image, its units."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from zoo import macs
from zoo.look.inside import Inside
from zoo.look.layers import IMAGE, Layer
from zoo.look.page import encode
from zoo.look.page.steps import arrays_at, step_of

SIDE = 56  # pixels of a map's longer side, of networks whose numbers are not all in the page
MOST_MAPS = 64  # of one layer
MOST_VECTOR = 256  # entries of a layer without positions
PIXELS = 7_000_000  # of all maps
MOST_NUMBERS = 1_000_000  # floats of a network whose numbers are all in the page


class UnitPictures(NamedTuple):
    """A channel, and what it sees.

    Attributes:
      layer: Name of the layer.
      channel: Number of the channel.
      label: What it is called, such as the name of a class.
      picture: Its visualisation [H, W, C] in [0, 1].
      values: Its objective before each step and at the end.
      top: Its strongest images of a data set [H, W, C] in [0, 1].
      top_values: Their values.
      top_positions: (row, column) in the layer's map where each is strongest; () of vectors.
    """

    layer: str
    channel: int
    label: str
    picture: np.ndarray
    values: Sequence[float]
    top: Sequence[np.ndarray] = ()
    top_values: Sequence[float] = ()
    top_positions: Sequence[tuple[int, int]] = ()


def page_of(
    loaded: Any,
    seen: Inside,
    pixels: np.ndarray,
    classes: Sequence[str],
    *,
    maps: Mapping[str, np.ndarray] | None = None,
    units: Sequence[UnitPictures] = (),
    note: str = "",
    pixels_of_maps: int = PIXELS,
) -> dict[str, Any]:
    """Returns what a page shows, as JSON has it.

    Args:
      loaded: The model, its variables and `info`, as `zoo.load` gives it.
      seen: What it computes of the image.
      pixels: The part of the image that it sees, [H, W, C] in [0, 1].
      classes: A name for each class.
      maps: What in the image the class goes by, maps [h, w] by the names of the methods.
      units: Units with their visualisations.
      note: What the reader should know, such as that the weights are random.
      pixels_of_maps: Bound on the pixels of all activation maps.
    """
    shown = [name for name in seen.layers if len(seen.values[name].shape) in (1, 2, 3)]
    share = pixels_of_maps // max(1, len(shown))
    numbers = sum(x.size for x in seen.values.values())
    numbers += sum(math.prod(np.shape(x)) for x in jax.tree.leaves(loaded.variables))
    small = numbers <= MOST_NUMBERS
    counts = _counts(loaded, seen)
    names = {name: number for number, name in enumerate(seen.layers)}
    layers = []
    for layer in seen.layers.values():
        row = _facts(layer, seen, counts.get(layer.name, 0), loaded.variables)
        row["inputs"] = [names[name] for name in layer.inputs]
        row |= _activations(layer, seen, share, small)
        if layer.name != IMAGE:
            row |= _filters(layer, row.get("channels", []), loaded.variables)
        if small:
            row["values"] = encode.floats(seen.values[layer.name])
            row["step"] = step_of(layer, seen, loaded.variables)
        layers.append(row)
    logits = seen.logits.astype(np.float64)
    powers = np.exp(logits - logits.max())
    best = np.argsort(-logits, kind="stable")[:5]
    info = loaded.info
    return {
        "model": {
            "name": info.name,
            "paper": info.paper,
            "year": info.year,
            "weights": info.weights,
            "parameters": sum(
                math.prod(np.shape(x)) for x in jax.tree.leaves(loaded.variables["params"])
            ),
            "macs": sum(counts.values()),
            "bytes": sum(row["bytes"] for row in layers),
            "note": note,
        },
        "image": {"src": encode.picture(pixels, 92), "h": pixels.shape[0], "w": pixels.shape[1]},
        "target": {"number": seen.target, "name": classes[seen.target]},
        "top": [
            {"name": classes[i], "number": int(i), "p": float(powers[i] / powers.sum())}
            for i in best
        ],
        "classes": [*classes] if len(classes) <= 20 else [],
        "logits": encode.short(logits) if len(classes) <= 20 else [],
        "maps": {name: encode.sprite([_stretched(x)]) for name, x in (maps or {}).items()},
        "layers": layers,
        "units": [_unit(unit, names, seen) for unit in units],
    }


def _counts(loaded: Any, seen: Inside) -> dict[str, int]:
    """Multiply-adds by the names of layers."""
    images = jax.ShapeDtypeStruct((1, *seen.values[IMAGE].shape), jnp.float32)
    shapes = jax.eval_shape(lambda x: x, loaded.variables)
    counts: dict[str, int] = {}
    last = {layer.path: layer.name for layer in seen.layers.values() if layer.path}
    for scope, count in macs.count_by_scope(loaded.model.apply, shapes, images).items():
        path = "/".join(part for part in scope.split("/")[2:] if part and "(" not in part)
        while path and path not in last:
            path = path.rpartition("/")[0]
        inner = [name for outer, name in last.items() if outer.startswith(path)]
        name = last.get(path) or (inner[-1] if inner else "")
        counts[name] = counts.get(name, 0) + count
    return counts


def _facts(
    layer: Layer, seen: Inside, products: int, variables: Mapping[str, Any]
) -> dict[str, Any]:
    """What stands in the table of layers."""
    shape = seen.values[layer.name].shape
    own = arrays_at({"params": variables["params"]}, layer.path) if layer.settings else {}
    facts: dict[str, Any] = {
        "name": layer.name,
        "kind": layer.kind,
        "stage": layer.stage,
        "output": layer.output,
        "shape": [*shape],
        "parameters": sum(math.prod(np.shape(x)) for x in own.values()),
        "macs": products,
        "bytes": 4 * math.prod(shape),
    }
    if layer.name in seen.windows:
        window = seen.windows[layer.name]
        facts["kernel"], facts["strides"] = [*window.size], [*window.strides]
        facts["padding"], facts["dilation"] = [[*x] for x in window.padding], [*window.dilation]
        facts["groups"] = window.groups
    if layer.name in seen.fields:
        field = seen.fields[layer.name]
        whole = math.isinf(field.size)
        facts["field"] = "whole" if whole else [*map(float, field)]
    return facts


def _activations(layer: Layer, seen: Inside, share: int, small: bool) -> dict[str, Any]:
    """Maps of the channels that matter most for the class, and maps of what matters for it."""
    value, slope = seen.values[layer.name], seen.slopes[layer.name]
    maps, weights = as_map(value), as_map(slope)
    if maps is None or weights is None:
        return {}
    contributions = (maps * weights).sum((0, 1))
    count = maps.shape[-1]
    vector = maps.shape[:2] == (1, 1)
    most = MOST_VECTOR if vector else MOST_MAPS
    side = max(maps.shape[:2]) if small else min(SIDE, max(maps.shape[:2]))
    if not small and not vector:
        most = max(4, min(most, share // side**2))
    chosen = np.sort(np.argsort(-np.abs(contributions), kind="stable")[:most])
    row: dict[str, Any] = {
        "channels": chosen.tolist(),
        "count": count,
        "contributions": encode.short(contributions[chosen]),
        "map": [*maps.shape[:2]],
    }
    if vector:
        return row | {"vector": encode.short(maps[0, 0, chosen])}
    row["maps"] = encode.sprite([*np.moveaxis(encode.reduced(maps[..., chosen], side), -1, 0)])
    if layer.name == IMAGE:
        parts = {
            "gradient: largest of the channels": np.abs(slope).max(-1),
            "gradient times image": (slope * value).sum(-1),
        }
    else:
        parts = {
            "Grad-CAM": (maps * weights.mean((0, 1))).sum(-1),
            "Layer-CAM": (maps * np.maximum(weights, 0)).sum(-1),
        }
    cells = encode.reduced(np.stack([*parts.values()], axis=-1), side if small else SIDE)
    row["attribution"] = encode.sprite([*np.moveaxis(cells, -1, 0)]) | {"names": [*parts]}
    return row


def as_map(value: np.ndarray) -> np.ndarray | None:
    """Returns an output as a map [h, w, C]: tokens on their grid, vectors as 1 x 1.

    None for what is no map of one image, as windows.
    """
    if value.ndim == 3:
        return value
    if value.ndim == 1:
        return value[None, None]
    if value.ndim == 2:
        for before in (0, 1, 2):  # class token, distillation token
            side = math.isqrt(len(value) - before)
            if side > 1 and side**2 == len(value) - before:
                return value[before:].reshape(side, side, -1)
    return None


def _filters(layer: Layer, channels: Sequence[int], variables: Mapping[str, Any]) -> dict[str, Any]:
    """Kernels of the shown channels, for some of their inputs."""
    kernel = arrays_at({"params": variables["params"]}, layer.path).get("kernel")
    if kernel is None or not layer.settings or not channels or np.ndim(kernel) not in (2, 4):
        return {}
    kernel = np.asarray(kernel, np.float32)
    kernel = kernel[None, None] if kernel.ndim == 2 else kernel  # [h, w, in, out]
    if kernel.shape[-1] <= max(channels):
        return {}
    chosen = kernel[..., list(channels)]
    height, width, inputs, _ = kernel.shape
    if inputs == 3 and height > 1:
        low, high = (f(chosen, axis=(0, 1, 2), keepdims=True) for f in (np.min, np.max))
        colours = ((chosen - low) / np.maximum(high - low, 1e-12)).transpose(3, 0, 1, 2)
        return {"colours": encode.picture(np.concatenate([*colours], axis=1)), **_sides(kernel)}
    most = 16 if height * width > 1 else 128
    strengths = np.square(chosen).sum((0, 1, 3))
    strongest = np.sort(np.argsort(-strengths, kind="stable")[:most])
    cells = chosen[:, :, strongest].transpose(3, 0, 2, 1)  # [out, h, in, w]
    strips = [cell.reshape(height, -1) for cell in cells]  # the inputs beside each other
    return {
        "filters": encode.sprite(strips),
        "filter_inputs": strongest.tolist(),
        **_sides(kernel),
    }


def _sides(kernel: np.ndarray) -> dict[str, Any]:
    return {"kernel_shape": [*kernel.shape]}


def _stretched(values: np.ndarray) -> np.ndarray:
    return encode.reduced(np.asarray(values, np.float32)[..., None], 112)[..., 0]


def _unit(unit: UnitPictures, names: Mapping[str, int], seen: Inside) -> dict[str, Any]:
    values = np.asarray(unit.values)
    return {
        "layer": names[unit.layer],
        "channel": unit.channel,
        "label": unit.label,
        "src": encode.picture(unit.picture),
        "start": float(f"{values[0]:.4g}"),
        "end": float(f"{values[-1]:.4g}"),
        "steps": len(values) - 1,
        "top": [encode.picture(image, 80) for image in unit.top],
        "top_values": encode.short(unit.top_values),
        "top_positions": [[*map(int, position)] for position in unit.top_positions],
    }
