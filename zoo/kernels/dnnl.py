"""oneDNN, the library that PyTorch's CPU convolutions are, by its C interface (`dnnl_...`).

Where the package `onednn-cpu-gomp` is installed, `ctypes` loads its shared library.
"""

import contextlib
import ctypes
import functools
import importlib.metadata
import itertools
import warnings
from collections.abc import Callable, Iterator, Sequence
from ctypes import byref, c_float, c_int, c_int64, c_size_t, c_void_p

import numpy as np

PACKAGE = "onednn-cpu-gomp"

# Numbers of the C interface, oneapi/dnnl/dnnl_types.h.
DIRECT, TRAINING = c_int(1), c_int(64)
SOURCE, DESTINATION, WEIGHTS = 1, 17, 33
GRADIENT = 128  # of a source, weights or a destination, added to its number
_CPU, _IN_ORDER, _FLOAT32, _ANY, _SCRATCHPAD = 1, 1, 3, 1, 80
_SCRATCHPAD_QUERY, _OWN_SCRATCHPAD, _ALIGNMENT = 136, 1, 128
_QUERY = {SOURCE: 129, WEIGHTS: 131, DESTINATION: 133}  # and one more for its gradient


@functools.cache
def library() -> ctypes.PyDLL | None:
    """The shared library of the installed package; None without it.

    Its functions keep Python's lock: they are short, and to get it back costs more.
    """
    try:
        files = importlib.metadata.files(PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        return None
    paths = [str(file.locate()) for file in files if file.name == "libdnnl.so.3"]
    try:
        return ctypes.PyDLL(paths[0])
    except (IndexError, OSError) as error:
        warnings.warn(
            f"{PACKAGE} is installed and cannot be loaded ({error}), so XLA alone computes "
            "on CPU, several times slower. Is libgomp.so.1, GNU's OpenMP, on this system?",
            stacklevel=2,
        )
        return None


@functools.cache
def _execute() -> Callable[..., int]:
    """What works, so that other threads of Python go on meanwhile."""
    return ctypes.CDLL(library()._name).dnnl_primitive_execute


@functools.cache
def cores() -> int:
    """How many threads OpenMP gives to an operation, unless told otherwise."""
    return library().omp_get_max_threads()


class Operation:
    """A prepared oneDNN primitive on two arrays in XLA's layouts that gives a third.

    It has one run at a time, and one is made at a time: see `zoo.kernels.parts`.

    Args:
      create: the C function that describes the primitive.
      arguments: of it, between the engine and the attributes.
      operands: for each array its number (`SOURCE` ...) and its layout outside.
      adds: whether it adds to what the array holds.
    """

    def __init__(
        self,
        create: str,
        arguments: Sequence,
        operands: Sequence[tuple[int, c_void_p]],
        adds: bool = False,
    ):
        described = describe(create, *arguments)
        self.operands = [_Operand(described, kind, layout) for kind, layout in operands[:2]]
        self.operands.append(_Operand(described, *operands[2], adds))
        kinds = [kind for kind, _ in operands]
        inner = (operand.inner for operand in self.operands)
        self.execute = _Primitive(described, dict(zip(kinds, inner, strict=True)))
        # In the room: the scratchpad of what runs, and behind the largest the operands' buffers.
        start = max(primitive.scratchpad_size for primitive in self._primitives())
        self.offsets = list(itertools.accumulate((o.size for o in self.operands), initial=start))

    def _primitives(self) -> list["_Primitive"]:
        return [self.execute, *(one for operand in self.operands for one in operand.reorders)]

    def run(self, pointers: Sequence[int], wait: Callable[[], None]) -> None:
        """Reads the first two arrays and writes the third, or after `wait` adds to it."""
        *inputs, output = self.operands
        with _engine().room(self.offsets[-1]) as room:
            for operand, pointer, offset in zip(
                self.operands, pointers, self.offsets, strict=False
            ):
                operand.point_at(pointer, room + offset)
            for operand in inputs:
                operand.copy_in(room)
            self.execute(room)
            wait()
            output.copy_out(room)


def describe(create: str, *arguments) -> c_void_p:
    """A primitive's description, by the C function of that name."""
    described = c_void_p()
    call(create, byref(described), _engine().engine, *arguments, _engine().attributes)
    return described


def layout(shape: Sequence[int], strides: Sequence[int] | None = None) -> c_void_p:
    """A memory descriptor of float32; without strides oneDNN chooses the layout."""
    described, axes = c_void_p(), len(shape)
    dims = (c_int64 * 12)(*shape)
    if strides is None:
        create, order = "dnnl_memory_desc_create_with_tag", c_int(_ANY)
    else:
        create, order = "dnnl_memory_desc_create_with_strides", (c_int64 * 12)(*strides)
    call(create, byref(described), c_int(axes), dims, c_int(_FLOAT32), order)
    return described


def call(function: str, *arguments) -> None:
    """Calls a C function; a status other than success becomes a RuntimeError."""
    status = getattr(library(), function)(*arguments)
    if status:
        raise RuntimeError(f"{function} returned {status}")


class _Engine:
    """oneDNN's engine, stream and settings, made at the first operation."""

    def __init__(self):
        self.engine, self.stream = c_void_p(), c_void_p()
        call("dnnl_engine_create", byref(self.engine), c_int(_CPU), c_size_t(0))
        call("dnnl_stream_create", byref(self.stream), self.engine, c_int(_IN_ORDER))
        self.attributes, self.adding = self._attributes(), self._attributes()
        sums = c_void_p()
        call("dnnl_post_ops_create", byref(sums))
        call("dnnl_post_ops_append_sum", sums, c_float(1), c_int(0), c_int(0))
        call("dnnl_primitive_attr_set_post_ops", self.adding, sums)
        self.rooms = []

    def _attributes(self) -> c_void_p:
        attributes = c_void_p()
        call("dnnl_primitive_attr_create", byref(attributes))
        mode = c_int(_OWN_SCRATCHPAD)
        call("dnnl_primitive_attr_set_scratchpad_mode", attributes, mode)
        return attributes

    @contextlib.contextmanager
    def room(self, size: int) -> Iterator[int]:
        """The address of so many bytes, which are the caller's for the time of the context.

        As many as there are threads that work at once; they grow to the largest operation's size.
        """
        try:
            room = self.rooms.pop()
        except IndexError:
            room = np.empty(0, np.uint8)
        if room.size < size + _ALIGNMENT:
            room = np.empty(size + _ALIGNMENT, np.uint8)
        yield _aligned(room.ctypes.data)
        self.rooms.append(room)


_engine: Callable[[], _Engine] = functools.cache(_Engine)


def _aligned(number: int) -> int:
    return -(-number // _ALIGNMENT) * _ALIGNMENT


class _Argument(ctypes.Structure):
    _fields_ = [("kind", c_int), ("memory", c_void_p)]


class _Primitive:
    """A oneDNN primitive with its operands.

    Its scratchpad is of ours: oneDNN's own belongs to the thread that made the primitive, and XLA
    calls from any of its threads.
    """

    def __init__(self, described: c_void_p, operands: dict[int, c_void_p]):
        self.primitive = c_void_p()
        call("dnnl_primitive_create", byref(self.primitive), described)
        scratchpad = _query(described, _SCRATCHPAD_QUERY)
        self.scratchpad, self.scratchpad_size = _memory(scratchpad), _size(scratchpad)
        operands = operands | {_SCRATCHPAD: self.scratchpad}
        self.arguments = (_Argument * len(operands))(
            *(_Argument(*pair) for pair in operands.items())
        )
        self.count = c_int(len(operands))

    def __call__(self, room: int) -> None:
        if self.scratchpad_size:
            _point(self.scratchpad, room)
        status = _execute()(self.primitive, _engine().stream, self.count, self.arguments)
        if status:
            raise RuntimeError(f"dnnl_primitive_execute returned {status}")


class _Operand:
    """An array in XLA's layout, and where oneDNN wants another, also in that.

    One that `adds` to the outer array always has an inner one.
    """

    def __init__(self, described: c_void_p, kind: int, outer_layout: c_void_p, adds: bool = False):
        is_gradient, of = divmod(kind, GRADIENT)
        inner_layout = _query(described, _QUERY[of] + is_gradient)
        self.outer = self.inner = _memory(outer_layout)
        self.size, self.reorders = 0, []
        if adds or not library().dnnl_memory_desc_equal(inner_layout, outer_layout):
            self.inner, self.size = _memory(inner_layout), _size(inner_layout)
            outer, inner = (outer_layout, self.outer), (inner_layout, self.inner)
            self.to_inner = _reorder(outer, inner, _engine().attributes)
            how = _engine().adding if adds else _engine().attributes
            self.to_outer = _reorder(inner, outer, how)
            self.reorders = [self.to_inner, self.to_outer]

    def point_at(self, outer: int, inner: int) -> None:
        _point(self.outer, outer)
        if self.size:
            _point(self.inner, inner)

    def copy_in(self, room: int) -> None:
        if self.size:
            self.to_inner(room)

    def copy_out(self, room: int) -> None:
        if self.size:
            self.to_outer(room)


def _query(described: c_void_p, query: int) -> c_void_p:
    """The layout that a primitive has chosen for an operand."""
    ask = library().dnnl_primitive_desc_query_md
    ask.restype = c_void_p
    return c_void_p(ask(described, c_int(query), c_int(0)))


def _size(described: c_void_p) -> int:
    """Bytes of a layout, rounded up so that what lies behind is aligned too."""
    size = library().dnnl_memory_desc_get_size
    size.restype = c_size_t
    return _aligned(size(described))


def _memory(described: c_void_p) -> c_void_p:
    """An array of that layout, without a place so far."""
    memory = c_void_p()
    call("dnnl_memory_create", byref(memory), described, _engine().engine, None)
    return memory


def _point(memory: c_void_p, address: int) -> None:
    library().dnnl_memory_set_data_handle(memory, c_void_p(address))


def _reorder(
    source: tuple[c_void_p, c_void_p], target: tuple[c_void_p, c_void_p], attributes: c_void_p
) -> _Primitive:
    """Copies one array, a layout and a memory, to another."""
    described, engine = c_void_p(), _engine().engine
    pair = (source[0], engine, target[0], engine)
    call("dnnl_reorder_primitive_desc_create", byref(described), *pair, attributes)
    return _Primitive(described, {SOURCE: source[1], DESTINATION: target[1]})
