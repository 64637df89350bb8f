"""Reads files of PyTorch before version 1.6: pickles one after the other, then the storages."""

import struct
from typing import Any, BinaryIO

import numpy as np

from zoo.weights import pickled
from zoo.weights.tensors import Storages, make

MAGIC = 0x1950A86A20F9469CFC6C


def read(file: BinaryIO, start: bytes, size: int) -> Any:
    """Reads the format before 1.6: pickles one after the other, then the storages' bytes."""
    if not start.startswith(b"\x80"):
        raise ValueError("it begins like no file of weights")
    buffers: dict[Any, np.ndarray] = {}
    room = size

    def storage(key: Any, dtype: np.dtype, count: int) -> np.ndarray:
        nonlocal room
        room -= count * dtype.itemsize
        if room < 0:
            raise ValueError("it is cut short, or its storages are larger than the file")
        buffers[key] = np.empty(count, dtype)
        return buffers[key]

    def load() -> Any:
        return pickled.load(file, make, storages.persistent)

    storages = Storages(storage)
    if load() != MAGIC:
        raise ValueError("it is a pickle, but not of PyTorch: its first number is another")
    if (version := load()) != 1001:
        raise ValueError(f"its version is {version!r}, not 1001")
    system = load()
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        # PyTorch swaps the bytes there, but who else wrote this may have not.
        raise ValueError("it was written on a big-endian machine, or does not say on which")
    loaded, keys = load(), load()
    if not isinstance(keys, list) or not all(isinstance(key, (str, int)) for key in keys):
        raise ValueError("its list of storages is damaged")
    if len(set(keys)) != len(keys) or set(keys) != set(buffers):
        raise ValueError("its list of storages does not fit its tensors")
    for key in keys:
        buffer = buffers[key]
        (count,) = struct.unpack("<q", file.read(8).ljust(8, b"\xff"))
        if count != buffer.size or file.readinto(buffer.view(np.uint8)) != buffer.nbytes:  # pyright: ignore[reportAttributeAccessIssue]
            raise ValueError(f"it is cut short or damaged, in storage {pickled.shown(str(key))}")
    return loaded
