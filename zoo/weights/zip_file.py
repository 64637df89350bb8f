"""Reads the zip of PyTorch 1.6 and later, and that of `numpy.savez`.

Zips are read by `zipfile`; every size is compared with the file's before memory is taken.
"""

import io
import math
import re
import zipfile
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np

from zoo.weights import pickled
from zoo.weights.tensors import Storages, make

_MAX_CONTENTS = 2**22  # of a zip's table of contents, in bytes: some 40,000 entries
_MAX_NPY_HEADER = 10_000
_NPY_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
_CHUNK = 2**20
# Compressed entries together; PyTorch compresses none. A byte of zeros can become a thousand.
_MAX_INFLATED = 2**26
_MAX_RATIO = 20


def read(file: BinaryIO, size: int) -> Any:
    """Reads the format of PyTorch 1.6 and later, a zip of a pickle and one entry per storage.

    Or a `.npz`, which is a zip of arrays.
    """
    try:
        archive = _Archive(file, size)
    except zipfile.BadZipFile as error:
        raise ValueError(f"it is a zip that is cut short or damaged: {error}") from error
    names = archive.names()
    indices = [name for name in names if re.fullmatch(r"([^/]*/)?data\.pkl", name)]
    if not indices and names and all(name.endswith(".npy") for name in names):
        return {name.removesuffix(".npy"): archive.array(name) for name in names}
    if len(indices) != 1:
        count = "none" if not indices else "more than one"
        raise ValueError(f"it is a zip, but not of PyTorch: {count} of its entries is a data.pkl")
    folder = indices[0].removesuffix("data.pkl")
    if f"{folder}constants.pkl" in names:
        raise ValueError("it is a TorchScript program; save the state dict of its model")
    order = b"little"
    if f"{folder}byteorder" in names:
        order = archive.content(f"{folder}byteorder", limit=10).strip()
    if order not in (b"little", b"big"):
        raise ValueError(f"its byte order is {order!r}")

    def storage(key: Any, dtype: np.dtype, count: int) -> np.ndarray:
        values = archive.entry(f"{folder}data/{key}", count * dtype.itemsize)
        if order == b"big":
            values = values.view(f"u{dtype.itemsize}").byteswap()
        return values.view(dtype)

    index = archive.content(indices[0], limit=pickled.MAX_BYTES)
    return pickled.load(io.BytesIO(index), make, Storages(storage).persistent)


class _Archive:
    """A zip, whose entries are compared with the file's size before they are read."""

    def __init__(self, file: BinaryIO, size: int):
        self._zip = zipfile.ZipFile(_SmallReads(file))  # pyright: ignore[reportArgumentType]
        self._stored, self._inflated = size, _MAX_INFLATED + _MAX_RATIO * size

    def names(self) -> list[str]:
        return self._zip.namelist()

    def entry(self, name: str, expected: int | None = None) -> np.ndarray:
        """Returns an entry's bytes, uint8 [size], which must be `expected` where that is given."""
        try:
            found = self._zip.getinfo(name)
        except KeyError:
            raise ValueError(f"its entry {pickled.shown(name)} is missing") from None
        if found.flag_bits & 1:
            raise ValueError("it is encrypted: unpack it first, with its password")
        if expected not in (None, found.file_size):
            raise ValueError(
                f"its entry {pickled.shown(name)} has {found.file_size} bytes where {expected} "
                "are needed"
            )
        if found.compress_type == zipfile.ZIP_STORED:
            self._stored -= found.file_size
        elif found.compress_type == zipfile.ZIP_DEFLATED:
            self._inflated -= found.file_size
        else:
            raise ValueError("it is compressed in a way that PyTorch and numpy never use")
        if min(self._stored, self._inflated) < 0:
            raise ValueError("its entries are larger than such a file can be")
        content, filled = np.empty(found.file_size, np.uint8), 0
        try:
            with self._zip.open(found) as stream:
                while chunk := stream.read(_CHUNK):
                    content[filled : filled + len(chunk)] = np.frombuffer(chunk, np.uint8)
                    filled += len(chunk)
        except Exception as error:  # of zlib and zipfile, of many kinds
            raise ValueError(f"its entry {pickled.shown(name)} is damaged: {error}") from error
        if filled != found.file_size:
            raise ValueError(f"its entry {pickled.shown(name)} is cut short")
        return content

    def content(self, name: str, limit: int) -> bytes:
        """Returns an entry of no more than `limit` bytes."""
        if self._zip.getinfo(name).file_size > limit:
            raise ValueError(f"its entry {pickled.shown(name)} is larger than {limit} bytes")
        return self.entry(name).tobytes()

    def array(self, name: str) -> np.ndarray:
        """Returns the array in an entry that `numpy.save` wrote."""
        content = self.entry(name)
        stream = io.BytesIO(content[:_MAX_NPY_HEADER].tobytes())
        try:
            version = np.lib.format.read_magic(stream)
            shape, is_fortran, dtype = _NPY_HEADERS[version](stream)
        except Exception as error:  # of Python's tokenizer, for instance
            raise ValueError(
                f"the header of its entry {pickled.shown(name)} is damaged, or of a version that "
                f"is not known: {error}"
            ) from error
        data = content[stream.tell() :]
        if dtype.kind == "V" and dtype.itemsize == 2 and not dtype.names:
            dtype = np.dtype(ml_dtypes.bfloat16)  # numpy has no name for it
        elif dtype.kind not in "biuf":
            raise ValueError(f"its entry {pickled.shown(name)} holds {dtype}, not numbers")
        if math.prod(shape) * dtype.itemsize != len(data) or dtype.itemsize == 0:
            raise ValueError(f"its entry {pickled.shown(name)} has not the size of its shape")
        return data.view(dtype).reshape(shape, order="F" if is_fortran else "C")


class _SmallReads:
    """A file for `zipfile`, which reads a table of contents as long as the file says it is."""

    def __init__(self, file: BinaryIO):
        self._file = file
        self.seek, self.tell, self.close = file.seek, file.tell, lambda: None

    def seekable(self) -> bool:
        return True

    def read(self, length: int = -1) -> bytes:
        content = self._file.read(
            _MAX_CONTENTS + 1 if length < 0 else min(length, _MAX_CONTENTS + 1)
        )
        if len(content) > _MAX_CONTENTS:
            raise ValueError(f"its table of contents is larger than {_MAX_CONTENTS >> 20} MiB")
        return content
