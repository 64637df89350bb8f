"""Random access to TFRecord files, by an index of record offsets that is built once.

A reader of its own because TensorFlow's reads from the start only, and is not needed here
otherwise. Lengths and records are checked against their check sums, a masked CRC-32C, as there:
https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details
"""

import array
import contextlib
import hashlib
import os
import struct
import zipfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import google_crc32c
import numpy as np

from input_pipeline.example import DataError, UnreadableImage
from input_pipeline.files import MAX_BYTES, State, open_descriptor, open_regular, states

_HEADER = struct.Struct("<QI")  # length of the record, its masked CRC
_FOOTER = struct.Struct("<I")  # masked CRC of the record
_FRAME = _HEADER.size + _FOOTER.size
_SAMPLE = 16  # records of a file with which a kept index is compared

# File name: (state of the file when it was indexed, offsets of its records).
_Index = dict[str, tuple[State, np.ndarray]]


def open_records(instructions: Sequence) -> "TfrecordRecords":
    """Returns the records that tfds's file instructions (filename, skip, take) select, in order.

    Raises:
      DataError: there are no files, or one is missing, damaged, cut short or holds another number
        of records than tfds says.
    """
    paths = [Path(i.filename) for i in instructions]
    sizes, offsets = _offsets(paths, [i.examples_in_shard for i in instructions])
    files, starts, ends = [], [], []
    for number, instruction in enumerate(instructions):
        found, described = len(offsets[number]), instruction.examples_in_shard
        if found != described:
            raise DataError(
                f"{paths[number]} holds {found} records, and the data set's dataset_info.json "
                f"says {described}. Copy or prepare the data set again."
            )
        chosen = slice(instruction.skip, instruction.skip + instruction.take)
        starts.append(offsets[number][chosen])
        ends.append(np.append(offsets[number][1:], sizes[number])[chosen])
        files.append(np.full(len(starts[-1]), number, np.int32))
    return TfrecordRecords(
        tuple(map(str, paths)), *(np.concatenate(x) for x in (files, starts, ends))
    )


@dataclass(frozen=True, eq=False)
class TfrecordRecords:
    """Random access to records.

    Attributes:
      paths: the files.
      files: int32 [N], for each record the index of its file in `paths`.
      offsets: int64 [N], for each record the position of its header in bytes.
      ends: int64 [N], for each record the position behind its last byte.
    """

    paths: tuple[str, ...]
    files: np.ndarray
    offsets: np.ndarray
    ends: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets)

    def __getitems__(self, indices: Sequence[int]) -> list[bytes]:
        return [
            _read(self.paths[self.files[i]], int(self.offsets[i]), int(self.ends[i]))
            for i in indices
        ]


def _read(path: str, offset: int, end: int) -> bytes:
    # Opened for each record: a data set of 1,000 shards would use up the file descriptors.
    size = end - offset
    try:
        if size > MAX_BYTES:
            raise OSError(f"it has {size:,} bytes, and {MAX_BYTES:,} is the limit")
        descriptor = open_descriptor(path)
        try:
            content = os.pread(descriptor, size, offset)
        finally:
            os.close(descriptor)
        if len(content) != size:
            raise OSError("the file is cut short")
        record = content[_HEADER.size : -_FOOTER.size]
        if _length(content[: _HEADER.size]) != len(record):
            raise OSError("its length is damaged, or the kept index of offsets is another file's")
        if _FOOTER.unpack_from(content, size - _FOOTER.size)[0] != _masked_crc(record):
            raise OSError("it is damaged: its check sum is another")
    except OSError as error:
        where = f"The record at byte {offset} of {path}"
        raise UnreadableImage(f"{where} cannot be read: {error}.") from error
    return record


def _length(header: bytes) -> int | None:
    """The length of the record with this header, or None if its check sum is another."""
    if len(header) != _HEADER.size:
        return None
    length, crc = _HEADER.unpack(header)
    return length if _masked_crc(header[:8]) == crc else None


def _masked_crc(content: bytes) -> int:
    crc = google_crc32c.value(content)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _offsets(paths: Sequence[Path], counts: Sequence[int]) -> tuple[list[int], list[np.ndarray]]:
    """The sizes of the files and the offsets of their records, from the kept index if it fits.

    Args:
      paths: the files.
      counts: how many records each should hold.
    """
    found = states(paths)
    candidates = _index_paths(paths[0])
    index = _load(candidates)

    def fits(path: Path, count: int) -> bool:
        state, offsets = index.get(path.name, (None, None))
        return state == found[path] and _begin_records(offsets, path, count, found[path][0])

    with ThreadPoolExecutor(16) as pool:
        kept = pool.map(fits, paths, counts)
        changed = {p: n for p, n, fit in zip(paths, counts, kept, strict=True) if not fit}
        if changed:
            print(
                f"Indexing {len(changed)} TFRecord files of {paths[0].parent} (once).", flush=True
            )
            scanned = pool.map(_scan, changed, changed.values())
            for path, offsets in zip(changed, scanned, strict=True):
                index[path.name] = (found[path], offsets)
            _save(candidates, index)
    return [found[path][0] for path in paths], [index[path.name][1] for path in paths]


def _begin_records(offsets: np.ndarray | None, path: Path, count: int, size: int) -> bool:
    """Whether these can be the offsets of the file's records.

    Each must leave room for a record, and a sample of them must begin records that end where the
    next begins; the others are compared when they are read.
    """
    if offsets is None or offsets.dtype != np.int64 or offsets.shape != (count,):
        return False
    bounds = np.append(offsets, size)
    lengths = np.diff(bounds) - _FRAME
    if bounds[0] != 0 or (lengths < 0).any():
        return False
    try:
        with open_regular(path) as file:
            return all(
                _length(os.pread(file.fileno(), _HEADER.size, int(offsets[i]))) == lengths[i]
                for i in np.linspace(0, count - 1, min(count, _SAMPLE)).astype(int)
            )
    except OSError:
        return False


def _scan(path: Path, most: int) -> np.ndarray:
    """Walks from record to record, reading the headers only.

    Raises:
      DataError: the file is no TFRecord file, cut short or holds more than `most` records.
    """
    size, offset, offsets = path.stat().st_size, 0, array.array("q")
    with open_regular(path) as file:
        while offset < size:
            header = os.pread(file.fileno(), _HEADER.size, offset)
            length = _length(header) if len(header) == _HEADER.size else size
            if length is None or len(offsets) == most:
                wrong = "is not a TFRecord file, or damaged" if length is None else "has more"
                raise DataError(
                    f"{path} {wrong} at byte {offset}, behind {len(offsets)} records; the data "
                    f"set's dataset_info.json says {most}. Copy or prepare the data set again."
                )
            offsets.append(offset)
            offset += _FRAME + length
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
    for path in candidates:
        try:
            with open_regular(path) as file:
                if any(x.compress_type for x in zipfile.ZipFile(file).infolist()):
                    raise ValueError("its arrays are compressed, which can hide their size")
                file.seek(0)
                # numpy leaves a broken file open that it has opened itself.
                with np.load(file, allow_pickle=False) as stored:
                    parts = np.split(stored["offsets"], np.cumsum(stored["counts"])[:-1])
                    states = zip(stored["sizes"].tolist(), stored["mtimes"].tolist(), strict=True)
                    entries = zip(states, parts, strict=True)
                    return dict(zip(stored["names"].tolist(), entries, strict=True))
        except FileNotFoundError:
            continue
        except Exception as error:  # of any type: whatever is wrong with it, it is built again
            reason = str(error) or type(error).__name__
            print(f"The index {path} cannot be read and is built again: {reason}", flush=True)
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
