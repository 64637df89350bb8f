"""What is worth a look: maps of what a class goes by, and which units to draw."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from zoo.layers.blocks import unstack_blocks
from zoo.look import attention, attribution, fourier, objectives, robustness
from zoo.look.inside import Inside
from zoo.look.layers import IMAGE, LOGITS
from zoo.look.visualisation import Visualised, visualise
from zoo.preprocess import Preprocessing


def apart(model: nn.Module, variables: Any) -> tuple[nn.Module, Any]:
    """Returns the same network with all of its blocks apart, so that each layer can be looked at.

    Blocks that were trained in a scan, or rematerialised, are so no more.
    """
    flags: dict[str, Any] = {key: False for key in ("scan", "remat") if getattr(model, key, False)}
    if not flags:
        return model, variables
    if "scan" in flags:
        variables = unstack_blocks(variables)
    return model.clone(**flags), variables


def attributions(
    model: nn.Module, variables: Any, image: np.ndarray, seen: Inside
) -> dict[str, np.ndarray]:
    """Returns maps [h, w] of what in the image the class goes by, by the names of the methods.

    Those that do not fit the network, as guided backpropagation without ReLUs, are left out.
    """
    images, targets = jnp.asarray(image)[None], jnp.asarray([seen.target])
    slope, value = seen.slopes[IMAGE], seen.values[IMAGE]
    found = {"saliency": np.abs(slope).max(-1), "gradient times image": (slope * value).sum(-1)}
    stages = [
        layer.name
        for layer in seen.layers.values()
        if layer.output.startswith("stage") and seen.values[layer.name].ndim == 3
    ]
    # Of a transformer's last block the class token alone may be read.
    for name in [name for name in stages if seen.slopes[name].any()][-1:]:
        value, slope = seen.values[name], seen.slopes[name]
        found["Grad-CAM"] = (value * slope.mean((0, 1))).sum(-1)
        found["Layer-CAM"] = (value * np.maximum(slope, 0)).sum(-1)
    ways: dict[str, Callable[..., Any]] = {
        "integrated gradients": lambda *case: (
            attribution.integrated_gradients(*case, steps=16).values
        ),
        "guided backpropagation": attribution.guided_backprop,
        "relevance of tokens": lambda *case: attention.relevance(*case).map,
        "rollout of attention": lambda *case: attention.rollout(*case[:3]).map,
    }
    for name, way in ways.items():
        try:
            compiled = jax.jit(functools.partial(way, model))
            result = np.asarray(compiled(variables, images, targets))
        except ValueError:  # it does not fit the network
            continue
        found[name] = np.abs(result[0]).max(-1) if result[0].ndim == 3 else result[0]
    return found


def choose_units(seen: Inside, count: int) -> list[tuple[str, int]]:
    """Returns units that matter for the class, as (layer, channel), the layers by turns.

    First the class itself, then of the last stage the channel that contributes most to it, of the
    stage before, and so on to the stem; then the next class, and so on.
    """
    names = [
        layer.name
        for layer in seen.layers.values()
        if layer.output and layer.output not in (LOGITS, "embedding")
        if seen.values[layer.name].ndim == 3 and seen.slopes[layer.name].any()
    ]
    last = next(layer.name for layer in seen.layers.values() if layer.output == LOGITS)
    orders = {last: np.argsort(-seen.logits, kind="stable")}
    for name in reversed(names):
        contributions = (seen.values[name] * seen.slopes[name]).sum((0, 1))
        orders[name] = np.argsort(-contributions, kind="stable")
    found = [
        (name, int(order[place]))
        for place in range(count)
        for name, order in orders.items()
        if place < len(order)
    ]
    return found[:count]


def objective_of(seen: Inside, layer: str, channel: int) -> objectives.Objective:
    """What the picture of a unit is made for: a logit, or the mean of a channel."""
    if seen.layers[layer].output == LOGITS:
        return objectives.logit(channel)
    return objectives.channel(layer, channel)


def visualise_units(
    model: nn.Module,
    variables: Any,
    preprocessing: Preprocessing,
    wanted: Sequence[objectives.Objective],
    key: jax.Array,
    *,
    size: int | None = None,
    steps: int = 256,
    learning_rate: float = 0.05,
    progress: Callable[[int], object] | None = None,
) -> Visualised:
    """Draws a picture for each objective, all of them at once.

    Args:
      model: Unbound network.
      variables: Its variables.
      preprocessing: Says how images become its input.
      wanted: The objectives.
      key: Determines the pictures.
      size: Side of the pictures in pixels; that of the network's images by default.
      steps, learning_rate, progress: See `visualise`.
    """
    size = size or preprocessing.image_size
    image = fourier.FourierImage(size, size, preprocessing.channels)
    first, second = jax.random.split(key)
    return visualise(
        *(model, variables, objectives.each(wanted), image, image.init(first, len(wanted))),
        normalise=lambda pixels: preprocessing.normalize(255 * pixels),
        key=second,
        transform=robustness.standard if size >= 64 else robustness.gentle,
        steps=steps,
        learning_rate=learning_rate,
        progress=progress,
    )


def field_of(seen: Inside, layer: str, position: tuple[int, int], least: int = 32) -> slice | Any:
    """Returns the (rows, columns) of the image that a position sees; all where that is most of it.

    Args:
      seen: See `Inside`.
      layer: Name of a layer.
      position: (row, column) in its map.
      least: Side in pixels that a part has at least.
    """
    height, width = seen.values[IMAGE].shape[:2]
    field = seen.fields.get(layer)
    if field is None or not math.isfinite(field.size) or field.size >= min(height, width):
        return slice(None), slice(None)
    sides = []
    for place, side in zip(position, (height, width), strict=True):
        length = min(side, max(least, int(field.size)))
        middle = field.start + place * field.stride + field.size / 2
        start = int(min(side - length, max(0, round(middle - length / 2))))
        sides.append(slice(start, start + length))
    return tuple(sides)
