"""How each primitive of JAX is written in ONNX.

A rule takes the graph, the inputs, the equation's parameters and the shapes of its results, and
returns the results.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from zoo.export.graph import Axes, ExportError, Graph, Value

Shapes = Sequence[tuple[int, ...]]
Rule = Callable[[Graph, list[Value], dict[str, Any], Shapes], Sequence[Value]]
RULES: dict[str, Rule] = {}

ELEMENTWISE = {
    "abs": "Abs",
    "add": "Add",
    "add_any": "Add",
    "and": "And",
    "ceil": "Ceil",
    "cos": "Cos",
    "div": "Div",
    "eq": "Equal",
    "erf": "Erf",
    "exp": "Exp",
    "floor": "Floor",
    "ge": "GreaterOrEqual",
    "gt": "Greater",
    "le": "LessOrEqual",
    "log": "Log",
    "logistic": "Sigmoid",
    "lt": "Less",
    "max": "Max",
    "min": "Min",
    "mul": "Mul",
    "neg": "Neg",
    "not": "Not",
    "or": "Or",
    "pow": "Pow",
    "sign": "Sign",
    "sin": "Sin",
    "sqrt": "Sqrt",
    "sub": "Sub",
    "tanh": "Tanh",
}


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Registers a function as the rule of these primitives."""

    def register(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(names, function))
        return function

    return register


def aligned(graph: Graph, values: list[Value]) -> tuple[list[Value], Axes]:
    """Stores values in one order, that of the largest which is computed; scalars stay."""
    arrays = [value for value in values if value.shape]
    computed = [value for value in arrays if not value.is_constant] or arrays
    lead = max(computed, key=lambda value: math.prod(value.stored))
    axes = lead.axes
    stored = {axis for value in arrays for axis in value.axes if axis is not None}
    if any(value.axes != axes for value in arrays) and stored - set(axes):
        axes = tuple(axis for axis in axes if axis is not None)
        for axis in sorted(stored - set(axes)):  # beside its neighbour
            place = axes.index(axis - 1) + 1 if axis - 1 in axes else 0
            axes = (*axes[:place], axis, *axes[place:])
    return [graph.arrange(value, axes) if value.shape else value for value in values], axes


def elementwise(
    graph: Graph, op: str, values: list[Value], shape: tuple[int, ...], **attributes
) -> Value:
    """Writes an operation on each element."""
    axes: Axes = ()
    if any(value.shape for value in values):
        values, axes = aligned(graph, values)
    tensor = graph.one(op, *(value.tensor for value in values), **attributes)
    stored = np.broadcast_shapes(*(value.stored for value in values))
    return Value(tensor, shape, axes, tuple(map(int, stored)))


def _elementwise_rule(op: str) -> Rule:
    return lambda graph, values, parameters, shapes: [elementwise(graph, op, values, shapes[0])]


for _name, _op in ELEMENTWISE.items():
    rule(_name)(_elementwise_rule(_op))


def _scalar(number: float) -> Value:
    return Value.constant(np.array(number, np.float32))


@rule("stop_gradient", "copy", "copy_p", "optimization_barrier", "reduce_precision")
def _identity(graph, values, parameters, shapes):
    return values


@rule("ne")
def _not_equal(graph, values, parameters, shapes):
    equal = elementwise(graph, "Equal", values, shapes[0])
    return [elementwise(graph, "Not", [equal], shapes[0])]


@rule("square")
def _square(graph, values, parameters, shapes):
    return [elementwise(graph, "Mul", values * 2, shapes[0])]


@rule("integer_pow")
def _integer_pow(graph, values, parameters, shapes):
    exponent = _scalar(parameters["y"])
    return [elementwise(graph, "Pow", [*values, exponent], shapes[0])]


@rule("rsqrt")
def _rsqrt(graph, values, parameters, shapes):
    root = elementwise(graph, "Sqrt", values, shapes[0])
    return [elementwise(graph, "Reciprocal", [root], shapes[0])]


@rule("erfc")
def _erfc(graph, values, parameters, shapes):
    erf = elementwise(graph, "Erf", values, shapes[0])
    return [elementwise(graph, "Sub", [_scalar(1), erf], shapes[0])]


@rule("clamp")
def _clamp(graph, values, parameters, shapes):
    low, array, high = values
    above = elementwise(graph, "Max", [array, low], shapes[0])
    return [elementwise(graph, "Min", [above, high], shapes[0])]


@rule("select_n")
def _select(graph, values, parameters, shapes):
    which, if_false, *if_true = values
    if len(if_true) != 1:
        raise ExportError("A selection among more than two arrays cannot be exported.")
    return [elementwise(graph, "Where", [which, *if_true, if_false], shapes[0])]


@rule("convert_element_type")
def _convert(graph, values, parameters, shapes):
    to = onnx_dtype(np.dtype(parameters["new_dtype"]))
    return [elementwise(graph, "Cast", values, shapes[0], to=to)]


def onnx_dtype(dtype: np.dtype) -> int:
    """Returns ONNX's number of a dtype.

    Raises:
      ExportError: Runtimes do not know it.
    """
    numbers = {"float32": 1, "uint8": 2, "int32": 6, "int64": 7, "bool": 9, "float64": 11}
    if dtype.name not in numbers:
        raise ExportError(
            f"The model computes in {dtype.name}; ONNX files are written in float32. Export it "
            "without that dtype."
        )
    return numbers[dtype.name]


def result(tensor: str, shape: tuple[int, ...], axes: Axes) -> Value:
    """A value of which nothing is broadcast."""
    return Value(tensor, shape, axes, tuple(1 if a is None else shape[a] for a in axes))
