"""Rules for what sums, pools and multiplies."""

import math
from typing import Any

import numpy as np

from zoo.export.graph import ExportError, Graph, Value
from zoo.export.primitives import result, rule

# Runtimes add up one term after the other: sums of more terms go axis by axis, which rounds less.
MANY_TERMS = 4096


def _sum(graph: Graph, value: Value, places: list[int]) -> str:
    """Writes a sum over stored axes, which stay with size one."""
    many = math.prod(value.stored[i] for i in places) > MANY_TERMS
    tensor = graph.name(value.tensor)
    for axes in [[place] for place in places[::-1]] if many else [places]:
        # An input in this operation, an attribute in the other reductions of this opset.
        tensor = graph.one("ReduceSum", tensor, np.array(axes, np.int64), keepdims=1)
        graph.terms[tensor] = math.prod(value.stored[i] for i in axes)
    return tensor


def _reduction(op: str):
    def write(graph, values, parameters, shapes):
        value, reduced = values[0], parameters["axes"]
        if reduced == (len(value.shape) - 1,) and len(value.shape) > 2:
            # Sums over the channels are faster, and can be fused, where these are stored last.
            ordered = graph.ordered(value)
            value.tensor, value.axes, value.stored = ordered.tensor, ordered.axes, ordered.stored
        value = graph.full(value)
        places = [i for i, axis in enumerate(value.axes) if axis in reduced]
        if op == "ReduceSum":
            tensor = _sum(graph, value, places)
        else:
            tensor = graph.one(op, value.tensor, axes=places, keepdims=1)
        kept = [axis for axis in range(len(value.shape)) if axis not in reduced]
        axes = tuple(kept.index(axis) if axis in kept else None for axis in value.axes)
        return [result(tensor, shapes[0], axes)]

    return write


for _name, _op in {
    "reduce_sum": "ReduceSum",
    "reduce_max": "ReduceMax",
    "reduce_min": "ReduceMin",
    "reduce_prod": "ReduceProd",
}.items():
    rule(_name)(_reduction(_op))


@rule("conv_general_dilated")
def _convolution(graph, values, parameters, shapes):
    numbers = parameters["dimension_numbers"]
    if (
        any(step != 1 for step in parameters["lhs_dilation"])
        or parameters["batch_group_count"] != 1
    ):
        raise ExportError("A transposed convolution cannot be exported.")
    images = graph.ordered(values[0], numbers.lhs_spec)
    kernel = graph.ordered(values[1], numbers.rhs_spec)
    low, high = zip(*parameters["padding"], strict=True)
    if min(low + high) < 0:
        raise ExportError("A convolution with negative padding cannot be exported.")
    tensor = graph.one(
        "Conv",
        images.tensor,
        kernel.tensor,
        kernel_shape=list(kernel.stored[2:]),
        strides=list(parameters["window_strides"]),
        pads=[*low, *high],
        dilations=list(parameters["rhs_dilation"]),
        group=parameters["feature_group_count"],
    )
    return [result(tensor, shapes[0], tuple(numbers.out_spec))]


def _pool(op: str):
    def write(graph, values, parameters, shapes):
        window, strides = parameters["window_dimensions"], parameters["window_strides"]
        pads = parameters["padding"]
        dilations = {*parameters["base_dilation"], *parameters["window_dilation"]}
        pooled = [
            i
            for i, (size, step) in enumerate(zip(window, strides, strict=True))
            if (size, step) != (1, 1)
        ]
        if len(pooled) > len(window) - 2 or dilations != {1}:
            raise ExportError(f"Pooling with windows {window} cannot be exported.")
        rest = [i for i in range(len(window)) if i not in pooled]
        # The batch first, then the channels: the last of the axes that are not pooled.
        order = (rest[0], rest[-1], *sorted([*pooled, *rest[1:-1]]))
        value = graph.ordered(values[0], order)
        spatial = order[2:]
        attributes: dict[str, Any] = {
            "kernel_shape": [window[i] for i in spatial],
            "strides": [strides[i] for i in spatial],
            "pads": [pads[i][side] for side in (0, 1) for i in spatial],
        }
        if op == "AveragePool":
            attributes["count_include_pad"] = 1
        tensor = graph.one(op, value.tensor, **attributes)
        if op == "AveragePool":
            tensor = graph.one("Mul", tensor, np.array(math.prod(window), np.float32))
        return [result(tensor, shapes[0], order)]

    return write


rule("reduce_window_max")(_pool("MaxPool"))
rule("reduce_window_sum")(_pool("AveragePool"))


@rule("dot_general")
def _dot(graph, values, parameters, shapes):
    contracted, batched = parameters["dimension_numbers"]
    sides = [
        _Side(graph.full(value), tuple(contracted[i]), tuple(batched[i]))
        for i, value in enumerate(values)
    ]
    sides[0].out = range(len(batched[0]), len(batched[0]) + len(sides[0].free))
    sides[1].out = range(sides[0].out.stop, sides[0].out.stop + len(sides[1].free))
    first, second = min(([0, 1], [1, 0]), key=lambda way: _cost(sides[way[0]], sides[way[1]]))
    left, right = sides[first], sides[second]
    axes = (*range(len(batched[0])), *left.out, *right.out)
    shape = shapes[0]
    sizes = tuple(shape[axis] for axis in axes)
    a, b = (
        graph.arrange(left.value, left.order(False)),
        graph.arrange(right.value, right.order(True)),
    )
    plain = len(right.free) == 1 and len(right.contracted) == 1
    if plain and (not left.batched or len(left.free) == 1) and left.free:
        return [Value(graph.one("MatMul", a.tensor, b.tensor), shape, axes, sizes)]
    batch = [left.value.shape[axis] for axis in left.batched]
    inner = math.prod(left.value.shape[axis] for axis in left.contracted)
    rows = math.prod(left.value.shape[axis] for axis in left.free)
    columns = math.prod(right.value.shape[axis] for axis in right.free)
    product = graph.one(
        "MatMul",
        graph.reshape(a.tensor, [*batch, rows, inner]),
        graph.reshape(b.tensor, [*batch, inner, columns]),
    )
    return [Value(graph.reshape(product, sizes), shape, axes, sizes)]


class _Side:
    """An operand of a product: its axes by what becomes of them."""

    def __init__(self, value: Value, contracted: tuple[int, ...], batched: tuple[int, ...]):
        self.value, self.contracted, self.batched = value, contracted, batched
        rest = set(range(len(value.shape))) - {*contracted, *batched}
        self.free = sorted(rest)
        self.out = range(0)

    def order(self, is_right: bool) -> tuple[int, ...]:
        """The order of the axes in which a matrix product takes the operand."""
        if is_right:
            return (*self.batched, *self.contracted, *self.free)
        return (*self.batched, *self.free, *self.contracted)


def _cost(left: _Side, right: _Side) -> int:
    """How much has to be transposed, and whether the right one is not the matrix."""
    cost = 0
    for side, order in ((left, left.order(False)), (right, right.order(True))):
        stored = [a for a in side.value.axes if a is not None and side.value.shape[a] != 1]
        wanted = [a for a in order if side.value.shape[a] != 1]
        if stored != wanted and not side.value.is_constant:
            cost += math.prod(side.value.shape)
    if not left.batched and len(right.value.shape) != 2:
        cost += math.prod(right.value.shape)
    return cost
