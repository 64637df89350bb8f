"""Random access to TFRecord files, by an index of record offsets that is built once."""

import contextlib
import hashlib
import os
import struct
import zipfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from input_pipeline.example import DataError, UnreadableImage

_HEADER = struct.Struct("<QI")  # length of the record, its masked CRC
_FOOTER = 4  # masked CRC of the record

# File name: ((size, mtime in ns) when it was indexed, offsets of its records).
_Index = dict[str, tuple[tuple[int, int], np.ndarray]]


def open_records(instructions: Sequence) -> "TfrecordRecords":
    """Returns the records that tfds's file instructions (filename, skip, take) select, in order.

    Raises:
      DataError: a file is cut short or holds another number of records than tfds says.
    """
    paths = [Path(i.filename) for i in instructions]
    offsets = _offsets(paths)
    files, starts = [], []
    for number, instruction in enumerate(instructions):
        found, described = len(offsets[number]), instruction.examples_in_shard
        if found != described:
            raise DataError(
                f"{paths[number]} holds {found} records, and the data set's dataset_info.json "
                f"says {described}. Copy or prepare the data set again."
            )
        part = offsets[number][instruction.skip :][: instruction.take]
        files.append(np.full(len(part), number, np.int32))
        starts.append(part)
    return TfrecordRecords(tuple(map(str, paths)), np.concatenate(files), np.concatenate(starts))


@dataclass(frozen=True, eq=False)
class TfrecordRecords:
    """Random access to records.

    Attributes:
      paths: the files.
      files: int32 [N], for each record the index of its file in `paths`.
      offsets: int64 [N], for each record the position of its header in bytes.
    """

    paths: tuple[str, ...]
    files: np.ndarray
    offsets: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets)

    def __getitems__(self, indices: Sequence[int]) -> list[bytes]:
        return [self._read(self.paths[self.files[i]], int(self.offsets[i])) for i in indices]

    def _read(self, path: str, offset: int) -> bytes:
        # Opened for each record: a data set of 1,000 shards would use up the file descriptors.
        try:
            file = os.open(path, os.O_RDONLY)
            try:
                length, _ = _HEADER.unpack(os.pread(file, _HEADER.size, offset))
                record = os.pread(file, length, offset + _HEADER.size)
            finally:
                os.close(file)
        except (OSError, struct.error) as error:
            raise UnreadableImage(f"Record at byte {offset} of {path}: {error}.") from error
        if len(record) != length:
            raise UnreadableImage(f"The record at byte {offset} of {path} is cut short.")
        return record


def _offsets(paths: Sequence[Path]) -> list[np.ndarray]:
    """The offsets of the records of each file, from the saved index if it is up to date."""
    states = {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in paths}
    candidates = _index_paths(paths[0])
    index = _load(candidates)
    changed = [path for path in paths if index.get(path.name, (None,))[0] != states[path]]
    if changed:
        print(f"Indexing {len(changed)} TFRecord files of {paths[0].parent} (once).", flush=True)
        with ThreadPoolExecutor(16) as pool:
            for path, offsets in zip(changed, pool.map(_scan, changed), strict=True):
                index[path.name] = (states[path], offsets)
        _save(candidates, index)
    return [index[path.name][1] for path in paths]


def _scan(path: Path) -> np.ndarray:
    """Walks from record to record, reading the headers only."""
    size, offset, offsets = path.stat().st_size, 0, []
    with path.open("rb", buffering=0) as file:
        while offset < size:
            header = os.pread(file.fileno(), _HEADER.size, offset)
            offsets.append(offset)
            length = _HEADER.unpack(header)[0] if len(header) == _HEADER.size else size
            offset += _HEADER.size + length + _FOOTER
    if offset != size:
        raise DataError(
            f"{path} is not a complete TFRecord file: its last record begins at byte {offsets[-1]} "
            f"and ends beyond the file's {size} bytes. Copy or prepare the data set again."
        )
    return np.array(offsets, np.int64)


def _index_paths(path: Path) -> list[Path]:
    """Where the index of this file's split is saved: with the data, else in the user's cache."""
    name = f".{path.name.split('.')[0]}.tfrecord_offsets.npz"
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    folder = hashlib.sha256(str(path.parent.resolve()).encode()).hexdigest()[:16]
    return [path.parent / name, cache / "flax-zoo" / "tfrecord" / folder / name]


def _load(candidates: Sequence[Path]) -> _Index:
    for path in filter(Path.exists, candidates):
        try:
            # numpy leaves a broken file open that it has opened itself.
            with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
                parts = np.split(stored["offsets"], np.cumsum(stored["counts"])[:-1])
                states = zip(stored["sizes"].tolist(), stored["mtimes"].tolist(), strict=True)
                entries = zip(states, parts, strict=True)
                return dict(zip(stored["names"].tolist(), entries, strict=True))
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            print(f"The index {path} cannot be read and is built again: {error}", flush=True)
    return {}


def _save(candidates: Sequence[Path], index: _Index) -> None:
    states = [state for state, _ in index.values()]
    offsets = [offsets for _, offsets in index.values()]
    for path in candidates:
        temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as file:
                np.savez(
                    file,
                    names=np.array(list(index)),
                    sizes=np.array([size for size, _ in states], np.int64),
                    mtimes=np.array([mtime for _, mtime in states], np.int64),
                    counts=np.array([len(x) for x in offsets], np.int64),
                    offsets=np.concatenate(offsets),
                )
            temporary.replace(path)
            return
        except OSError as error:
            refused = error
            with contextlib.suppress(OSError):  # it may not even have been created
                temporary.unlink()
    print(f"The index of record offsets could not be saved for the next run: {refused}", flush=True)
