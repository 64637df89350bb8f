"""Rules for what moves elements: reshapes, concatenation, slices, padding."""

import math
from collections.abc import Sequence

import numpy as np

from zoo.export.graph import ExportError, Graph, Value
from zoo.export.primitives import aligned, result, rule


@rule("broadcast_in_dim")
def _broadcast(graph, values, parameters, shapes):
    places = parameters["broadcast_dimensions"]
    axes = [None if axis is None else places[axis] for axis in values[0].axes]
    return [values[0].renamed(shapes[0], axes)]


@rule("transpose")
def _transpose(graph, values, parameters, shapes):
    order = parameters["permutation"]
    axes = [None if axis is None else order.index(axis) for axis in values[0].axes]
    return [values[0].renamed(shapes[0], axes)]


@rule("reshape", "squeeze", "expand_dims")
def _reshape(graph, values, parameters, shapes):
    return [reshape(graph, values[0], shapes[0])]


def reshape(graph: Graph, value: Value, shape: tuple[int, ...]) -> Value:
    """Reshapes; groups of axes that are split or merged stay where they are stored."""
    old = [axis for axis, dim in enumerate(value.shape) if dim != 1]
    new = [axis for axis, dim in enumerate(shape) if dim != 1]
    if [value.shape[axis] for axis in old] == [shape[axis] for axis in new]:
        to = dict(zip(old, new, strict=True))
        return value.renamed(shape, [None if axis is None else to.get(axis) for axis in value.axes])
    value = graph.full(value)
    stored = [a for a, dim in zip(value.axes, value.stored, strict=True) if dim != 1]
    groups = {before[0]: (before, after) for before, after in _groups(value.shape, shape)}
    moved: list[int] = []
    rest = list(stored)
    while rest and rest[0] in groups:
        before, after = groups[rest[0]]
        if rest[: len(before)] != before:
            break
        moved += after
        rest = rest[len(before) :]
    if rest:  # a group is torn apart: store it in the program's order
        value, moved = graph.arrange(value, tuple(range(len(value.shape)))), new
    sizes = tuple(shape[axis] for axis in moved)
    return Value(graph.reshape(value.tensor, sizes), shape, tuple(moved), sizes)


def _groups(old: Sequence[int], new: Sequence[int]) -> list[tuple[list[int], list[int]]]:
    """Returns the smallest runs of axes with equal products; axes of size one are left out."""
    before = [axis for axis, dim in enumerate(old) if dim != 1]
    after = [axis for axis, dim in enumerate(new) if dim != 1]
    groups = []
    while before:
        left, right = [before.pop(0)], [after.pop(0)]
        while (a := math.prod(old[i] for i in left)) != (b := math.prod(new[i] for i in right)):
            left, right = (
                (left + [before.pop(0)], right) if a < b else (left, right + [after.pop(0)])
            )
        groups.append((left, right))
    return groups


@rule("concatenate")
def _concatenate(graph, values, parameters, shapes):
    values, axes = aligned(graph, [graph.full(value) for value in values])
    axis = parameters["dimension"]
    if axis not in axes:  # of size one in all
        axes = (*axes, axis)
        values = [graph.arrange(value, axes) for value in values]
    tensor = graph.one("Concat", *(value.tensor for value in values), axis=axes.index(axis))
    return [result(tensor, shapes[0], axes)]


@rule("stack")
def _stack(graph, values, parameters, shapes):
    axis = parameters["axis"]
    parts = []
    for value in values:
        shape = (*value.shape[:axis], 1, *value.shape[axis:])
        axes = [a + (a >= axis) if a is not None else None for a in value.axes]
        parts.append(value.renamed(shape, axes))
    parts, axes = aligned(graph, [graph.full(part) for part in parts])
    place = axes.index(axis - 1) + 1 if axis and axis - 1 in axes else 0
    axes = (*axes[:place], axis, *axes[place:])
    parts = [graph.arrange(part, axes) for part in parts]
    tensor = graph.one("Concat", *(part.tensor for part in parts), axis=place)
    return [result(tensor, shapes[0], axes)]


@rule("split")
def _split(graph, values, parameters, shapes):
    axis = parameters["axis"]
    value = _storing(graph, values[0], [axis])
    sizes = np.array(parameters["sizes"], np.int64)
    place = value.axes.index(axis)
    names = graph.emit("Split", value.tensor, sizes, outputs=len(sizes), axis=place)
    return [result(name, shape, value.axes) for name, shape in zip(names, shapes, strict=True)]


def _storing(graph: Graph, value: Value, axes: Sequence[int]) -> Value:
    """Returns the value in full, with these axes stored even where they have size one."""
    value = graph.full(value)
    missing = tuple(axis for axis in axes if axis not in value.axes)
    return graph.arrange(value, value.axes + missing)


@rule("slice")
def _slice(graph, values, parameters, shapes):
    starts, stops = parameters["start_indices"], parameters["limit_indices"]
    steps = parameters["strides"] or [1] * len(starts)
    return [strided(graph, values[0], starts, stops, steps, shapes[0])]


def strided(graph: Graph, value: Value, starts, stops, steps, shape: tuple[int, ...]) -> Value:
    """Writes a slice with a start, stop and step for each axis."""
    whole = zip(starts, stops, steps, value.shape, strict=True)
    cut = [i for i, (a, b, step, dim) in enumerate(whole) if (a, b, step) != (0, dim, 1)]
    if not cut:
        return value
    value = _storing(graph, value, cut)
    places = [value.axes.index(axis) for axis in cut]
    bounds = [np.array([x[i] for i in cut], np.int64) for x in (starts, stops)]
    step = np.array([steps[i] for i in cut], np.int64)
    tensor = graph.one("Slice", value.tensor, *bounds, np.array(places, np.int64), step)
    return result(tensor, shape, value.axes)


@rule("rev")
def _reverse(graph, values, parameters, shapes):
    axes = parameters["dimensions"]
    shape = values[0].shape
    low = -(2**31)
    starts = [-1 if axis in axes else 0 for axis in range(len(shape))]
    stops = [low if axis in axes else dim for axis, dim in enumerate(shape)]
    steps = [-1 if axis in axes else 1 for axis in range(len(shape))]
    return [strided(graph, values[0], starts, stops, steps, shapes[0])]


@rule("pad")
def _pad(graph, values, parameters, shapes):
    value, fill = values
    config = parameters["padding_config"]
    if any(inside for _, _, inside in config):
        raise ExportError("Padding between the elements of an array cannot be exported.")
    value = _storing(graph, value, [axis for axis, pads in enumerate(config) if any(pads)])
    starts = [max(0, -low) for low, _, _ in config]
    ends = [max(0, -high) for _, high, _ in config]
    stops = [dim - end for dim, end in zip(value.shape, ends, strict=True)]
    shape = tuple(stop - start for start, stop in zip(starts, stops, strict=True))
    value = strided(graph, value, starts, stops, [1] * len(config), shape)
    pads = [(0, 0) if axis is None else config[axis][:2] for axis in value.axes]
    if any(max(pair) > 0 for pair in pads):
        amounts = np.maximum(np.array(pads, np.int64), 0).T.reshape(-1)
        tensor = graph.one("Pad", value.tensor, amounts, fill.tensor)
        value = result(tensor, shapes[0], value.axes)
    return [value]


@rule("tile")
def _tile(graph, values, parameters, shapes):
    repeats = parameters["reps"]
    value = _storing(graph, values[0], [i for i, count in enumerate(repeats) if count != 1])
    counts = [1 if axis is None else repeats[axis] for axis in value.axes]
    tensor = graph.one("Tile", value.tensor, graph.dims(counts))
    return [result(tensor, shapes[0], value.axes)]
