"""Functions of this process that compiled programs call on CPU: XLA's foreign function interface.

XLA passes a C struct, the call frame, to a C function: xla/ffi/api/c_api.h. `ctypes` can read the
one and be the other, so that nothing has to be compiled to reach a C library from a JAX program.
"""

import ctypes
import functools
import itertools
from collections.abc import Callable, Sequence
from ctypes import POINTER, byref, c_char_p, c_int, c_int64, c_size_t, c_uint32, c_void_p

import jax

_API_VERSION = (0, 3)  # what the structs below are
_METADATA = 1  # the extension by which XLA asks for that version
_registered = []  # C functions must outlive the programs that call them


@functools.cache
def register(
    name: str,
    function: Callable[[bytes, Sequence[int], Sequence[int]], Sequence[Callable[[], None]]],
) -> None:
    """Makes `function`, once, what `jax.ffi.ffi_call(name, ...)(*arrays, key="...")` calls on CPU.

    It gets the key, the addresses of the arrays and those of the results, and returns the parts of
    the work, which XLA's threads do at once, in any order. What it or a part raises becomes an
    error of the program.
    """

    @_HANDLER
    def handler(pointer):
        frame = pointer.contents
        try:
            if frame.extension and frame.extension.contents.type == _METADATA:
                version = frame.extension.contents.metadata.contents.version
                version.major, version.minor = _API_VERSION
                return None
            parts = function(_key(frame), _addresses(frame.arguments), _addresses(frame.results))
            if len(parts) == 1:
                parts[0]()
            else:
                _Job(name, parts, frame.api).start(frame)
        except BaseException as error:  # nothing can pass through C, Ctrl-C neither
            return _error(frame.api, _message(name, error))
        return None

    _registered.append(handler)
    jax.ffi.register_ffi_target(name, jax.ffi.pycapsule(handler), platform="cpu")


class _Job:
    """Work in parts, shared by the thread that XLA called and those that have nothing to do.

    Nobody waits for a part: the first thread takes all that nobody else has begun and leaves the
    rest as a future, which whoever ends last completes.
    """

    running: dict[int, "_Job"] = {}
    numbers = itertools.count()

    def __init__(self, name: str, parts: Sequence[Callable[[], None]], api: int):
        self.name, self.parts, self.api = name, parts, api
        self.begun, self.ended = itertools.count(), itertools.count(1)  # atomic, as C iterators
        self.message = None
        created = _FutureArguments(ctypes.sizeof(_FutureArguments))
        _function(api, _FUTURE_CREATE)(byref(created))
        self.future = created.future

    def start(self, frame: "_Frame") -> None:
        number = next(self.numbers)
        self.running[number] = self
        frame.future = self.future
        task = ctypes.cast(_help, c_void_p)
        arguments = (ctypes.sizeof(_ScheduleArguments), None, frame.context, task, number)
        for _ in self.parts[1:]:  # without a thread pool an error, and this thread does everything
            _function(self.api, _SCHEDULE)(byref(_ScheduleArguments(*arguments)))
        self.work()
        self.running.pop(number)  # all is begun: those who come later find nothing to do

    def work(self) -> None:
        while (number := next(self.begun)) < len(self.parts):
            try:
                self.parts[number]()
            except BaseException as error:  # or the program would wait for ever
                self.message = _message(self.name, error)
            if next(self.ended) == len(self.parts):
                self.complete()

    def complete(self) -> None:
        size = ctypes.sizeof(_FutureArguments)
        if self.message is None:
            _function(self.api, _FUTURE_SET_AVAILABLE)(
                byref(_FutureArguments(size, None, self.future))
            )
        else:
            error = _error(self.api, self.message)
            arguments = _FutureArguments(size, None, self.future, error)
            _function(self.api, _FUTURE_SET_ERROR)(byref(arguments))


def _message(name: str, error: BaseException) -> str:
    return f"{name}: {str(error) or repr(error)}"


@ctypes.CFUNCTYPE(None, c_size_t)
def _help(number: int) -> None:
    """What XLA's other threads call."""
    if job := _Job.running.get(number):
        job.work()


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


class _ScheduleArguments(ctypes.Structure):
    _fields_ = [
        ("size", c_size_t),
        ("extension", c_void_p),
        ("context", c_void_p),
        ("task", c_void_p),
        ("data", c_size_t),
    ]


class _FutureArguments(ctypes.Structure):
    _fields_ = [
        ("size", c_size_t),
        ("extension", c_void_p),
        ("future", c_void_p),
        ("error", c_void_p),
    ]


# Functions of XLA_FFI_Api, by their place behind its size, extension, version and internals.
_ERROR_CREATE, _SCHEDULE = 0, 11
_FUTURE_CREATE, _FUTURE_SET_AVAILABLE, _FUTURE_SET_ERROR = 13, 14, 15
_FIRST_FUNCTION = 8 + 8 + 24 + 8
_INTERNAL = 13
_FUNCTION = ctypes.CFUNCTYPE(c_void_p, c_void_p)


@functools.cache
def _function(api: int, place: int) -> Callable[[c_void_p], int | None]:
    return _FUNCTION(c_void_p.from_address(api + _FIRST_FUNCTION + 8 * place).value)


def _error(api: int, message: str) -> int:
    arguments = _ErrorArguments(ctypes.sizeof(_ErrorArguments), None, message.encode(), _INTERNAL)
    return _function(api, _ERROR_CREATE)(byref(arguments))


def _addresses(buffers: _Buffers) -> list[int]:
    return [buffers.buffers[i].contents.data for i in range(buffers.length)]


def _key(frame: _Frame) -> bytes:
    """The one attribute of a call, a string."""
    span = frame.attributes.values[0].contents
    return ctypes.string_at(span.pointer, span.length)
