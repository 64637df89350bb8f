"""The ONNX graph that is being written, and tensors whose axes lie in any order.

JAX's images are NHWC and ONNX's convolutions take NCHW. A `Value` knows which axis of the stored
tensor is which, so that a transpose, and a reshape that adds or removes axes of size one, cost
nothing; nodes are written only where an operation needs another order. The same goes for
broadcasts: an axis along which all is equal is stored with size one, or not at all.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

# The batch size of the shapes in here: a prime, so that its multiples are known for what they are.
# The file has a symbol in its place.
BATCH = 1_000_003
Axes = tuple[int | None, ...]


class ExportError(ValueError):
    """A model that cannot be written in the format asked for; the message says why."""


@dataclasses.dataclass
class Node:
    """One operation of ONNX."""

    op: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class Value:
    """An array of the model's program, and how it is stored.

    Attributes:
      tensor: Name of a tensor in the graph, or a numpy array, which is a constant.
      shape: Shape in the program; multiples of `BATCH` hold the batch.
      axes: Axis in the program of each stored axis, None for one of size one that it does not have.
        An axis of the program that is not stored is broadcast.
      stored: Shape of the stored tensor.
    """

    tensor: str | np.ndarray
    shape: tuple[int, ...]
    axes: Axes
    stored: tuple[int, ...]

    @classmethod
    def constant(cls, array: np.ndarray) -> "Value":
        """Returns the value of a constant."""
        return cls(array, array.shape, tuple(range(array.ndim)), array.shape)

    @property
    def is_constant(self) -> bool:
        """Whether it does not depend on the input."""
        return isinstance(self.tensor, np.ndarray)

    @property
    def is_full(self) -> bool:
        """Whether nothing of it is broadcast."""
        return math.prod(self.shape) == math.prod(self.stored)

    def renamed(self, shape: Sequence[int], axes: Sequence[int | None]) -> "Value":
        """Returns the same stored tensor under another shape of the program."""
        return Value(self.tensor, tuple(shape), tuple(axes), self.stored)


class Graph:
    """Nodes and constants in the order of computation."""

    def __init__(self, images: str):
        """Begins a graph; the first axis of its input `images` is the batch."""
        self.nodes: list[Node] = []
        self.constants: dict[str, np.ndarray] = {}
        self.terms: dict[str, int] = {}  # of each sum, how many elements it adds up
        self._images = images
        self._known: dict[tuple, str] = {}

    def constant(self, array: np.ndarray) -> str:
        """Returns the name of a constant; equal small ones are one."""
        array = np.ascontiguousarray(array)
        key = (array.dtype.str, array.shape, array.tobytes() if array.size < 1024 else id(array))
        if key not in self._known:
            self._known[key] = f"constant{len(self.constants)}"
            self.constants[self._known[key]] = array
        return self._known[key]

    def name(self, tensor: str | np.ndarray) -> str:
        """Returns the name of a tensor or constant."""
        return self.constant(tensor) if isinstance(tensor, np.ndarray) else tensor

    def emit(self, op: str, *inputs: str | np.ndarray, outputs: int = 1, **attributes) -> list[str]:
        """Adds a node; returns the names of its outputs."""
        names = [f"{op.lower()}{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(Node(op, [self.name(i) for i in inputs], names, attributes))
        return names

    def one(self, op: str, *inputs: str | np.ndarray, **attributes) -> str:
        """Adds a node with one output; returns its name."""
        return self.emit(op, *inputs, **attributes)[0]

    def dims(self, shape: Sequence[int]) -> str | np.ndarray:
        """Returns a shape as a tensor, which is computed where the batch is in it."""
        if not any(dim and dim % BATCH == 0 for dim in shape):
            return np.array(shape, np.int64)
        key = ("batch",)
        if key not in self._known:
            self._known[key] = self.one("Shape", self._images, start=0, end=1)
        parts: list[str | np.ndarray] = []
        for dim in shape:
            if not dim or dim % BATCH:
                parts.append(np.array([dim], np.int64))
            else:
                factor = np.array([dim // BATCH], np.int64)
                parts.append(self.one("Mul", self._known[key], factor))
        return self.one("Concat", *parts, axis=0)

    def reshape(self, tensor: str | np.ndarray, shape: Sequence[int]) -> str | np.ndarray:
        """Reshapes a stored tensor."""
        if isinstance(tensor, np.ndarray):
            return tensor.reshape(shape)
        symbolic = [dim for dim in shape if dim and dim % BATCH == 0]
        if len(symbolic) > 1:
            return self.one("Reshape", tensor, self.dims(shape))
        sizes = [-1 if dim in symbolic else dim for dim in shape]
        return self.one("Reshape", tensor, np.array(sizes, np.int64))

    def arrange(self, value: Value, axes: Axes) -> Value:
        """Returns the value stored in this order; axes that it does not store get size one."""
        if value.axes == axes:
            return value
        sizes = dict(zip(value.axes, value.stored, strict=True)) | {None: 1}
        stored = tuple(sizes.get(axis, 1) for axis in axes)
        now = [axis for axis, dim in zip(value.axes, value.stored, strict=True) if dim != 1]
        wanted = [axis for axis, dim in zip(axes, stored, strict=True) if dim != 1]
        assert set(now) == set(wanted), (value, axes)
        tensor = value.tensor
        if now != wanted:  # with its axes of size one removed, or in their places
            places = [axis for axis in value.axes if axis is not None and axis in axes]
            if len(places) != len(value.axes):
                tensor = self.reshape(tensor, [sizes[axis] for axis in places])
            order = [axis for axis in axes if axis in places]
            tensor = self.transpose(tensor, [places.index(axis) for axis in order])
            if len(order) != len(axes):
                tensor = self.reshape(tensor, stored)
        elif stored != value.stored:
            tensor = self.reshape(tensor, stored)
        return Value(tensor, value.shape, axes, stored)

    def transpose(self, tensor: str | np.ndarray, order: list[int]) -> str | np.ndarray:
        """Transposes a stored tensor."""
        if order == sorted(order):
            return tensor
        if isinstance(tensor, np.ndarray):
            return tensor.transpose(order)
        return self.one("Transpose", tensor, perm=order)

    def full(self, value: Value) -> Value:
        """Returns the value with all that is broadcast written out."""
        if value.is_full:
            return value
        axes = list(value.axes)
        for axis, dim in enumerate(value.shape):
            if dim != 1 and axis not in axes:
                axes.insert(axis, axis)
        value = self.arrange(value, tuple(axes))
        stored = tuple(1 if axis is None else value.shape[axis] for axis in axes)
        if value.is_constant and not any(dim and dim % BATCH == 0 for dim in stored):
            tensor: str | np.ndarray = np.broadcast_to(value.tensor, stored)
        else:
            tensor = self.one("Expand", value.tensor, self.dims(stored))
        return Value(tensor, value.shape, tuple(axes), stored)

    def ordered(self, value: Value, order: Sequence[int] | None = None) -> Value:
        """Returns the value in full, its axes in the program's order or in the given one."""
        order = range(len(value.shape)) if order is None else order
        return self.arrange(self.full(value), tuple(order))
