"""Reads the tensors in a PyTorch checkpoint, a safetensors file or a `.npz`, without PyTorch.

What a file holds is data: nothing of it runs, every size is compared with the file's before memory
is taken, and every tensor with its storage before there is a view of it. safetensors are read by
the package of that name and zips by `zipfile`; how PyTorch puts tensors into a pickle, a zip or a
file of before version 1.6 no small package reads, so that is done in the modules beside this one.
"""

import os
import stat
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from zoo.weights import legacy_file, pickled, safetensors_file, shards, tensors, zip_file

_tensor = tensors._tensor  # where it was in version 0.1

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
        shows in its first bytes; a name that ends in ".safetensors" is believed. Or the index of a
        model in several files beside it, "model.safetensors.index.json".

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
            if path.endswith(shards.SUFFIX):
                return shards.read(Path(path), file, read)
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
    if reason := something_else(start):
        raise ValueError(reason)
    is_zip = start.startswith(b"PK\x03\x04")
    (length,) = struct.unpack("<Q", start[:8].ljust(8, b"\xff"))
    if path.suffix == ".safetensors" and is_zip:
        raise ValueError("it is a zip named .safetensors, perhaps by torch.save: name it .pth")
    if path.suffix == ".safetensors" or start[8:9] == b"{" and length < size:
        return safetensors_file.read(path, file, length, size)
    loaded = zip_file.read(file, size) if is_zip else legacy_file.read(file, start, size)
    if isinstance(loaded, pickled.Placeholder) and not loaded:
        raise ValueError(
            f"it holds a {pickled.shown(loaded.name)}, not only tensors; of a whole model, save "
            "its state dict"
        )
    if not isinstance(loaded, Mapping):
        kind = loaded.name if isinstance(loaded, pickled.Global) else type(loaded).__name__
        raise ValueError(f"it holds a {pickled.shown(kind)}, not only tensors with names")
    return dict(loaded)


def something_else(start: bytes) -> str | None:
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
