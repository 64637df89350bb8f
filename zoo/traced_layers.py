"""The layers of a model, written down while it is traced: nothing is computed."""

import collections
import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import traverse_util
from jax.extend import core

from zoo import macs, registry
from zoo.kernels import platform
from zoo.layers.observe import Step, observed_by
from zoo.look.receptive_field import ReceptiveField, fields_of
from zoo.stages import STAGE

# Layers that are no modules.
STEPS = (
    *("input", "max_pool", "average_pool", "adaptive_average_pool", "global_average_pool"),
    *("local_response_norm", "flatten"),
)
_SOWN = "summary"  # the collection in which the outputs of modules are kept while tracing


@dataclasses.dataclass(frozen=True)
class Layer:
    """A module that has parameters or multiply-adds, or a step without them.

    Attributes:
      path: Parameter path of the module, such as "stage1_block1/conv1"; of a step, that of the
        module that takes it.
      kind: Name of its class; one of `STEPS`, such as "input" or "max_pool", of a step.
      shape: Shape of its output for one image, without the batch axis.
      num_params: Number of trainable parameters, without those of submodules.
      macs: Number of multiply-adds for one image, without those of submodules.
      kernel_size: Sides of its kernel or window, () if it has none.
      strides: Strides of these.
      num_weights: Number of its parameters without biases.
      padding: Pixels before and after the rows and the columns, () if it has no window.
      field: What its positions see of the image; None where they are no map, or it is not known.
      stage: Stage of the network that it belongs to: "stem", "stage1", ..., "head".
      itemsize: Bytes of each value of the output.
    """

    path: str
    kind: str
    shape: tuple[int, ...]
    num_params: int
    macs: int
    kernel_size: tuple[int, ...] = ()
    strides: tuple[int, ...] = ()
    num_weights: int = 0
    padding: tuple[tuple[int, int], ...] = ()
    field: ReceptiveField | None = None
    stage: str = ""
    itemsize: int = 4

    @property
    def activation_bytes(self) -> int:
        """Memory of the output for one image, in bytes; a flattened map is its input once more."""
        return 0 if self.kind == "flatten" else self.itemsize * math.prod(self.shape)

    def training_bytes(self, batch: int = 1) -> int:
        """Memory in training by SGD with momentum, in bytes, as it is counted by hand.

        The outputs of all images and their gradients, which the images themselves have not; the
        parameters, their gradients and momentum in float32. Compiled programs join layers and need
        less of the former: `train.plan` says how much.
        """
        with_gradients = 1 if self.kind == "input" else 2
        return with_gradients * batch * self.activation_bytes + 3 * 4 * self.num_params


class Traced(NamedTuple):
    """The layers of a network, and what its stages give.

    Attributes:
      layers: The layers in the order of their execution.
      outputs: Shape for one image and receptive field of each stage, by its name.
    """

    layers: list[Layer]
    outputs: dict[str, tuple[tuple[int, ...], ReceptiveField | None]]


def layers(
    name: str, *, steps: bool = False, image_size: int | None = None, **overrides: Any
) -> list[Layer]:
    """The layers of the model `name` in the order of their execution.

    Nothing is computed. Multiply-adds outside of all submodules are those of the layer with path
    "", the network itself.

    Args:
      name: Name of a registered model.
      steps: Whether the input, poolings, local response normalisations and flattenings are in the
        list too.
      image_size: Side of the square images in pixels; by default the model's own.
      **overrides: Attributes of the network to replace, as in `zoo.create`.

    Raises:
      ValueError: There is no such model, or it takes no images of this size.
      TypeError: The model has no such attribute.
    """
    return trace(name, steps=steps, image_size=image_size, **overrides).layers


def trace(
    name: str, *, steps: bool = False, image_size: int | None = None, **overrides: Any
) -> Traced:
    """The layers of the model `name`, and its stages; see `layers`."""
    model, info = registry.create(name, **overrides), registry.info(name)
    variables = registry.abstract_variables(name, image_size, **overrides)
    size = image_size or info.image_size
    image = jax.ShapeDtypeStruct((1, size, size, info.channels), jnp.float32)
    recorded = _record(model, variables, image, ["intermediates", _SOWN])
    stages = recorded.stages()
    fields = recorded.fields()
    sown = recorded.state["intermediates"]
    named = {key: value[0].shape[1:] for key, value in sown.items() if STAGE.fullmatch(key)}
    outputs = {key: (shape, fields.get(f"/{key}")) for key, shape in named.items()}
    if getattr(model, "auxiliary", False):  # heads that evaluation leaves out, and sowing does not
        recorded = _record(model, variables, image, [_SOWN])
        fields = recorded.fields()
    found, positions = recorded.found, recorded.positions
    own_macs = collections.Counter()
    for scope, count in macs.of_program(recorded.program).items():
        own_macs[_innermost(scope, positions)] += count
    last = set(positions.values())  # a module that is called twice is one layer
    listed = []
    for number, (key, layer) in enumerate(_by_key(found)):
        total = own_macs[layer.path] if number in last else 0
        if (steps and layer.kind in STEPS) or number in last and (layer.num_params or total):
            field = fields.get(f"{layer.path}/{number}".lstrip("/"), layer.field)
            facts = dict(macs=total, field=field, stage=stages.get(key, "head"))
            listed.append(dataclasses.replace(layer, **facts))
    return Traced(listed, outputs)


def _record(model: nn.Module, variables: Any, image: Any, sown: Sequence[str]) -> "_Recorder":
    """Traces a network in the form for accelerators, and writes down its layers."""
    recorder = _Recorder(variables["params"], image.shape)
    observed = nn.intercept_methods(recorder.call), observed_by(recorder.take)
    with platform.tracing(platform.NATIVE), observed[0], observed[1]:
        traced, (_, recorder.state) = jax.make_jaxpr(
            lambda *given: model.apply(*given, mutable=sown), return_shape=True
        )(variables, image)
    recorder.program = traced.jaxpr
    return recorder


def _by_key(found: Sequence[Layer]) -> Iterator[tuple[tuple[str, str, int], Layer]]:
    """Layers with what tells them from others: path, kind, and the how manieth of these it is."""
    count = collections.Counter()
    for layer in found:
        count[layer.path, layer.kind] += 1
        yield (layer.path, layer.kind, count[layer.path, layer.kind]), layer


class _Recorder:
    """Writes down the layers of a network while it is traced.

    Attributes:
      found: The layers so far.
      positions: Position in `found` of each module's last call, by its path.
      program: The network's program, once it is traced.
      state: Shapes of what was sown, likewise.
    """

    program: core.Jaxpr
    state: Any

    def __init__(self, params: dict, image: tuple[int, ...]):
        field = ReceptiveField(1, 1, 0)
        self.found = [Layer("", "input", image[1:], 0, 0, field=field)]
        self.positions: dict[str, int] = {}
        self._params = params
        self._inside: list[nn.Module] = []
        self._stages: list[list[str]] = [[]]  # what the network had sown when each was found

    def call(self, method: Callable, arguments: Sequence, keywords: dict, context: Any) -> Any:
        """Calls a method of a module and writes it down."""
        module, path = context.module, "/".join(context.module.path)
        self._inside.append(module)
        output = method(*arguments, **keywords)
        self._inside.pop()
        if context.method_name == "__call__" and (outputs := jax.tree.leaves(output)):
            window = _pair(getattr(module, "kernel_size", ()))
            strides = _pair(getattr(module, "strides", 1) or 1) if window else ()
            padding = getattr(module, "padding", ())
            dilation = getattr(module, "kernel_dilation", 1)
            size = getattr(arguments[0], "shape", ())[1:-1] if arguments else ()
            counts = _own_parameters(self._params, path)
            layer = Layer(
                path,
                type(module).__name__,
                outputs[0].shape[1:],
                sum(counts.values()),
                0,
                window,
                strides,
                num_weights=sum(counts.values()) - counts.get("bias", 0),
                padding=_pads(padding, size, window, strides, dilation),
                itemsize=outputs[0].dtype.itemsize,
            )
            self.positions[path] = len(self.found)
            self._add(layer, module, outputs[0])
        return output

    def take(self, step: Step) -> None:
        """Writes down a step that is no module."""
        module = self._inside[-1]
        window, strides = (_pair(side) if side else () for side in (step.window, step.strides))
        padding = _pads(step.padding, step.input_size, window, strides, 1)
        path, shape, item = "/".join(module.path), step.output.shape[1:], step.output.dtype.itemsize
        layer = Layer(path, step.kind, shape, 0, 0, window, strides, padding=padding, itemsize=item)
        self._add(layer, module, step.output)

    def _add(self, layer: Layer, module: nn.Module, output: jax.Array) -> None:
        module.sow(_SOWN, str(len(self.found)), output)
        network = self._inside[0] if self._inside else module
        self._stages.append(
            list(filter(STAGE.fullmatch, network.variables.get("intermediates", ())))
        )
        self.found.append(layer)

    def stages(self) -> dict[tuple[str, str, int], str]:
        """The stage of each layer, see `_by_key`: by its path, or by what the network sows next."""
        names = self._stages[-1]
        found = {}
        for number, (key, layer) in enumerate(_by_key(self.found)):
            first, sown = layer.path.partition("/")[0], len(self._stages[number])
            later = next((len(x) for x in self._stages[number:] if len(x) > sown), sown)
            stage = names[sown] if sown < len(names) else "head"
            if later > sown + 1:  # all stages come at once, after the last
                stage = first
            named = STAGE.match(first)
            found[key] = (named[1] or "") + named[2] if named else stage
        return found

    def fields(self) -> dict[str, ReceptiveField]:
        """Receptive fields of the layers by path and number, and of stages by "/NAME"."""
        leaves = jax.tree.leaves(self.state)
        first = len(self.program.outvars) - len(leaves)  # after the logits
        positions = {id(leaf): number for number, leaf in enumerate(leaves, first)}
        sown: dict[str, Any] = traverse_util.flatten_dict(self.state[_SOWN], sep="/")
        stages = self.state.get("intermediates", {}).items()
        sown |= {f"/{key}": value for key, value in stages if STAGE.fullmatch(key)}
        try:
            return fields_of(self.program, {name: positions[id(x[0])] for name, x in sown.items()})
        except ValueError:  # an operation whose field is not known
            return {}


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


def _pads(
    padding: Any,
    size: Sequence[int],
    window: tuple[int, ...],
    strides: tuple[int, ...],
    dilation: Any,
) -> tuple[tuple[int, int], ...]:
    """Padding in any of its spellings as pixels before and after each axis; () without window."""
    if isinstance(padding, str) and padding.upper() in ("SAME", "VALID", "SAME_LOWER"):
        reach = [
            1 + (side - 1) * step for side, step in zip(window, _pair(dilation or 1), strict=True)
        ]
        return tuple(jax.lax.padtype_to_pads(size, reach, strides, padding.upper()))
    if not window or isinstance(padding, str):
        return ()
    sides = (padding,) * len(window) if isinstance(padding, int) else padding
    return tuple((side, side) if isinstance(side, int) else tuple(side) for side in sides)
