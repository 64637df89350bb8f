"""Data sets that are arrays: in memory, or in an .npz file."""

import dataclasses
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from input_pipeline.example import DataError, Example, OnUnreadable, Source
from input_pipeline.parts import part_of

_PER_CLASS = 1_000_000  # a label above that is no label


@dataclasses.dataclass(frozen=True)
class ArrayExamples:
    """Examples that are rows of two arrays.

    Attributes:
      images: uint8 [N, H, W, C].
      labels: int64 [N].
      name: of the data set, for messages.
    """

    images: np.ndarray
    labels: np.ndarray
    name: str

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Example:
        return Example(self.images[index], int(self.labels[index]), f"{self.name}, image {index}")

    def __getitems__(self, indices: Sequence[int]) -> list[Example]:
        return [self[index] for index in indices]


def from_arrays(
    images: np.ndarray,
    labels: np.ndarray,
    class_names: Sequence[str] = (),
    *,
    dataset: str = "arrays",
    split: str = "train",
    on_unreadable: OnUnreadable = "stop",
) -> Source:
    """Returns images and labels in memory as a split of a data set.

    Args:
      images: uint8 [N, H, W] or [N, H, W, C], C 1 or 3, in [0, 255].
      labels: integers [N], from 0.
      class_names: one name for each class; by default there are as many classes as the largest
        label says, and their names are their numbers.
      dataset, split: names for messages.
      on_unreadable: see `Source`.

    Raises:
      DataError: the arrays have other shapes or dtypes, or do not fit each other.
    """
    images, labels = np.asarray(images), np.asarray(labels)
    images = images[..., None] if images.ndim == 3 else images
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] not in (1, 3):
        raise DataError(
            f"The images of {dataset} (split {split}) are {images.dtype} {list(images.shape)}, and "
            "must be uint8 [N, H, W] or [N, H, W, C] with C 1 or 3 and values from 0 to 255."
        )
    if labels.ndim == 2 and labels.shape[1] == 1:  # Keras' CIFAR
        labels = labels[:, 0]
    if labels.dtype.kind not in "iu" or labels.shape != images.shape[:1]:
        raise DataError(
            f"The labels of {dataset} (split {split}) are {labels.dtype} {list(labels.shape)}, and "
            f"must be one integer for each of the {len(images)} images."
        )
    smallest, largest = (labels.min(), labels.max()) if len(labels) else (0, -1)
    if smallest < 0 or largest >= _PER_CLASS:
        raise DataError(
            f"The labels of {dataset} (split {split}) are from {smallest} to {largest}: they must "
            "be numbers of classes, from 0 on."
        )
    names = tuple(class_names) or tuple(map(str, range(int(largest) + 1)))
    examples = ArrayExamples(images, labels.astype(np.int64), f"{dataset} ({split})")
    return Source(dataset, split, examples, names, images.shape[1:], on_unreadable)


def open_npz(path: Path, split: str, on_unreadable: OnUnreadable = "stop") -> Source:
    """Returns a split of an .npz file with arrays x_SPLIT and y_SPLIT, as Keras' mnist.npz has.

    An array `class_names` of texts names the classes of all splits; without it there are as many
    as the largest label of any split says. Parts are written as "train[:90%]".

    Raises:
      DataError: there is no such file, split or array, or it is damaged.
    """
    name, bounds = part_of(split)
    names = split_names(path)
    if name not in names:
        raise DataError(
            f"{path} has no split {name}: it has {', '.join(names) or 'none'}. The arrays of a "
            "split are x_SPLIT, uint8 images, and y_SPLIT, labels."
        )
    arrays = _read(path, [f"x_{name}", *(f"y_{other}" for other in names), "class_names"])
    class_names = [str(text) for text in arrays.get("class_names", np.array([], str)).ravel()]
    if not class_names:
        largest = max(int(arrays[f"y_{x}"].astype(np.int64).max(initial=-1)) for x in names)
        class_names = [str(i) for i in range(min(largest, _PER_CLASS) + 1)]
    images, labels = arrays[f"x_{name}"], arrays[f"y_{name}"]
    chosen = slice(*bounds(len(images)))
    return from_arrays(
        images[chosen],
        labels[chosen],
        class_names,
        dataset=f"npz:{path}",
        split=split,
        on_unreadable=on_unreadable,
    )


def split_names(path: Path) -> list[str]:
    """Returns the names of the splits in an .npz file, sorted.

    Raises:
      DataError: there is no such file, or it is damaged.
    """
    with _opened(path) as archive:
        found = {name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")}
    return sorted(x[2:] for x in found if x.startswith("x_") and f"y_{x[2:]}" in found)


def _opened(path: Path) -> zipfile.ZipFile:
    if not os.path.isfile(path):
        raise DataError(f"There is no file {path}. Arrays are written by np.savez.")
    try:
        return zipfile.ZipFile(path)
    except Exception as error:  # zipfile raises many kinds
        raise DataError(f"{path} is not an .npz file, or is damaged: {error}.") from error


def _read(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """The arrays of a file that have these names."""
    arrays = {}
    with _opened(path) as archive:
        for name in names:
            if f"{name}.npy" not in archive.namelist():
                continue
            try:
                arrays[name] = _array(archive, archive.getinfo(f"{name}.npy"))
            except Exception as error:  # zipfile, zlib and numpy raise many kinds
                raise DataError(
                    f"The array {name} in {path} cannot be read: {type(error).__name__}: {error}."
                ) from error
    return arrays


def _array(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> np.ndarray:
    """One array; its shape is compared with its size in the archive before memory is taken."""
    with archive.open(entry) as file:
        version = np.lib.format.read_magic(file)
        readers: dict[tuple[int, int], Any] = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }
        shape, _, dtype = readers[version](file)
        size = entry.file_size - file.tell()
        count = 1
        for length in shape:
            count *= length
        if dtype.hasobject or count * dtype.itemsize != size:
            raise ValueError(f"it says {dtype} {list(shape)}, and has {size} bytes")
        if dtype.kind not in "iuU":
            raise ValueError(f"it is of {dtype}, and images, labels and names are not")
    with archive.open(entry) as file:
        array = np.lib.format.read_array(file, allow_pickle=False)
    if dtype.kind == "U":  # whose numbers may be of no character
        "".join(array.ravel().tolist()).encode()
    return array
