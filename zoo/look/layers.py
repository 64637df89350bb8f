"""The layers of a network, read from its program: what each computes, and from which others.

A layer is a module with parameters of its own, a pooling or another step of `zoo.layers`, an
activation function, or a place where branches meet. Nothing in a network has to be prepared.
"""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from flax import traverse_util
from jax.extend import core

from zoo.look.trace import Trace, is_variable

IMAGE, LOGITS = "image", "logits"
ACTIVATIONS = ("relu", "relu6", "silu", "gelu", "hard_silu", "hard_sigmoid", "sigmoid")
_STAGE = re.compile(r"(\w+_)?(stem|stage\d+)(_\w+)?")
_MEETINGS = {"add": "sum", "add_any": "sum", "mul": "product", "concatenate": "concatenate"}
_MOVES = {"reshape", "transpose", "squeeze", "copy", "convert_element_type"}
_SUMS = {"reduce_sum", "reduce_mean", "div", "mul"}


class Layer(NamedTuple):
    """One layer of a network.

    Attributes:
      name: Path of the module, "stage1_block1/conv1"; of what is no module, the path of the module
        that it is in and its kind, "stage1_block1/relu". Later ones of a name are numbered.
      kind: Name of the module's class; or "image", "max_pool", "relu", "sum", "product",
        "concatenate", "flatten", "mean", "output", "logits".
      path: Path of the module, of the one that contains it if it is none.
      shape: Shape of its output, with the batch axis.
      inputs: Names of the layers that it reads, in the order of their execution.
      stage: Stage that it belongs to, "stem", "stage1", ...; "head" after the last.
      output: Name of the output for `zoo.features` that it is, "" if it is none.
      settings: See `Call`; empty if it is no module.
      variable: Its variable in the program.
    """

    name: str
    kind: str
    path: str
    shape: tuple[int, ...]
    inputs: tuple[str, ...]
    stage: str
    output: str
    settings: Mapping[str, Any]
    variable: Any


def layers(traced: Trace, variables: Any) -> dict[str, Layer]:
    """Returns the layers of a traced network by name, in the order of their execution.

    Args:
      traced: See `trace`.
      variables: The network's variables, or their shapes.
    """
    named = _Names(traced, variables)
    order: dict[Any, int] = {traced.jaxpr.invars[-1]: -1}
    nearest: dict[Any, tuple[str, ...]] = {}  # the named variables that a variable comes from
    inputs: dict[str, tuple[str, ...]] = {}
    for number, equation in enumerate(traced.jaxpr.eqns):
        read = [
            (named.of[v],) if v in named.of else nearest.get(v, ()) for v in _variables(equation)
        ]
        names = tuple(dict.fromkeys(name for group in read for name in group))
        for variable in equation.outvars:
            order[variable], nearest[variable] = number, names
            if variable in named.of:
                inputs[named.of[variable]] = names
    aliases = {variable: name for name, variable in traced.sown.items() if is_variable(variable)}
    aliases[traced.jaxpr.outvars[0]] = LOGITS
    found = sorted(named.of, key=lambda variable: order.get(variable, -1))
    numbers = {named.of[variable]: number for number, variable in enumerate(found)}
    stages = [
        (order.get(variable, -1), name)
        for name, variable in traced.sown.items()
        if _STAGE.fullmatch(name) and is_variable(variable)
    ]
    result: dict[str, Layer] = {}
    for name, variable in zip(numbers, found, strict=True):
        ends = [stage for stage in stages if stage[0] >= order.get(variable, -1)]
        result[name] = Layer(
            *(name, named.kinds[name], named.paths[name], variable.aval.shape),
            tuple(sorted(inputs.get(name, ()), key=numbers.__getitem__)),
            "" if name == IMAGE else min(ends)[1] if ends else "head",
            aliases.get(variable, ""),
            named.settings.get(name, {}),
            variable,
        )
    return result


class _Names:
    """Which variables of a program are layers.

    Attributes:
      of: Name of each.
      kinds, paths, settings: Of the layers, by name.
    """

    def __init__(self, traced: Trace, variables: Any):
        self.of: dict[Any, str] = {}
        self.kinds: dict[str, str] = {}
        self.paths: dict[str, str] = {}
        self.settings: dict[str, Mapping[str, Any]] = {}
        image = traced.jaxpr.invars[-1]
        self._add(image, IMAGE, IMAGE, "")
        leaves = [traced.calls[name] for name in self._modules(traced, variables)]
        self._equations(traced.jaxpr, {call.path for call in leaves}, image)
        makers = {v: equation for equation in traced.jaxpr.eqns for v in equation.outvars}
        for call in leaves:
            kind = _rearranged(makers, call.input, self.of)
            if kind:
                self._add(call.input, f"{call.path}/{kind}", kind, call.path)
        if is_variable(traced.jaxpr.outvars[0]):
            self._add(traced.jaxpr.outvars[0], LOGITS, LOGITS, "")
        for name, variable in traced.sown.items():
            if not name.startswith("attention/") and is_variable(variable):
                self._add(variable, name, "output", "")

    def _add(self, variable: Any, name: str, kind: str, path: str) -> None:
        if variable in self.of:
            return
        unique, number = name, 1
        while unique in self.kinds:
            number += 1
            unique = f"{name}_{number}"
        self.of[variable] = unique
        self.kinds[unique], self.paths[unique] = kind, path

    def _modules(self, traced: Trace, variables: Any) -> list[str]:
        """Adds modules with parameters, and steps; returns the former that contain no others."""
        owners = {
            path.rpartition("/")[0]
            for path in traverse_util.flatten_dict(dict(variables["params"]), sep="/")
        }
        modules = [call.path for call in traced.calls.values() if call.is_module]
        outer = {path.rpartition("/")[0] for path in modules}
        leaves = []
        for name, call in traced.calls.items():
            leaf = call.is_module and call.path in owners and call.path not in outer
            if is_variable(call.output) and (leaf or not call.is_module):
                self._add(call.output, name, call.kind, call.path)
                self.settings[self.of[call.output]] = call.settings
                leaves += [name] if leaf else []
        return leaves

    def _equations(self, jaxpr: core.Jaxpr, inside: set[str], image: Any) -> None:
        """Adds activation functions, and where branches meet, that are in none of some modules."""
        from_image = {image}
        for equation in jaxpr.eqns:
            path = scope(equation)
            read = [v for v in _variables(equation) if v in from_image]
            from_image.update(equation.outvars if read else ())
            output: Any = equation.outvars[0] if equation.outvars else None
            if equation.primitive.name == "materialize" and read and read[0] in self.of:
                self.of[output] = self.of.pop(read[0])  # the same array, stored
            if not read or path in inside or output in self.of:
                continue
            kind = activation(equation)
            if not kind and len(set(read)) > 1 and len(output.aval.shape) > 1:
                kind = _MEETINGS.get(equation.primitive.name, "")
            if kind:
                self._add(output, f"{path}/{kind}".lstrip("/"), kind, path)


def scope(equation: core.JaxprEqn) -> str:
    """Returns the path of the module that an operation belongs to."""
    parts = str(equation.source_info.name_stack).split("/")[1:]
    return "/".join(part for part in parts if "(" not in part)


def activation(equation: core.JaxprEqn) -> str:
    """Returns which of `ACTIVATIONS` an operation is, or ""."""
    name = equation.primitive.name
    if name == "custom_jvp_call":
        inner = equation.params["call_jaxpr"].jaxpr.eqns
        name = inner[0].params.get("name", "") if len(inner) == 1 else ""
    elif name in ("jit", "pjit"):
        name = equation.params["name"]
    elif name == "logistic":
        name = "sigmoid"
    return name if name in ACTIVATIONS else ""


def _rearranged(makers: Mapping[Any, Any], variable: Any, names: Mapping[Any, str]) -> str:
    """How a module's input comes from a layer: "flatten", "mean", or "" for neither.

    `makers` are the operations by the variables that they compute.
    """
    if variable is None or not is_variable(variable) or variable in names:
        return ""
    steps, at, rank = set(), variable, len(variable.aval.shape)
    while at not in names:
        if at not in makers:
            return ""
        equation = makers[at]
        sources = [v for v in _variables(equation) if v in makers or v in names]
        if len(sources) != 1:
            return ""
        steps.add(equation.params.get("name", equation.primitive.name))
        at = sources[0]
    if steps <= _MOVES and rank < len(at.aval.shape):
        return "flatten"
    if "reduce_sum" in steps and steps <= _SUMS | _MOVES and rank == 2:
        return "mean" if len(at.aval.shape) == 4 else ""
    return "mean" if steps <= {"_mean", "mean"} | _MOVES and steps and rank == 2 else ""


def _variables(equation: core.JaxprEqn) -> list[Any]:
    return [variable for variable in equation.invars if is_variable(variable)]
