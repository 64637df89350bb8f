"""Reads a model that is in several files, as transformers and huggingface_hub save large ones.

Beside the files there is an index, "model.safetensors.index.json". Its "weight_map" names the file
of each tensor: {"conv1.weight": "model-00001-of-00002.safetensors", ...}.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from zoo.weights.pickled import shown

SUFFIX = ".index.json"
_MAX_BYTES = 2**24  # of an index
_MAX_FILES = 1000


def read(
    path: Path, file: BinaryIO, read_file: Callable[[Path], Mapping[str, Any]]
) -> dict[str, Any]:
    """Returns the tensors of all files that the index at `path` names, read by `read_file`.

    Raises:
      ValueError: The index is damaged or names a file that is not beside it, or a file has not the
        tensors that the index says.
    """
    by_file: dict[str, set[str]] = {}
    for name, place in weight_map(file.read(_MAX_BYTES + 1)).items():
        by_file.setdefault(place, set()).add(name)
    tensors: dict[str, Any] = {}
    for place, names in by_file.items():
        try:
            part = read_file(path.parent / place)
        except OSError as error:
            raise ValueError(f"its part {place} cannot be read: {error}") from error
        if part.keys() != names:
            different = sorted(part.keys() ^ names)
            raise ValueError(
                f"its part {place} has other tensors than the index says: "
                f"{', '.join(map(shown, different[:3]))}"
            )
        tensors |= part
    return tensors


def weight_map(content: bytes) -> dict[str, str]:
    """Returns the file of each tensor, as the content of an index says.

    Raises:
      ValueError: It is damaged, too long, has a name twice, or names anything but files beside it.
    """
    if len(content) > _MAX_BYTES:
        raise ValueError(f"it is larger than the {_MAX_BYTES >> 20} MiB of an index")
    places = strict_json(content).get("weight_map")
    if not isinstance(places, dict) or not places:
        raise ValueError("it is no index of a model in several files: it has no weight_map")
    files = set()
    for place in places.values():
        if not isinstance(place, str) or not _is_plain(place):
            raise ValueError(f"it names {shown(str(place))}, which is no file beside it")
        files.add(place)
    if len(files) > _MAX_FILES:
        raise ValueError(f"it names more than {_MAX_FILES} files")
    return places


def strict_json(content: bytes) -> dict[str, Any]:
    """Returns the object in a JSON text.

    Raises:
      ValueError: It is no such text, is nested too deeply, or has a name twice in one object.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(found := dict(pairs)) < len(pairs):
            raise ValueError("it has a name twice")
        return found

    try:
        value = json.loads(content, object_pairs_hook=unique)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError("it holds no JSON object")
    return value


def _is_plain(name: str) -> bool:
    """Returns whether this is the name of a file of weights, without any folder."""
    plain = not set(name) & set("/\\:\0") and not name.startswith(".")
    return plain and name.endswith((".safetensors", ".bin", ".pth", ".pt"))
