"""Folders of images: ROOT/SPLIT/CLASS/*.jpg (or .jpeg, .png), with the classes sorted by name."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from input_pipeline.example import DataError, Example, OnUnreadable, Source, UnreadableImage

_ENDINGS = (".jpg", ".jpeg", ".png")


def open_folder(root: Path, split: str, on_unreadable: OnUnreadable) -> Source:
    """Returns the images of the folder root/split, labelled by the sorted names of its subfolders.

    Raises:
      DataError: there is no such folder, or no image in it.
    """
    folder = root / split
    if not folder.is_dir():
        raise DataError(
            f"There is no folder {folder}. The images of a data set are in folders "
            f"ROOT/SPLIT/CLASS, and it is opened as folder:ROOT with the name of a split; splits "
            f"found here: {', '.join(splits(root)) or 'none'}."
        )
    classes = tuple(sorted(p.name for p in folder.iterdir() if p.is_dir()))
    files = [
        (str(file), label)
        for label, name in enumerate(classes)
        for file in sorted((folder / name).iterdir())
        if file.suffix.lower() in _ENDINGS
    ]
    if not files:
        raise DataError(
            f"There is no image in {folder}. Expected files {folder}/CLASS/NAME.jpg (or .jpeg, "
            ".png), one folder per class."
        )
    return Source(
        f"folder:{root}", split, FolderExamples(tuple(files)), classes, None, on_unreadable
    )


def splits(root: Path) -> list[str]:
    """Returns the names of the subfolders of `root`, sorted; [] if there is no such folder."""
    return sorted(p.name for p in root.iterdir() if p.is_dir()) if root.is_dir() else []


@dataclass(frozen=True)
class FolderExamples:
    """Examples that are image files.

    Attributes:
      files: (path, label) of each.
    """

    files: tuple[tuple[str, int], ...]

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Example:
        path, label = self.files[index]
        try:
            with open(path, "rb", buffering=0) as file:
                return Example(file.read(), label, path)
        except OSError as error:
            raise UnreadableImage(f"The image {path} cannot be read: {error}.") from error

    def __getitems__(self, indices: Sequence[int]) -> list[Example]:
        return [self[index] for index in indices]
