"""Reads the tensors in a PyTorch checkpoint or a safetensors file, without PyTorch.

Only what a state dict is made of is unpickled, containers and tensors; anything else in the file
is an error, so a checkpoint cannot run code.
"""

import collections
import io
import json
import os
import pickle
import struct
import zipfile
from typing import Any

import ml_dtypes
import numpy as np

_STORAGES = {
    "DoubleStorage": np.float64,
    "FloatStorage": np.float32,
    "HalfStorage": np.float16,
    "BFloat16Storage": ml_dtypes.bfloat16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ShortStorage": np.int16,
    "CharStorage": np.int8,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
}
_SAFETENSORS = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": ml_dtypes.bfloat16,
    "I64": np.int64,
    "I32": np.int32,
    "I16": np.int16,
    "I8": np.int8,
    "U8": np.uint8,
    "BOOL": np.bool_,
}
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C


def read(path: str | os.PathLike) -> dict[str, Any]:
    """Reads the object saved at `path`.

    Args:
      path: A file of `torch.save`, or a safetensors file if its name ends in ".safetensors".

    Returns:
      A dict from names to numpy arrays, perhaps inside other dicts.

    Raises:
      FileNotFoundError: There is no such file.
      ValueError: The file is not a checkpoint, or holds more than tensors.
    """
    path = os.path.expanduser(path)
    try:
        if str(path).endswith(".safetensors"):
            return _read_safetensors(path)
        if zipfile.is_zipfile(path):
            return _read_zip(path)
        return _read_legacy(path)
    except OSError:
        raise
    except Exception as error:  # damaged bytes make pickle and zip raise exceptions of any kind
        raise ValueError(
            f"{path} is not a PyTorch state dict that can be read ({error}). Save one with "
            "torch.save(model.state_dict(), path), or use safetensors."
        ) from error


def _read_safetensors(path) -> dict[str, np.ndarray]:
    """Reads the safetensors format: length of the header, header in JSON, data."""
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        data = file.read()
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():
        start, stop = entry["data_offsets"]
        flat = np.frombuffer(data[start:stop], _SAFETENSORS[entry["dtype"]])
        tensors[name] = flat.reshape(entry["shape"])
    return tensors


def _read_zip(path) -> dict[str, Any]:
    """Reads the format of PyTorch 1.6 and later: a zip of a pickle and one file per storage."""
    with zipfile.ZipFile(path) as archive:
        (index,) = (n for n in archive.namelist() if n.endswith("/data.pkl") or n == "data.pkl")
        folder = index.removesuffix("data.pkl")

        def storage(dtype, key, size):
            return np.frombuffer(archive.read(f"{folder}data/{key}"), dtype)[:size]

        return _Unpickler(io.BytesIO(archive.read(index)), storage).load()


def _read_legacy(path) -> dict[str, Any]:
    """Reads the format before 1.6: pickles one after the other, then the storages' bytes."""
    storages = {}

    def storage(dtype, key, size):
        return storages.setdefault(key, np.empty(size, dtype))

    with open(path, "rb") as file:
        if _Unpickler(file, storage).load() != _LEGACY_MAGIC:
            raise pickle.UnpicklingError("its first number is not PyTorch's")
        for _ in range(2):  # protocol version, sizes of C types
            _Unpickler(file, storage).load()
        loaded = _Unpickler(file, storage).load()
        for key in _Unpickler(file, storage).load():
            (size,) = struct.unpack("<q", file.read(8))
            target = storages[key]
            target[...] = np.frombuffer(file.read(size * target.itemsize), target.dtype)
    return loaded


# All opcodes of protocols 0 to 4 that containers, numbers, strings and calls of globals need.
_OPCODES = {
    getattr(pickle, name)[0]
    for name in (
        "MARK STOP POP POP_MARK DUP FLOAT BINFLOAT INT BININT BININT1 BININT2 LONG LONG1 LONG4 "
        "NONE NEWTRUE NEWFALSE PERSID BINPERSID STRING BINSTRING SHORT_BINSTRING UNICODE "
        "BINUNICODE SHORT_BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8 EMPTY_LIST "
        "APPEND APPENDS LIST EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_DICT DICT SETITEM "
        "SETITEMS EMPTY_SET ADDITEMS FROZENSET GLOBAL STACK_GLOBAL REDUCE BUILD GET BINGET "
        "LONG_BINGET PUT BINPUT LONG_BINPUT MEMOIZE PROTO FRAME "
    ).split()
}


class _Unpickler(pickle._Unpickler):
    """Builds containers and arrays; every other global that a pickle names is refused.

    A pickle can call what it names and set its attributes. So what it gets for a name is an object
    made for that mention alone, and nothing of this process. The base class is the unpickler
    written in Python: its opcodes can be restricted, and its memo grows with its content, where
    the memo of the C unpickler grows with the largest index that a file mentions.
    """

    dispatch: dict[int, Any] = {
        c: load for c, load in pickle._Unpickler.dispatch.items() if c in _OPCODES
    }

    def load_build(self):
        stack: list = self.stack  # pyright: ignore[reportAttributeAccessIssue] (not in typeshed)
        if not isinstance(stack[-2], collections.OrderedDict):
            raise pickle.UnpicklingError("it sets attributes of something else than a state dict")
        stack.pop()  # `_metadata` of the state dict: versions of its layers

    dispatch[pickle.BUILD[0]] = load_build

    def __init__(self, file, storage):
        super().__init__(file, encoding="utf-8")
        self._storage = storage

    def find_class(self, module, name):
        return _AllowedGlobal(module, name)

    def persistent_load(self, saved_id):
        kind, dtype, key, _, size, *_ = saved_id
        if kind != "storage" or not isinstance(dtype, _AllowedGlobal) or type(size) is not int:
            raise pickle.UnpicklingError("it refers to something else than tensors' storages")
        return self._storage(dtype.dtype(), key, size)


class _AllowedGlobal:
    """Stands for the global `module.name` of a pickle: a constructor or a storage's type."""

    __slots__ = ("_module", "_name")

    def __init__(self, module: str, name: str):
        constructors = _CONSTRUCTORS.get(module, ())
        if name not in constructors and not (module == "torch" and name in _STORAGES):
            raise pickle.UnpicklingError(f"it holds a {module}.{name}, not only tensors")
        self._module, self._name = module, name

    def __call__(self, *args):
        try:
            return _CONSTRUCTORS[self._module][self._name](*args)
        except KeyError:
            raise pickle.UnpicklingError(f"it calls {self._module}.{self._name}") from None

    def dtype(self) -> type:
        try:
            return _STORAGES[self._name]
        except KeyError:
            raise pickle.UnpicklingError(f"{self._module}.{self._name} is no storage") from None


def _ordered_dict(*items) -> dict:
    return collections.OrderedDict(*items)


def _parameter(data, *_):
    """Returns a parameter's tensor; `requires_grad` and hooks are dropped."""
    return data


def _tensor(storage, offset, size, stride, *_) -> np.ndarray:
    """Returns a read-only view of the storage, after checking that it lies within."""
    if not isinstance(storage, np.ndarray):
        raise pickle.UnpicklingError("it holds a tensor without a storage")
    shape, steps = tuple(size), tuple(stride)
    numbers = (offset, *shape, *steps)
    if len(shape) != len(steps) or any(type(n) is not int or n < 0 for n in numbers):
        raise pickle.UnpicklingError("it holds a tensor whose shape or strides are wrong")
    last = offset + sum((length - 1) * step for length, step in zip(shape, steps, strict=True))
    if 0 not in shape and last >= storage.size:
        raise pickle.UnpicklingError("it holds a tensor that is larger than its storage")
    strides = tuple(step * storage.itemsize for step in steps)
    return np.lib.stride_tricks.as_strided(storage[offset:], shape, strides, writeable=False)


_CONSTRUCTORS = {
    "collections": {"OrderedDict": _ordered_dict},
    "torch._utils": {"_rebuild_tensor_v2": _tensor, "_rebuild_parameter": _parameter},
}
