"""Folders of images: ROOT/SPLIT/CLASS/**/*.jpg (or another of `ENDINGS`)."""

import functools
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

from input_pipeline.example import (
    MAX_PIXELS,
    DataError,
    Example,
    OnUnreadable,
    Source,
    UnreadableImage,
)
from input_pipeline.files import MAX_BYTES, read_regular

ENDINGS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".gif", ".bmp", ".tif"),
    *(".tiff", ".ppm", ".pgm", ".pbm", ".pnm"),
)
ClassOrder = Literal["sorted", "natural"]

# Folders that programs make beside what people put there (in lower case); what begins with a dot is
# left out as well.
_OF_TOOLS = {
    *("__macosx", "__pycache__", "@eadir", "@recycle", "@recently-snapshot", "@tmp", "#recycle"),
    *("#snapshot", "$recycle.bin", "recycler", "system volume information", "lost+found"),
    *("network trash folder", "temporary items", "cvs"),
}
_BOUND = r"(-?[0-9]{1,18}|-?[0-9]{1,3}(\.[0-9]{1,9})?%)?"
_PART = re.compile(rf"(?P<name>[^\[\]]+)(\[(?P<start>{_BOUND}):(?P<stop>{_BOUND})\])?")

File = tuple[str, int]  # path, label


def open_folder(
    root: Path,
    split: str,
    on_unreadable: OnUnreadable,
    class_order: ClassOrder = "sorted",
    max_pixels: int = MAX_PIXELS,
) -> Source:
    """Returns the images of the folder root/split, labelled by its subfolders.

    Images are found in folders below those of the classes too. Hidden files, folders of tools and
    files that are no images are left out; their numbers are printed.

    Args:
      root: the folder of the splits.
      split: name of a folder, or a part of it that is taken of each class: "train[:90%]" and
        "train[90%:]", or "train[:20]", the first 20 images of each class.
      on_unreadable: see `Source`.
      class_order: "sorted" as strings, as in torchvision (1, 10, 2), or "natural" (1, 2, 10).
      max_pixels: an image of more pixels is refused before it is decoded.

    Raises:
      DataError: there is no such folder, or no image in it.
    """
    part = _PART.fullmatch(split)
    if part is None or class_order not in ("sorted", "natural"):
        raise DataError(
            f"The split {split!r} or the order of classes {class_order!r} is not understood. Parts "
            "of a split are written as train[:90%] or train[10:20], and classes are 'sorted' as "
            "strings or in 'natural' order."
        )
    folder = root / part["name"]
    if not os.path.isdir(folder):  # False too for names that the system refuses
        raise DataError(
            f"There is no folder {folder}. The images of a data set are in folders "
            f"ROOT/SPLIT/CLASS, and it is opened as folder:ROOT with the name of a split; splits "
            f"found here: {', '.join(splits(root)) or 'none'}."
        )
    left_out = Counter()
    try:
        classes, files = _list(folder, class_order, left_out)
    except OSError as error:
        raise DataError(f"The folder {folder} cannot be listed: {error}.") from error
    chosen = [file for of_class in files for file in _part(of_class, part["start"], part["stop"])]
    empty = [name for name, of_class in zip(classes, files, strict=True) if not of_class]
    _tell(folder, left_out, empty)
    if not chosen:
        raise DataError(
            f"There is no image in {folder}{split.removeprefix(part['name'])}. Expected files "
            f"{folder}/CLASS/NAME.jpg (or {', '.join(ENDINGS[1:])}), one folder per class."
        )
    examples = FolderExamples(tuple(chosen), max_pixels)
    return Source(f"folder:{root}", split, examples, classes, None, on_unreadable)


def splits(root: Path) -> list[str]:
    """Returns the names of the subfolders of `root`, sorted; [] if there is no such folder."""
    try:
        return sorted(e.name for e in os.scandir(root) if _is("dir", e) and not _of_a_tool(e.name))
    except (OSError, ValueError):  # no folder, or no name of one
        return []


def _list(
    folder: Path, class_order: ClassOrder, left_out: Counter
) -> tuple[tuple[str, ...], list[list[File]]]:
    """The names of the classes and the files of each; what is left out is counted by kind."""
    names = []
    for entry in os.scandir(folder):
        if _of_a_tool(entry.name):
            left_out["hidden files and folders of tools"] += 1
        elif _is("dir", entry):
            names.append(entry.name)
        else:
            left_out["files outside of classes"] += 1
    names.sort(key=_natural if class_order == "natural" else None)
    files = [
        [(path, label) for path in _images(str(folder / name), left_out)]
        for label, name in enumerate(names)
    ]
    return tuple(names), files


def _images(folder: str, left_out: Counter) -> Iterator[str]:
    """Yields the images in a folder by name, then those of the folders below it, by path."""
    pending, known = [folder], set()
    found: dict[str, list[str]] = {}
    while pending:
        here = pending.pop()
        state = os.stat(here)
        if (state.st_dev, state.st_ino) in known:  # a link that leads back
            continue
        known.add((state.st_dev, state.st_ino))
        found[here] = []
        for entry in os.scandir(here):
            if _of_a_tool(entry.name):
                left_out["hidden files and folders of tools"] += 1
            elif _is("dir", entry):
                pending.append(entry.path)
            elif not entry.name.lower().endswith(ENDINGS):
                ending = os.path.splitext(entry.name)[1].lower()
                left_out[f"{ending} files" if ending else "files without an ending"] += 1
            elif not _is("file", entry):
                left_out["FIFOs, devices and broken links"] += 1
            else:
                found[here].append(entry.name)
    for here in sorted(found):
        yield from (os.path.join(here, name) for name in sorted(found[here]))


def _is(kind: str, entry: os.DirEntry) -> bool:
    """Whether an entry, or what it links to, is a "dir" or a regular "file"."""
    try:
        return entry.is_dir() if kind == "dir" else entry.is_file()
    except OSError:  # a link to itself
        return False


def _of_a_tool(name: str) -> bool:
    return name.startswith(".") or name.lower() in _OF_TOOLS


def _natural(name: str) -> list:
    """A key by which numbers in names sort as numbers: class2 before class10."""
    parts = re.split(r"([0-9]+)", name)
    return [[int(x) if x.isdecimal() else x for x in parts], name]


def _part(files: list[File], start: str | None, stop: str | None) -> list[File]:
    """The files in [start, stop), each a number or a percentage, counted from the end if negative.

    Percentages are rounded as by tfds.
    """
    bounds = []
    for text in (start or "0", stop or "100%"):
        number = Fraction(text.rstrip("%"))
        bounds.append(round(number * len(files) / 100) if text.endswith("%") else int(number))
    return files[slice(*bounds)]


def _tell(folder: Path, left_out: Counter, empty: list[str]) -> None:
    """Says what was left out, and which classes are empty."""
    said = []
    if left_out:
        said.append("left out " + ", ".join(f"{what} ({n:,})" for what, n in left_out.items()))
    if empty:
        names = ", ".join(empty[:5]) + (", ..." if len(empty) > 5 else "")
        said.append(f"no image in {len(empty):,} classes ({names})")
    if said:
        _say(f"{folder}: {'; '.join(said)}.")


@functools.cache
def _say(text: str) -> None:
    """Prints a text once in a process, however often a folder is opened."""
    print(text, flush=True)


@dataclass(frozen=True)
class FolderExamples:
    """Examples that are image files.

    Attributes:
      files: (path, label) of each.
      max_pixels: an image of more pixels is refused before it is decoded.
    """

    files: tuple[File, ...]
    max_pixels: int = MAX_PIXELS

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Example:
        path, label = self.files[index]
        try:
            return Example(read_regular(path, MAX_BYTES), label, path, self.max_pixels)
        except OSError as error:
            raise UnreadableImage(f"The image {path} cannot be read: {error}.") from error

    def __getitems__(self, indices: Sequence[int]) -> list[Example]:
        return [self[index] for index in indices]
