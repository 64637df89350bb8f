"""Rules for what takes elements at given places, which must not depend on the images."""

import numpy as np

from zoo.export.graph import ExportError, Graph, Value
from zoo.export.primitives import result, rule
from zoo.export.shapes import reshape, strided


@rule("gather")
def _gather(graph, values, parameters, shapes):
    value, indices = values
    if not indices.is_constant:
        raise ExportError("A gather whose indices depend on the images cannot be exported.")
    numbers = parameters["dimension_numbers"]
    sizes = parameters["slice_sizes"]
    indexed = list(numbers.start_index_map)
    starts = np.asarray(graph.ordered(indices).tensor).reshape(indices.shape)
    _check_indices(starts, [value.shape[axis] - sizes[axis] for axis in indexed], numbers)
    collapsed = list(numbers.collapsed_slice_dims)
    offset = [axis for axis in range(len(value.shape)) if axis not in collapsed]
    if starts.ndim == 1:  # one slice
        low = [0] * len(sizes)
        for axis, start in zip(indexed, starts, strict=True):
            low[axis] = int(start)
        high = [start + size for start, size in zip(low, sizes, strict=True)]
        sliced = strided(graph, value, low, high, [1] * len(low), tuple(sizes))
        return [reshape(graph, sliced, shapes[0])]
    if collapsed != indexed:
        raise ExportError("A gather of overlapping windows cannot be exported.")
    # Axes of the result: those of the indices where offset_dims leaves room, in their order.
    of_indices = [i for i in range(len(shapes[0])) if i not in numbers.offset_dims]
    places = dict(zip(offset, numbers.offset_dims, strict=True))
    if len(indexed) == 1:
        axes = _take(graph, value, indexed[0], starts[..., 0])
        return [_placed(axes, indexed, [of_indices], places, shapes[0])]
    grid = [
        np.moveaxis(starts[..., i], i, -1)[(0,) * (starts.ndim - 2)] for i in range(len(indexed))
    ]
    mesh = np.stack(np.meshgrid(*grid, indexing="ij"), -1)
    if starts.ndim != len(indexed) + 1 or not np.array_equal(mesh, starts):
        raise ExportError("A gather whose indices are no grid cannot be exported.")
    for axis, along in zip(indexed, grid, strict=True):
        value = _take(graph, value, axis, along)
    return [_placed(value, indexed, [[i] for i in of_indices], places, shapes[0])]


def _check_indices(starts: np.ndarray, last: list[int], numbers) -> None:
    if numbers.operand_batching_dims or (starts < 0).any() or (starts > np.array(last)).any():
        raise ExportError("A gather with indices beyond the array cannot be exported.")


def _take(graph: Graph, value: Value, axis: int, indices: np.ndarray) -> Value:
    """Takes entries along an axis; the axes of the indices stand in its place."""
    steps = np.diff(indices) if indices.ndim == 1 and indices.size > 1 else np.array([0])
    if steps.min() == steps.max() > 0:
        shape = (*value.shape[:axis], indices.size, *value.shape[axis + 1 :])
        low, high, step = [0] * len(shape), list(value.shape), [1] * len(shape)
        low[axis], high[axis], step[axis] = int(indices[0]), int(indices[-1]) + 1, int(steps[0])
        return strided(graph, value, low, high, step, shape)
    value = graph.ordered(value)
    tensor = graph.one("Gather", value.tensor, indices.astype(np.int64), axis=axis)
    shape = (*value.shape[:axis], *indices.shape, *value.shape[axis + 1 :])
    return result(tensor, shape, tuple(range(len(shape))))


def _placed(value: Value, indexed, of_indices, places, shape) -> Value:
    """Returns what was taken with its axes where the result has them."""
    order = []
    for axis in range(len(places) + len(indexed)):
        order += of_indices[indexed.index(axis)] if axis in indexed else [places[axis]]
    return value.renamed(shape, [None if axis is None else order[axis] for axis in value.axes])


@rule("dynamic_slice")
def _dynamic_slice(graph, values, parameters, shapes):
    value, *starts = values
    if not all(start.is_constant for start in starts):
        raise ExportError("A slice whose start depends on the images cannot be exported.")
    sizes = parameters["slice_sizes"]
    room = [dim - size for dim, size in zip(value.shape, sizes, strict=True)]
    low = [min(max(int(s.tensor), 0), r) for s, r in zip(starts, room, strict=True)]
    high = [start + size for start, size in zip(low, sizes, strict=True)]
    return [strided(graph, value, low, high, [1] * len(low), shapes[0])]
