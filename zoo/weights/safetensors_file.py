"""Reads safetensors files by the package of that name, and models that are in several of them."""

import json
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

_MAX_HEADER = 2**22  # in bytes: some 50,000 tensors


def read(path: Path, file: BinaryIO, length: int, size: int) -> dict[str, np.ndarray]:
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
