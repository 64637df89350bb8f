"""Writes what `torch.load` reads, without PyTorch: arrays and text in dicts, in a zip."""

import os
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

# torch's names of storages by numpy's names of dtypes.
_STORAGES = {
    "float32": "FloatStorage",
    "float64": "DoubleStorage",
    "float16": "HalfStorage",
    "bfloat16": "BFloat16Storage",
    "int64": "LongStorage",
    "int32": "IntStorage",
    "uint8": "ByteStorage",
}


def write_torch(path: Path, content: Mapping[str, Any]) -> None:
    """Writes dicts of arrays and of what pickles by itself, as `torch.save` does since version 1.6.

    The pickle names nothing but tensors, so that `torch.load(path, weights_only=True)` reads it.

    Args:
      path: Path of the file, which appears whole or not at all.
      content: Names and values: arrays, texts, numbers, and dicts of these.

    Raises:
      ValueError: An array is of a dtype that torch has not.
      OSError: The file cannot be written.
    """
    arrays: list[np.ndarray] = []
    pickled = pickle.PROTO + b"\x02" + _value(content, arrays) + pickle.STOP
    temporary = path.with_name(path.name + ".tmp")
    try:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
            archive.writestr("model/data.pkl", pickled)
            archive.writestr("model/byteorder", "little")
            for key, array in enumerate(arrays):
                little = array.astype(array.dtype.newbyteorder("<"), copy=False)
                with archive.open(f"model/data/{key}", "w", force_zip64=True) as file:
                    file.write(np.ascontiguousarray(little).tobytes())
            archive.writestr("model/version", "3\n")
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _value(value: Any, arrays: list[np.ndarray]) -> bytes:
    """The opcodes that make a value; its arrays are added to `arrays`."""
    if isinstance(value, Mapping):
        items = (_plain(key) + _value(item, arrays) for key, item in value.items())
        return pickle.EMPTY_DICT + pickle.MARK + b"".join(items) + pickle.SETITEMS
    if isinstance(value, np.ndarray):
        arrays.append(value)
        return _tensor(value, len(arrays) - 1)
    return _plain(value)


def _tensor(array: np.ndarray, key: int) -> bytes:
    """torch._utils._rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks)."""
    if array.dtype.name not in _STORAGES:
        raise ValueError(f"torch has no tensors of {array.dtype}.")
    stride = tuple(int(np.prod(array.shape[axis + 1 :])) for axis in range(array.ndim))
    storage = b"".join(
        [
            pickle.MARK,
            _plain("storage"),
            _global("torch", _STORAGES[array.dtype.name]),
            *map(_plain, (str(key), "cpu", array.size)),
            pickle.TUPLE + pickle.BINPERSID,
        ]
    )
    arguments = [
        *(storage, _plain(0), _plain(array.shape), _plain(stride), _plain(False)),
        _global("collections", "OrderedDict") + pickle.EMPTY_TUPLE + pickle.REDUCE,
    ]
    rebuild = _global("torch._utils", "_rebuild_tensor_v2")
    return rebuild + pickle.MARK + b"".join(arguments) + pickle.TUPLE + pickle.REDUCE


def _global(module: str, name: str) -> bytes:
    return pickle.GLOBAL + f"{module}\n{name}\n".encode()


def _plain(value: Any) -> bytes:
    """The opcodes of a text, a number or a tuple of numbers: its pickle without start and end."""
    return pickle.dumps(value, 2)[2:-1]
