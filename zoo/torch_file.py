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
    """The object saved at `path`, a dict from names to numpy arrays (perhaps inside other dicts).

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: the file is not a checkpoint, or holds more than tensors.
    """
    path = os.path.expanduser(path)
    try:
        if str(path).endswith(".safetensors"):
            return _read_safetensors(path)
        if zipfile.is_zipfile(path):
            return _read_zip(path)
        return _read_legacy(path)
    except (pickle.UnpicklingError, EOFError, KeyError, struct.error, IndexError) as error:
        raise ValueError(
            f"{path} is not a PyTorch state dict that can be read ({error}). Save one with "
            "torch.save(model.state_dict(), path), or use safetensors."
        ) from error


def _read_safetensors(path) -> dict[str, np.ndarray]:
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
    """The format of PyTorch 1.6 and later: a pickle and one file a storage, in a zip archive."""
    with zipfile.ZipFile(path) as archive:
        (index,) = (n for n in archive.namelist() if n.endswith("/data.pkl") or n == "data.pkl")
        folder = index.removesuffix("data.pkl")

        def storage(dtype, key, size):
            return np.frombuffer(archive.read(f"{folder}data/{key}"), dtype)[:size]

        return _Unpickler(io.BytesIO(archive.read(index)), storage).load()


def _read_legacy(path) -> dict[str, Any]:
    """The format before 1.6: pickles one after the other, then the storages' bytes."""
    storages = {}

    def storage(dtype, key, size):
        return storages.setdefault(key, np.empty(size, dtype))

    with open(path, "rb") as file:
        if pickle.Unpickler(file).load() != _LEGACY_MAGIC:
            raise pickle.UnpicklingError("its first number is not PyTorch's")
        for _ in range(2):  # protocol version, sizes of C types
            pickle.Unpickler(file).load()
        loaded = _Unpickler(file, storage).load()
        for key in pickle.Unpickler(file).load():
            (size,) = struct.unpack("<q", file.read(8))
            target = storages[key]
            target[...] = np.frombuffer(file.read(size * target.itemsize), target.dtype)
    return loaded


class _Unpickler(pickle.Unpickler):
    """Builds arrays where the pickle asks for tensors, and refuses every other global."""

    def __init__(self, file, storage):
        super().__init__(file)
        self._storage = storage

    def find_class(self, module, name):
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return lambda data, requires_grad, hooks: data
        raise pickle.UnpicklingError(f"it holds a {module}.{name}, not only tensors")

    def persistent_load(self, saved_id):
        _, dtype, key, _, size, *_ = saved_id
        return self._storage(dtype, key, size)


def _tensor(storage, offset, size, stride, *_):
    strides = tuple(step * storage.itemsize for step in stride)
    return np.lib.stride_tricks.as_strided(storage[offset:], size, strides, writeable=False)
