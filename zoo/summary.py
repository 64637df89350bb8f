"""A model layer by layer: output shapes, parameters, multiply-adds, activation memory."""

import collections
import contextlib
import csv
import dataclasses
import io
import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from zoo import macs, registry
from zoo.layers.observe import Step, observed_by

# Layers that are no modules.
STEPS = ("input", "max_pool", "average_pool", "adaptive_average_pool", "local_response_norm")
COLUMNS = (
    *("layer", "kind", "kernel", "stride", "output"),
    *("parameters", "MACs", "weights", "activations"),
)
_COUNTS = ("num_params", "macs", "num_weights")


@dataclasses.dataclass(frozen=True)
class Layer:
    """A module that has parameters or multiply-adds, or a step without them.

    Attributes:
      path: Parameter path of the module, such as "stage1_block1/conv1"; of a step, that of the
        module that takes it.
      kind: Name of its class; "input", "max_pool", "average_pool", "adaptive_average_pool" or
        "local_response_norm" of a step.
      shape: Shape of its output for one image, without the batch axis.
      num_params: Number of trainable parameters, without those of submodules.
      macs: Number of multiply-adds for one image, without those of submodules.
      kernel_size: Sides of its kernel or window, () if it has none.
      strides: Strides of these.
      num_weights: Number of its parameters without biases.
    """

    path: str
    kind: str
    shape: tuple[int, ...]
    num_params: int
    macs: int
    kernel_size: tuple[int, ...] = ()
    strides: tuple[int, ...] = ()
    num_weights: int = 0

    @property
    def activation_bytes(self) -> int:
        """Memory of the output for one image in float32, in bytes."""
        return 4 * math.prod(self.shape)


def layers(name: str, *, steps: bool = False, **overrides) -> list[Layer]:
    """The layers of the model `name` in the order of their execution.

    Nothing is computed. Multiply-adds outside of all submodules are those of the layer with path
    "", the network itself.

    Args:
      name: Name of a registered model.
      steps: Whether the input, poolings and local response normalisations are in the list too.
      **overrides: Attributes of the network to replace, as in `zoo.create`.

    Raises:
      ValueError: There is no such model.
      TypeError: The model has no such attribute.
    """
    model = registry.create(name, **overrides)
    variables = registry.abstract_variables(name, **overrides)
    size, channels = registry.info(name).image_size, registry.info(name).channels
    image = jax.ShapeDtypeStruct((1, size, size, channels), jnp.float32)
    params = variables["params"]
    found = [Layer("", "input", image.shape[1:], 0, 0)] if steps else []
    positions: dict[str, int] = {}  # of the modules' last calls in `found`
    inside: list[str] = []

    def record(call, arguments, keywords, context):
        module, path = context.module, "/".join(context.module.path)
        inside.append(path)
        output = call(*arguments, **keywords)
        inside.pop()
        if context.method_name == "__call__":
            kind, shape = type(module).__name__, jnp.shape(output)[1:]
            window = _pair(getattr(module, "kernel_size", ()))
            strides = _pair(getattr(module, "strides", 1) or 1) if window else ()
            counts = _own_parameters(params, path)
            layer = Layer(path, kind, shape, sum(counts.values()), 0, window, strides)
            biases = counts.get("bias", 0)
            found.append(dataclasses.replace(layer, num_weights=layer.num_params - biases))
            positions[path] = len(found) - 1
        return output

    def take(step: Step) -> None:
        window, strides = (_pair(side) if side else () for side in (step.window, step.strides))
        path, shape = inside[-1] if inside else "", step.output.shape[1:]
        found.append(Layer(path, step.kind, shape, 0, 0, window, strides))

    observed = observed_by(take) if steps else contextlib.nullcontext()
    with nn.intercept_methods(record), observed:
        products = macs.count_by_scope(model.apply, variables, image)
    own_macs = collections.Counter()
    for scope, count in products.items():
        own_macs[_innermost(scope, positions)] += count
    for path, position in positions.items():
        found[position] = dataclasses.replace(found[position], macs=own_macs[path])
    last = set(positions.values())  # a module that is called twice is one layer
    return [
        layer
        for position, layer in enumerate(found)
        if layer.kind in STEPS or position in last and (layer.num_params or layer.macs)
    ]


def _innermost(scope: str, paths: dict[str, Any]) -> str:
    """The longest of `paths` that a name scope such as "ResNet/stage1_block1/conv1" contains."""
    parts = [part for part in scope.split("/") if part]
    best = ""
    for start in range(len(parts)):
        for stop in range(start + 1, len(parts) + 1):
            path = "/".join(parts[start:stop])
            if path in paths and len(path) > len(best):
                best = path
    return best


def _own_parameters(params: dict, path: str) -> dict[str, int]:
    """The sizes of a module's parameters by their names."""
    for part in filter(None, path.split("/")):
        params = params.get(part, {})
    return {key: leaf.size for key, leaf in params.items() if not isinstance(leaf, dict)}


def _pair(sides: int | tuple[int, ...]) -> tuple[int, ...]:
    return (sides, sides) if isinstance(sides, int) else tuple(sides)


def table(name: str, form: str = "table") -> str:
    """The layers of the model `name`, with its input, poolings and totals.

    Args:
      name: Name of a registered model.
      form: "table" for people, "markdown", or "csv", whose activations are in bytes.

    Raises:
      ValueError: There is no such model.
    """
    found = layers(name, steps=True)
    sums: dict[str, Any] = {
        field: sum(getattr(layer, field) for layer in found) for field in _COUNTS
    }
    total = Layer("total", "", (), **sums)
    memory = [layer.activation_bytes for layer in found]
    rows = []
    for layer, bytes_ in [*zip(found, memory, strict=True), (total, sum(memory))]:
        path = layer.path or ("" if layer.kind in STEPS else "(network)")
        texts = path, layer.kind, _sides(layer.kernel_size), _strides(layer), _sides(layer.shape)
        rows.append((*texts, *(getattr(layer, field) for field in _COUNTS), bytes_))
    if form == "csv":
        file = io.StringIO()
        csv.writer(file, lineterminator="\n").writerows([COLUMNS, *rows])
        return file.getvalue().rstrip("\n")
    shown: list[tuple[str, ...]] = [COLUMNS]
    for *texts, params, products, weights, bytes_ in rows:
        numbers = (f"{params:,}", f"{products:,}", f"{weights:,}", _memory(bytes_))
        shown.append((*texts, *numbers))
    if form == "markdown":
        shown.insert(1, tuple("---" if column < 5 else "---:" for column in range(len(COLUMNS))))
        return "\n".join(f"| {' | '.join(row)} |" for row in shown)
    widths = [max(len(row[column]) for row in shown) for column in range(len(COLUMNS))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column < 5 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in shown
    )


def _sides(lengths: tuple[int, ...]) -> str:
    return "x".join(map(str, lengths))


def _strides(layer: Layer) -> str:
    """The stride, once where it is the same in both directions."""
    return str(layer.strides[0]) if len(set(layer.strides)) == 1 else _sides(layer.strides)


def _memory(count: int) -> str:
    return f"{count / 2**20:.2f} MiB" if count >= 2**20 else f"{count / 2**10:.1f} KiB"
