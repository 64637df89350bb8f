"""Folders of images: ROOT/SPLIT/CLASS/**/*.jpg (or another of `ENDINGS`), or ROOT/CLASS/*.jpg."""

import functools
import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
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
from input_pipeline.parts import part_of

ENDINGS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".gif", ".bmp", ".tif"),
    *(".tiff", ".ppm", ".pgm", ".pbm", ".pnm"),
)
ClassOrder = Literal["sorted", "natural"]
HELD_OUT = 0.2  # share of each class
TRAIN_SPLIT, HELD_OUT_SPLIT, ALL_SPLIT = "train", "held_out", "all"
SPLIT_NAMES = {
    *("train", "training", "val", "valid", "validation", "test", "testing", "held_out", "all"),
}

# Folders that programs make beside what people put there (in lower case); what begins with a dot is
# left out as well.
_OF_TOOLS = {
    *("__macosx", "__pycache__", "@eadir", "@recycle", "@recently-snapshot", "@tmp", "#recycle"),
    *("#snapshot", "$recycle.bin", "recycler", "system volume information", "lost+found"),
    *("network trash folder", "temporary items", "cvs"),
}
File = tuple[str, int]  # path, label


def open_folder(
    root: Path,
    split: str,
    on_unreadable: OnUnreadable,
    *,
    class_order: ClassOrder = "sorted",
    max_pixels: int = MAX_PIXELS,
    exif_orientation: bool = False,
    held_out: float = HELD_OUT,
    split_seed: int = 0,
) -> Source:
    """Returns the images of the folder root/split, labelled by its subfolders.

    Images are found in folders below those of the classes too. Hidden files, folders of tools and
    files that are no images are left out; their numbers are printed. A root that holds the classes
    themselves, ROOT/CLASS/*.jpg, is split in two: "train" and "held_out"; "all" is both.

    Args:
      root: the folder of the splits.
      split: name of a folder, or a part of it that is taken of each class: "train[:90%]" and
        "train[90%:]", or "train[:20]", the first 20 images of each class.
      on_unreadable: see `Source`.
      class_order: "sorted" as strings, as in torchvision (1, 10, 2), or "natural" (1, 2, 10).
      max_pixels: an image of more pixels is refused before it is decoded.
      exif_orientation: whether images are turned as their EXIF tags say.
      held_out: share of each class, in (0, 1), that is in "held_out", at least one image and never
        all.
      split_seed: determines which images these are. An image stays on its side when others come or
        go, apart from those at the border.

    Raises:
      DataError: there is no such folder, or no image in it.
    """
    name, bounds = part_of(split)
    if class_order not in ("sorted", "natural"):
        raise DataError(
            f"The order of classes {class_order!r} is not understood. Classes are 'sorted' as "
            "strings or in 'natural' order."
        )
    whole = name == ALL_SPLIT and _holds_classes(root)
    without_splits = name in (TRAIN_SPLIT, HELD_OUT_SPLIT) and _holds_classes(root)
    folder = root if without_splits or whole else root / name
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
    empty = [name for name, of_class in zip(classes, files, strict=True) if not of_class]
    _tell(folder, left_out, empty)
    if without_splits:
        sides = [_sides(root, of_class, held_out, split_seed) for of_class in files]
        counts = [sum(len(pair[side]) for pair in sides) for side in (0, 1)]
        _say(
            f"{root} has no splits: {held_out:.0%} of each class are held out for evaluation "
            f"(seed {split_seed}), {counts[1]:,} images; {counts[0]:,} are trained on."
        )
        files = [pair[name == HELD_OUT_SPLIT] for pair in sides]
    chosen = [file for of_class in files for file in of_class[slice(*bounds(len(of_class)))]]
    if not chosen and without_splits and split == name:
        raise DataError(
            f"No image of {root} is in the split {split}, as one image of a class is too few to be "
            f"split in two. The split {ALL_SPLIT} has all of them."
        )
    if not chosen:
        raise DataError(
            f"There is no image in {folder}{split.removeprefix(name)}. Expected files "
            f"{folder}/CLASS/NAME.jpg (or {', '.join(ENDINGS[1:])}), one folder per class."
        )
    examples = FolderExamples(tuple(chosen), max_pixels, exif_orientation)
    return Source(f"folder:{root}", split, examples, classes, None, on_unreadable)


def images_below(folder: str | Path) -> list[str]:
    """Returns the images in a folder and below it, without hidden files and those of tools.

    Raises:
      DataError: the folder cannot be listed.
    """
    try:
        return list(_images(os.fspath(folder), Counter()))
    except OSError as error:
        raise DataError(f"The folder {folder} cannot be listed: {error}.") from error


def splits(root: Path) -> list[str]:
    """Returns the names of the splits of `root`, sorted; [] if there is no such folder.

    They are its subfolders, or "all", "held_out" and "train" if those are classes.
    """
    if _holds_classes(root):
        return [ALL_SPLIT, HELD_OUT_SPLIT, TRAIN_SPLIT]
    try:
        return sorted(e.name for e in os.scandir(root) if _is("dir", e) and not _of_a_tool(e.name))
    except (OSError, ValueError):  # no folder, or no name of one
        return []


def _holds_classes(root: Path) -> bool:
    """Whether images are at ROOT/CLASS/*.jpg, and no folder is named as a split is."""
    try:
        below = [e for e in os.scandir(root) if _is("dir", e) and not _of_a_tool(e.name)]
        if {entry.name for entry in below} & SPLIT_NAMES:
            return False
        entries = (entry for folder in below for entry in list(os.scandir(folder)))
        return any(e.name.lower().endswith(ENDINGS) and _is("file", e) for e in entries)
    except (OSError, ValueError):
        return False


def _sides(
    root: Path, files: list[File], held_out: float, seed: int
) -> tuple[list[File], list[File]]:
    """The files of a class that are trained on, and those that are held out, each in order."""

    def draw(file: File) -> bytes:
        name = os.path.relpath(file[0], root)
        return hashlib.sha256(f"{seed}/{name}".encode(errors="surrogateescape")).digest()

    count = min(max(1, round(held_out * len(files))), len(files) - 1)
    outside = set(sorted(files, key=draw)[: max(0, count)])
    return [f for f in files if f not in outside], [f for f in files if f in outside]


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
      exif_orientation: whether images are turned as their EXIF tags say.
    """

    files: tuple[File, ...]
    max_pixels: int = MAX_PIXELS
    exif_orientation: bool = False

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Example:
        path, label = self.files[index]
        try:
            content = read_regular(path, MAX_BYTES)
            return Example(content, label, path, self.max_pixels, self.exif_orientation)
        except OSError as error:
            raise UnreadableImage(f"The image {path} cannot be read: {error}.") from error

    def __getitems__(self, indices: Sequence[int]) -> list[Example]:
        return [self[index] for index in indices]
