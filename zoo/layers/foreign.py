"""Functions of this process that compiled programs call on CPU: XLA's foreign function interface.

XLA passes a C struct, the call frame, to a C function: xla/ffi/api/c_api.h. `ctypes` can read the
one and be the other, so that nothing has to be compiled to reach a C library from a JAX program.
"""

import ctypes
from collections.abc import Callable, Sequence
from ctypes import POINTER, byref, c_char_p, c_int, c_int64, c_size_t, c_uint32, c_void_p

import jax

_API_VERSION = (0, 3)  # what the structs below are
_METADATA = 1  # the extension by which XLA asks for that version
_registered = []  # C functions must outlive the programs that call them


def register(name: str, function: Callable[[bytes, Sequence[int], Sequence[int]], None]) -> None:
    """Makes `function` what `jax.ffi.ffi_call(name, ...)(*arrays, key="...")` calls on CPU.

    It gets the key, the addresses of the arrays and those of the results. What it raises becomes an
    error of the program. XLA calls it from any of its threads.
    """

    @_HANDLER
    def handler(pointer):
        frame = pointer.contents
        try:
            if frame.extension and frame.extension.contents.type == _METADATA:
                version = frame.extension.contents.metadata.contents.version
                version.major, version.minor = _API_VERSION
                return None
            function(_key(frame), _addresses(frame.arguments), _addresses(frame.results))
        except Exception as error:  # an exception cannot pass through C
            return _error(frame, f"{name}: {error}")
        return None

    _registered.append(handler)
    jax.ffi.register_ffi_target(name, jax.ffi.pycapsule(handler), platform="cpu")


class _Extension(ctypes.Structure):
    pass


class _Version(ctypes.Structure):
    _fields_ = [("size", c_size_t), ("extension", c_void_p), ("major", c_int), ("minor", c_int)]


class _Metadata(ctypes.Structure):
    _fields_ = [("size", c_size_t), ("version", _Version), ("traits", c_uint32)]


_Extension._fields_ = [
    ("size", c_size_t),
    ("type", c_int),
    ("next", c_void_p),
    ("metadata", POINTER(_Metadata)),
]


class _Buffer(ctypes.Structure):
    _fields_ = [
        ("size", c_size_t),
        ("extension", c_void_p),
        ("dtype", c_int),
        ("data", c_void_p),
        ("rank", c_int64),
        ("dims", POINTER(c_int64)),
    ]


class _Buffers(ctypes.Structure):
    _fields_ = [
        ("size", c_size_t),
        ("extension", c_void_p),
        ("length", c_int64),
        ("types", POINTER(c_int)),
        ("buffers", POINTER(POINTER(_Buffer))),
    ]


class _Span(ctypes.Structure):
    _fields_ = [("pointer", c_void_p), ("length", c_size_t)]


class _Attributes(ctypes.Structure):
    _fields_ = [
        ("size", c_size_t),
        ("extension", c_void_p),
        ("length", c_int64),
        ("types", POINTER(c_int)),
        ("names", POINTER(POINTER(_Span))),
        ("values", POINTER(POINTER(_Span))),
    ]


class _Frame(ctypes.Structure):
    _fields_ = [
        ("size", c_size_t),
        ("extension", POINTER(_Extension)),
        ("api", c_void_p),
        ("context", c_void_p),
        ("stage", c_int),
        ("arguments", _Buffers),
        ("results", _Buffers),
        ("attributes", _Attributes),
        ("future", c_void_p),
    ]


_HANDLER = ctypes.CFUNCTYPE(c_void_p, POINTER(_Frame))


class _ErrorArguments(ctypes.Structure):
    _fields_ = [
        ("size", c_size_t),
        ("extension", c_void_p),
        ("message", c_char_p),
        ("code", c_int),
    ]


_CREATE_ERROR = ctypes.CFUNCTYPE(c_void_p, POINTER(_ErrorArguments))
# Where XLA_FFI_Api keeps XLA_FFI_Error_Create: after its size, extension, version and internals.
_CREATE_ERROR_OFFSET = 8 + 8 + 24 + 8
_INTERNAL = 13


def _error(frame: _Frame, message: str) -> int:
    create = _CREATE_ERROR(c_void_p.from_address(frame.api + _CREATE_ERROR_OFFSET).value)
    size = ctypes.sizeof(_ErrorArguments)
    return create(byref(_ErrorArguments(size, None, message.encode(), _INTERNAL)))


def _addresses(buffers: _Buffers) -> list[int]:
    return [buffers.buffers[i].contents.data for i in range(buffers.length)]


def _key(frame: _Frame) -> bytes:
    """The one attribute of a call, a string."""
    span = frame.attributes.values[0].contents
    return ctypes.string_at(span.pointer, span.length)
