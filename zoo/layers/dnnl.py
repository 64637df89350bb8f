"""oneDNN, the library that PyTorch's CPU convolutions are, by its C interface (`dnnl_...`).

Where the package `onednn-cpu-gomp` is installed, `ctypes` loads its shared library.
"""

import ctypes
import functools
import importlib.metadata
import itertools
import threading
import warnings
from collections.abc import Callable, Sequence
from ctypes import byref, c_int, c_int64, c_size_t, c_void_p

import numpy as np

PACKAGE = "onednn-cpu-gomp"

# Numbers of the C interface, oneapi/dnnl/dnnl_types.h.
DIRECT, TRAINING = c_int(1), c_int(64)
SOURCE, DESTINATION, WEIGHTS = 1, 17, 33
GRADIENT = 128  # of a source, weights or a destination, added to its number
_CPU, _IN_ORDER, _FLOAT32, _ANY, _SCRATCHPAD = 1, 1, 3, 1, 80
_SCRATCHPAD_QUERY, _OWN_SCRATCHPAD, _ALIGNMENT = 136, 1, 128
_QUERY = {SOURCE: 129, WEIGHTS: 131, DESTINATION: 133}  # and one more for its gradient

# One operation at a time is prepared or runs: they share an engine and its memory, and each uses
# all cores.
LOCK = threading.Lock()


@functools.cache
def library() -> ctypes.CDLL | None:
    """The shared library of the installed package; None without it."""
    try:
        files = importlib.metadata.files(PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        return None
    paths = [str(file.locate()) for file in files if file.name == "libdnnl.so.3"]
    try:
        return ctypes.CDLL(paths[0])
    except (IndexError, OSError) as error:
        warnings.warn(
            f"{PACKAGE} is installed and cannot be loaded ({error}), so XLA alone computes "
            "on CPU, several times slower. Is libgomp.so.1, GNU's OpenMP, on this system?",
            stacklevel=2,
        )
        return None


class Operation:
    """A prepared oneDNN primitive on two arrays in XLA's layouts that gives a third.

    Make and run it under `LOCK`.

    Args:
      create: the C function that describes the primitive.
      arguments: of it, between the engine and the attributes.
      operands: for each array its number (`SOURCE` ...) and its layout outside.
    """

    def __init__(self, create: str, arguments: Sequence, operands: Sequence[tuple[int, c_void_p]]):
        described = describe(create, *arguments)
        self.operands = [_Operand(described, kind, layout) for kind, layout in operands]
        kinds = [kind for kind, _ in operands]
        inner = (operand.inner for operand in self.operands)
        self.execute = _Primitive(described, dict(zip(kinds, inner, strict=True)))
        # In the room: the scratchpad of what runs, and behind the largest the operands' buffers.
        start = max(primitive.scratchpad_size for primitive in self._primitives())
        self.offsets = list(itertools.accumulate((o.size for o in self.operands), initial=start))

    def _primitives(self) -> list["_Primitive"]:
        reorders = [(operand.to_inner, operand.to_outer) for operand in self.operands]
        return [self.execute, *(one for pair in reorders for one in pair if one)]

    def run(self, *pointers: int) -> None:
        """Reads the first two arrays and writes the third; the caller holds `LOCK`."""
        *inputs, output = self.operands
        room = _engine().room(self.offsets[-1])
        for operand, pointer, offset in zip(self.operands, pointers, self.offsets, strict=False):
            operand.point_at(pointer, room + offset)
        for operand in inputs:
            operand.copy_in()
        self.execute()
        output.copy_out()


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
        self.engine, self.stream, self.attributes = c_void_p(), c_void_p(), c_void_p()
        call("dnnl_engine_create", byref(self.engine), c_int(_CPU), c_size_t(0))
        call("dnnl_stream_create", byref(self.stream), self.engine, c_int(_IN_ORDER))
        call("dnnl_primitive_attr_create", byref(self.attributes))
        mode = c_int(_OWN_SCRATCHPAD)
        call("dnnl_primitive_attr_set_scratchpad_mode", self.attributes, mode)
        self.bytes = np.empty(0, np.uint8)

    def room(self, size: int = 0) -> int:
        """The address of so many bytes, which all operations share, one after the other."""
        if self.bytes.size < size + _ALIGNMENT:
            self.bytes = np.empty(size + _ALIGNMENT, np.uint8)
        return _aligned(self.bytes.ctypes.data)


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

    def __call__(self) -> None:
        call("dnnl_memory_set_data_handle", self.scratchpad, c_void_p(_engine().room()))
        stream, count = _engine().stream, c_int(len(self.arguments))
        call("dnnl_primitive_execute", self.primitive, stream, count, self.arguments)
        call("dnnl_stream_wait", stream)


class _Operand:
    """An array in XLA's layout, and where oneDNN wants another, also in that."""

    def __init__(self, described: c_void_p, kind: int, outer_layout: c_void_p):
        is_gradient, of = divmod(kind, GRADIENT)
        inner_layout = _query(described, _QUERY[of] + is_gradient)
        self.outer = self.inner = _memory(outer_layout)
        self.size, self.to_inner, self.to_outer = 0, None, None
        if not library().dnnl_memory_desc_equal(inner_layout, outer_layout):
            self.inner, self.size = _memory(inner_layout), _size(inner_layout)
            self.to_inner = _reorder(outer_layout, inner_layout, self.outer, self.inner)
            self.to_outer = _reorder(inner_layout, outer_layout, self.inner, self.outer)

    def point_at(self, outer: int, inner: int) -> None:
        call("dnnl_memory_set_data_handle", self.outer, c_void_p(outer))
        if self.size:
            call("dnnl_memory_set_data_handle", self.inner, c_void_p(inner))

    def copy_in(self) -> None:
        if self.to_inner:
            self.to_inner()

    def copy_out(self) -> None:
        if self.to_outer:
            self.to_outer()


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


def _reorder(
    source: c_void_p, target: c_void_p, source_memory: c_void_p, target_memory: c_void_p
) -> _Primitive:
    described, engine, create = c_void_p(), _engine(), "dnnl_reorder_primitive_desc_create"
    pair = (source, engine.engine, target, engine.engine)
    call(create, byref(described), *pair, engine.attributes)
    return _Primitive(described, {SOURCE: source_memory, DESTINATION: target_memory})
