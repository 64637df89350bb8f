"""Convolutions by oneDNN, the library that PyTorch's CPU convolutions are: forward and gradients.

Where the package `onednn-cpu-gomp` is installed, compiled programs call its shared library by
`zoo.layers.foreign`. Images and kernels keep XLA's layouts, NHWC and HWIO; oneDNN brings kernels
into blocks itself.
"""

import ctypes
import functools
import importlib.metadata
import json
import threading
import warnings
from ctypes import byref, c_int, c_int64, c_size_t, c_void_p

import jax
import jax.numpy as jnp
import numpy as np

from zoo.layers import foreign

PACKAGE = "onednn-cpu-gomp"
NAME = "zoo_onednn_convolution"  # by which XLA knows it

# Numbers of oneDNN's C interface, oneapi/dnnl/dnnl_types.h.
_CPU, _IN_ORDER, _DIRECT, _TRAINING, _FLOAT32, _ANY = 1, 1, 1, 64, 3, 1
_ALLOCATE = c_void_p(2**64 - 1)
_SOURCE, _DESTINATION, _WEIGHTS, _SCRATCHPAD = 1, 17, 33, 80
_SCRATCHPAD_QUERY, _OWN_SCRATCHPAD, _ALIGNMENT = 136, 1, 128
_GRADIENT = 128  # of a source, weights or a destination, added to its number
_QUERY = {_SOURCE: 129, _WEIGHTS: 131, _DESTINATION: 133}  # and one more for its gradient


class _Argument(ctypes.Structure):
    _fields_ = [("kind", c_int), ("memory", c_void_p)]


@functools.cache
def _library() -> ctypes.CDLL | None:
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
            f"{PACKAGE} is installed and cannot be loaded ({error}), so XLA runs convolutions on "
            "CPU, several times slower. Is libgomp.so.1, GNU's OpenMP, on this system?",
            stacklevel=2,
        )
        return None


class _Engine:
    """oneDNN's engine, stream and settings, made at the first convolution."""

    def __init__(self):
        self.engine, self.stream, self.attributes = c_void_p(), c_void_p(), c_void_p()
        call("dnnl_engine_create", byref(self.engine), c_int(_CPU), c_size_t(0))
        call("dnnl_stream_create", byref(self.stream), self.engine, c_int(_IN_ORDER))
        call("dnnl_primitive_attr_create", byref(self.attributes))
        mode = c_int(_OWN_SCRATCHPAD)
        call("dnnl_primitive_attr_set_scratchpad_mode", self.attributes, mode)
        self.room = np.empty(0, np.uint8)

    def scratchpad(self, size: int) -> int:
        """The address of so many bytes, for the primitive that runs now."""
        if self.room.size < size + _ALIGNMENT:
            self.room = np.empty(size + _ALIGNMENT, np.uint8)
        return -(-self.room.ctypes.data // _ALIGNMENT) * _ALIGNMENT


@functools.cache
def _engine() -> _Engine:
    return _Engine()


def call(function: str, *arguments) -> None:
    status = getattr(_library(), function)(*arguments)
    if status:
        raise RuntimeError(f"{function} returned {status}")


def _described(shape, strides=None) -> c_void_p:
    """A memory descriptor of float32; without strides oneDNN chooses the layout."""
    described, axes = c_void_p(), len(shape)
    dims = (c_int64 * 12)(*shape)
    if strides is None:
        create, layout = "dnnl_memory_desc_create_with_tag", c_int(_ANY)
    else:
        create, layout = "dnnl_memory_desc_create_with_strides", (c_int64 * 12)(*strides)
    call(create, byref(described), c_int(axes), dims, c_int(_FLOAT32), layout)
    return described


# One primitive at a time: each has buffers of its own and uses all cores.
_LOCK = threading.Lock()


class _Convolution:
    """One prepared primitive: of one operation, shapes, strides, padding and groups."""

    def __init__(self, key: bytes):
        operation, images, kernel, strides, padding, groups = json.loads(key)
        engine, attributes = _engine().engine, _engine().attributes
        batch, height, width, channels = images
        rows, columns, inner, features = kernel
        out_height, out_width = (
            (side + sum(pads) - window) // step + 1
            for side, pads, window, step in zip(
                (height, width), padding, (rows, columns), strides, strict=True
            )
        )
        self.layouts = {
            _SOURCE: _nhwc(batch, height, width, channels),
            _DESTINATION: _nhwc(batch, out_height, out_width, features),
            _WEIGHTS: _hwio(rows, columns, inner, features, groups),
        }
        blocked = _described(
            (*((groups,) if groups > 1 else ()), features // groups, inner, rows, columns)
        )
        source, destination = self.layouts[_SOURCE], self.layouts[_DESTINATION]
        (top, bottom), (left, right) = padding
        geometry = [
            (c_int64 * 2)(*pair) for pair in (strides, (0, 0), (top, left), (bottom, right))
        ]
        forward, described = c_void_p(), c_void_p()
        call(
            "dnnl_convolution_forward_primitive_desc_create",
            *(byref(forward), engine, c_int(_TRAINING), c_int(_DIRECT)),
            *(source, blocked, None, destination, *geometry, attributes),
        )
        if operation == "conv2d":
            kinds, described = (_SOURCE, _WEIGHTS, _DESTINATION), forward
        elif operation == "conv2d_input_gradient":
            kinds = (_WEIGHTS, _DESTINATION + _GRADIENT, _SOURCE + _GRADIENT)
            call(
                "dnnl_convolution_backward_data_primitive_desc_create",
                *(byref(described), engine, c_int(_DIRECT)),
                *(source, blocked, destination, *geometry, forward, attributes),
            )
        else:
            kinds = (_SOURCE, _DESTINATION + _GRADIENT, _WEIGHTS + _GRADIENT)
            call(
                "dnnl_convolution_backward_weights_primitive_desc_create",
                *(byref(described), engine, c_int(_DIRECT)),
                *(source, blocked, None, destination, *geometry, forward, attributes),
            )
        self.operands = [
            _Operand(described, kind, self.layouts[kind % _GRADIENT]) for kind in kinds
        ]
        named = zip(kinds, self.operands, strict=True)
        self.execute = _Primitive(described, {kind: operand.inner for kind, operand in named})

    def run(self, *pointers: int) -> None:
        """Reads the first two arrays and writes the third."""
        with _LOCK:
            self._run(*pointers)

    def _run(self, *pointers: int) -> None:
        *inputs, output = self.operands
        for operand, pointer in zip(self.operands, pointers, strict=True):
            operand.point_at(pointer)
        for operand in inputs:
            operand.copy_in()
        self.execute()
        output.copy_out()


class _Primitive:
    """A oneDNN primitive with its operands.

    All share one scratchpad of ours: oneDNN's own belongs to the thread that made the primitive,
    and XLA calls from any of its threads.
    """

    def __init__(self, described: c_void_p, operands: dict[int, c_void_p]):
        self.primitive = c_void_p()
        call("dnnl_primitive_create", byref(self.primitive), described)
        layout = _layout(described, _SCRATCHPAD_QUERY)
        size = _library().dnnl_memory_desc_get_size
        size.restype = c_size_t
        self.scratchpad, self.scratchpad_size = _memory(layout, None), size(layout)
        operands = operands | {_SCRATCHPAD: self.scratchpad}
        self.arguments = (_Argument * len(operands))(
            *(_Argument(*pair) for pair in operands.items())
        )

    def __call__(self) -> None:
        pointer = c_void_p(_engine().scratchpad(self.scratchpad_size))
        call("dnnl_memory_set_data_handle", self.scratchpad, pointer)
        stream, count = _engine().stream, c_int(len(self.arguments))
        call("dnnl_primitive_execute", self.primitive, stream, count, self.arguments)
        call("dnnl_stream_wait", stream)


class _Operand:
    """An array in XLA's layout, and where oneDNN wants another, a buffer in that."""

    def __init__(self, described: c_void_p, kind: int, outer_layout: c_void_p):
        is_gradient, of = divmod(kind, _GRADIENT)
        inner_layout = _layout(described, _QUERY[of] + is_gradient)
        self.outer = self.inner = _memory(outer_layout, None)
        self.same = bool(_library().dnnl_memory_desc_equal(inner_layout, outer_layout))
        if not self.same:
            self.inner = _memory(inner_layout, _ALLOCATE)
            self.to_inner = _reorder(outer_layout, inner_layout, self.outer, self.inner)
            self.to_outer = _reorder(inner_layout, outer_layout, self.inner, self.outer)

    def point_at(self, pointer: int) -> None:
        call("dnnl_memory_set_data_handle", self.outer, c_void_p(pointer))

    def copy_in(self) -> None:
        if not self.same:
            self.to_inner()

    def copy_out(self) -> None:
        if not self.same:
            self.to_outer()


def _layout(described: c_void_p, query: int) -> c_void_p:
    """The layout that a primitive has chosen for an operand."""
    ask = _library().dnnl_primitive_desc_query_md
    ask.restype = c_void_p
    return c_void_p(ask(described, c_int(query), c_int(0)))


def _nhwc(batch, height, width, channels) -> c_void_p:
    row = width * channels
    return _described((batch, channels, height, width), (height * row, 1, row, channels))


def _hwio(rows, columns, inner, features, groups) -> c_void_p:
    shape = (features // groups, inner, rows, columns)
    strides = (1, features, columns * inner * features, inner * features)
    if groups == 1:
        return _described(shape, strides)
    return _described((groups, *shape), (features // groups, *strides))


def _memory(described: c_void_p, handle) -> c_void_p:
    memory = c_void_p()
    call("dnnl_memory_create", byref(memory), described, _engine().engine, handle)
    return memory


def _reorder(
    source: c_void_p, target: c_void_p, source_memory: c_void_p, target_memory: c_void_p
) -> _Primitive:
    described, engine, create = c_void_p(), _engine(), "dnnl_reorder_primitive_desc_create"
    pair = (source, engine.engine, target, engine.engine)
    call(create, byref(described), *pair, engine.attributes)
    return _Primitive(described, {_SOURCE: source_memory, _DESTINATION: target_memory})


_convolution = functools.cache(_Convolution)


def supports(*arrays) -> bool:
    """Whether the operations can run on arrays of these types, on this machine."""
    return all(array.dtype == jnp.float32 and array.size for array in arrays) and available()


def convolution(images, kernel, result, *operands, operation: str, **settings) -> jax.Array:
    """Runs "conv2d", "conv2d_input_gradient" or "conv2d_kernel_gradient" on two `operands`.

    `images`, `kernel` and `result` are shapes; `settings` strides, padding and groups.
    """
    geometry = [settings[name] for name in ("strides", "padding", "groups")]
    key = json.dumps([operation, images, kernel, *geometry])
    output = jax.ShapeDtypeStruct(result, jnp.float32)
    return jax.ffi.ffi_call(NAME, output)(*operands, key=key)


@functools.cache
def available() -> bool:
    """Whether oneDNN can be used here; if so, XLA knows our handler from now on."""
    if _library() is None:
        return False
    foreign.register(NAME, lambda key, inputs, outputs: _convolution(key).run(*inputs, *outputs))
    return True
