"""A model layer by layer: output shapes, parameters, multiply-adds, activation memory."""

import collections
import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from zoo import macs, registry


@dataclasses.dataclass(frozen=True)
class Layer:
    """A module that has parameters or multiply-adds.

    Attributes:
      path: Parameter path of the module, such as "stage1_block1/conv1".
      kind: Name of its class.
      shape: Shape of its output for one image, without the batch axis.
      num_params: Number of trainable parameters, without those of submodules.
      macs: Number of multiply-adds for one image, without those of submodules.
    """

    path: str
    kind: str
    shape: tuple[int, ...]
    num_params: int
    macs: int

    @property
    def activation_bytes(self) -> int:
        """Memory of the output for one image in float32, in bytes."""
        return 4 * math.prod(self.shape)


def layers(name: str, **overrides) -> list[Layer]:
    """The layers of the model `name` in the order of their execution.

    Nothing is computed. Multiply-adds outside of all submodules are those of the layer with path
    "", the network itself.

    Args:
      name: Name of a registered model.
      **overrides: Attributes of the network to replace, as in `zoo.create`.

    Raises:
      ValueError: There is no such model.
      TypeError: The model has no such attribute.
    """
    model = registry.create(name, **overrides)
    variables = registry.abstract_variables(name, **overrides)
    size, channels = registry.info(name).image_size, registry.info(name).channels
    image = jax.ShapeDtypeStruct((1, size, size, channels), jnp.float32)
    calls: dict[str, tuple[str, tuple[int, ...]]] = {}

    def record(call, arguments, keywords, context):
        output = call(*arguments, **keywords)
        if context.method_name == "__call__":
            path = "/".join(context.module.path)
            calls[path] = type(context.module).__name__, jnp.shape(output)
        return output

    with nn.intercept_methods(record):
        products = macs.count_by_scope(model.apply, variables, image)
    own_macs = collections.Counter()
    for scope, count in products.items():
        own_macs[_innermost(scope, calls)] += count
    found = [
        Layer(path, kind, shape[1:], _own_parameters(variables["params"], path), own_macs[path])
        for path, (kind, shape) in calls.items()
    ]
    return [layer for layer in found if layer.num_params or layer.macs]


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


def _own_parameters(params: dict, path: str) -> int:
    for part in filter(None, path.split("/")):
        params = params.get(part, {})
    return sum(leaf.size for leaf in params.values() if not isinstance(leaf, dict))


def table(name: str) -> str:
    """The layers of the model `name` as a text table, with totals.

    Raises:
      ValueError: There is no such model.
    """
    rows = [("layer", "kind", "output", "parameters", "MACs", "activations")]
    found = layers(name)
    for layer in found:
        shape = "x".join(map(str, layer.shape))
        numbers = (f"{layer.num_params:,}", f"{layer.macs:,}", _memory(layer.activation_bytes))
        rows.append((layer.path or "(network)", layer.kind, shape, *numbers))
    params, products = (sum(getattr(x, field) for x in found) for field in ("num_params", "macs"))
    memory = sum(layer.activation_bytes for layer in found)
    rows.append(("total", "", "", f"{params:,}", f"{products:,}", _memory(memory)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column < 3 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def _memory(count: int) -> str:
    return f"{count / 2**20:.2f} MiB" if count >= 2**20 else f"{count / 2**10:.1f} KiB"
