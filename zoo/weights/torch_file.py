"""Reads the tensors in a PyTorch checkpoint, a safetensors file or a `.npz`, without PyTorch.

What a file holds is data: nothing of it runs, every size is compared with the file's before memory
is taken, and every tensor with its storage before there is a view of it. safetensors are read by
the package of that name and zips by `zipfile`; how PyTorch puts tensors into a pickle, a zip or a
file of before version 1.6 no small package reads, so that is done here.
"""

import dataclasses
import io
import json
import math
import os
import re
import stat
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np

from zoo.weights import pickled

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
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_MAX_HEADER = 2**22  # of a safetensors file, in bytes: some 50,000 tensors
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
# Elements of a view that repeats elements of a small storage, as `expand` makes it.
_MAX_REPEATED = 2**20

# What else people call weights.pth: (bytes at the start, what it is).
_OTHERS = (
    (b"version https://git-lfs", "it is a git-lfs pointer and not the file itself: git lfs pull"),
    (b"\x89HDF", "it is an HDF5 file, as Keras writes"),
    (b"\x93NUMPY", "it is one numpy array without a name"),
    (b"\x1f\x8b", "it is compressed by gzip: unpack it first"),
    (b"BZh", "it is compressed by bzip2: unpack it first"),
    (b"\xfd7zXZ", "it is compressed by xz: unpack it first"),
    (b"\x28\xb5\x2f\xfd", "it is compressed by zstd: unpack it first"),
    (b"7z\xbc\xaf", "it is a 7z archive: unpack it first"),
    (b"Rar!", "it is a rar archive: unpack it first"),
    (b"PK\x05\x06", "it is an empty zip"),
)


def read(path: str | os.PathLike) -> dict[str, Any]:
    """Reads the object saved at `path`.

    Args:
      path: A file of `torch.save`, a safetensors file, or a `.npz` of `numpy.savez`. Which it is
        shows in its first bytes; a name that ends in ".safetensors" is believed.

    Returns:
      A dict from names to numpy arrays, perhaps inside other dicts. What a checkpoint holds beside
      them, such as the arguments of a program, is a `zoo.weights.pickled.Placeholder`.

    Raises:
      OSError: The file cannot be opened, FileNotFoundError for instance.
      ValueError: The file is not a checkpoint, or is damaged; the message says what it is.
    """
    path = os.path.expanduser(path)
    try:
        status = os.stat(path)
    except ValueError as error:  # a zero byte
        raise ValueError(f"{path!r} is not a path of a file: {error}.") from error
    if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
        raise ValueError(f"{path} is not a PyTorch state dict: it is a pipe or a device.")
    with open(path, "rb") as file:
        try:
            return _read(Path(path), file, status.st_size)
        except Exception as error:  # damaged bytes make zipfile and numpy raise any kind
            known = isinstance(error, ValueError) and str(error)
            reason = str(error) if known else f"{type(error).__name__} {error}".strip()
            reason = reason if len(reason) <= 300 else reason[:300] + " ..."
            raise ValueError(
                f"{path} is not a PyTorch state dict that can be read: {reason}. Save one with "
                "torch.save(model.state_dict(), path), or use safetensors."
            ) from error


def _read(path: Path, file: BinaryIO, size: int) -> dict[str, Any]:
    """Reads a file by its first bytes."""
    start = file.read(512)
    file.seek(0)
    if reason := _something_else(start):
        raise ValueError(reason)
    is_zip = start.startswith(b"PK\x03\x04")
    (length,) = struct.unpack("<Q", start[:8].ljust(8, b"\xff"))
    if path.suffix == ".safetensors" and is_zip:
        raise ValueError("it is a zip named .safetensors, perhaps by torch.save: name it .pth")
    if path.suffix == ".safetensors" or start[8:9] == b"{" and length < size:
        return _read_safetensors(path, file, length, size)
    loaded = _read_zip(file, size) if is_zip else _read_legacy(file, start, size)
    if isinstance(loaded, pickled.Placeholder) and not loaded:
        raise ValueError(
            f"it holds a {pickled.shown(loaded.name)}, not only tensors; of a whole model, save "
            "its state dict"
        )
    if not isinstance(loaded, Mapping):
        kind = loaded.name if isinstance(loaded, pickled.Global) else type(loaded).__name__
        raise ValueError(f"it holds a {pickled.shown(kind)}, not only tensors with names")
    return dict(loaded)


def _something_else(start: bytes) -> str | None:
    """Returns what a file is that begins so, where that is known and holds no weights."""
    if not start:
        return "it is empty"
    if start.lstrip()[:9].lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        return "it is a web page: the download was refused or redirected"
    if start[257:262] == b"ustar":
        return "it is a tar archive: unpack it first"
    if start.startswith((b'{"', b"{\n")) and start[8:9] != b"{":
        return "it is JSON, such as a list of parts, or the error of a server"
    if not start.strip(b"\0"):
        return "it begins with zeros only: the download or the disk is broken"
    return next((reason for magic, reason in _OTHERS if start.startswith(magic)), None)


def _read_safetensors(path: Path, file: BinaryIO, length: int, size: int) -> dict[str, np.ndarray]:
    """Reads a safetensors file whose header is said to have `length` bytes."""
    from safetensors import SafetensorError, safe_open

    if length + 8 > size:
        raise ValueError("it is no safetensors file, or is cut short in its header")
    if length > _MAX_HEADER:
        raise ValueError(f"its header is larger than {_MAX_HEADER >> 20} MiB")
    header = file.read(length + 8)[8:]
    try:
        with safe_open(path, framework="numpy") as tensors:
            _refuse_doubled_names(header)
            return {key: tensors.get_tensor(key) for key in tensors.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"it is no safetensors file, is cut short or damaged: {error}") from error
    except AttributeError as error:
        raise ValueError(f"it has a dtype that numpy has not: {error}") from error


def _refuse_doubled_names(header: bytes) -> None:
    """Raises ValueError where a name stands twice in a header; the package takes the last."""

    def check(pairs: list[tuple[str, Any]]) -> None:
        if len({name for name, _ in pairs}) < len(pairs):
            raise ValueError("it is no safetensors file: its header has a name twice")

    json.loads(header, object_pairs_hook=check)


def _read_zip(file: BinaryIO, size: int) -> Any:
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
    return pickled.load(io.BytesIO(index), _make, _Storages(storage).persistent)


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


def _read_legacy(file: BinaryIO, start: bytes, size: int) -> Any:
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
        return pickled.load(file, _make, storages.persistent)

    storages = _Storages(storage)
    if load() != _LEGACY_MAGIC:
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


@dataclasses.dataclass(frozen=True)
class _Storage:
    """A storage that a tensor of the pickle may view; `take` returns its elements, 1-D."""

    take: Callable[[], np.ndarray]


class _Storages:
    """The storages of one file, each of which is read once.

    `read` returns the elements of the storage with a key, from its dtype and number of elements.
    """

    def __init__(self, read: Callable[[Any, np.dtype, int], np.ndarray]):
        self._read, self._known = read, {}

    def persistent(self, saved_id: Any) -> Any:
        """Returns what a persistent id of the pickle stands for.

        A storage is ("storage", type, key, device, number of elements), in old files with None or
        (key of a part, offset, number of elements) at the end.
        """
        if isinstance(saved_id, tuple) and saved_id[:1] == ("module",) and len(saved_id) > 1:
            return saved_id[1]  # a class with its source code, of a whole model
        if not isinstance(saved_id, tuple) or len(saved_id) < 5 or saved_id[0] != "storage":
            raise ValueError("its pickle refers to something else than tensors' storages")
        _, kind, key, _, count, *part = saved_id
        if not isinstance(kind, pickled.Global) or type(key) not in (str, int):
            raise ValueError("its pickle refers to a storage without a type or a key")
        module, _, name = kind.name.rpartition(".")
        if not module.startswith("torch") or name not in _STORAGES:
            return pickled.Placeholder(kind.name, ())
        _check_numbers(count)
        dtype = np.dtype(_STORAGES[name])

        def take() -> np.ndarray:
            size, known = self._known.setdefault(key, (count * dtype.itemsize, {}))
            if size != count * dtype.itemsize:
                raise ValueError(f"its storage {pickled.shown(str(key))} has two sizes")
            if dtype not in known:
                known[dtype] = self._read(key, dtype, count)
            values = known[dtype]
            if not part or part[0] is None:
                return values
            _, offset, length = part[0]
            _check_numbers(offset, length)
            if offset + length > count:
                raise ValueError("its pickle has a storage outside of the one it is a part of")
            return values[offset : offset + length]

        return _Storage(take)


def _make(name: str, arguments: tuple) -> Any:
    """Returns what a call of the global `name` makes: an array, or a placeholder."""
    maker = _MAKERS.get(name)
    try:
        return maker(*arguments) if maker else pickled.Placeholder(name, arguments)
    except TypeError:
        raise ValueError(f"its pickle calls {name} with wrong arguments") from None


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Any:
    """Returns a read-only view of the storage, after checking that it lies within.

    A view of elements of which we know no dtype is a placeholder.
    """
    if isinstance(storage, pickled.Placeholder):
        return storage
    if not isinstance(storage, _Storage):
        raise ValueError("it holds a tensor without a storage")
    if not isinstance(size, (tuple, list)) or not isinstance(stride, (tuple, list)):
        raise ValueError("it holds a tensor without a shape or without strides")
    _check_numbers(offset, *size, *stride)
    if len(size) != len(stride):
        raise ValueError("it holds a tensor whose shape and strides differ in length")
    values = storage.take()
    count = math.prod(size)
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if count and last >= values.size:
        raise ValueError("it holds a tensor that is larger than its storage")
    if count > max(values.size, _MAX_REPEATED):
        raise ValueError("it holds a tensor of many more elements than its storage")
    if not count:
        return np.empty(size, values.dtype)
    steps = [step * values.itemsize for step in stride]
    return np.lib.stride_tricks.as_strided(values[offset:], size, steps, writeable=False)


def _check_numbers(*numbers: Any) -> None:
    """Raises ValueError unless these are whole numbers from 0 up that an index can be."""
    if not all(type(number) is int and 0 <= number < 2**48 for number in numbers):
        raise ValueError("it holds a tensor whose size, offset or strides are no such numbers")


def _first(value: Any, *_: Any) -> Any:
    """Returns a parameter's tensor; `requires_grad`, hooks and state are dropped."""
    return value


def _subclass(function: Any, _kind: Any, arguments: Any, *_: Any) -> Any:
    """Returns the tensor of a subclass of Tensor."""
    if not isinstance(function, pickled.Global) or not isinstance(arguments, tuple):
        raise TypeError
    if function.name == "torch._tensor._rebuild_from_type_v2":
        raise ValueError("it holds a subclass of a subclass of Tensor")
    return _make(function.name, arguments)


_MAKERS: dict[str, Callable[..., Any]] = {
    "torch.Size": _first,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _first,
    "torch._utils._rebuild_parameter_with_state": _first,
    "torch._utils._rebuild_device_tensor_from_cpu_tensor": _first,
    "torch._tensor._rebuild_from_type_v2": _subclass,
}
