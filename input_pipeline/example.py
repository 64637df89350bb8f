"""The types of a data set: a picklable sequence of labelled images."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, SupportsIndex

import numpy as np

MAX_PIXELS = 64_000_000  # of an image; a larger one is refused before it is decoded


class DataError(Exception):
    """A data set cannot be used; the message says what is wrong, where, and what to do."""


class UnreadableImage(DataError):
    """One image cannot be read or decoded; the message names its file or record."""


@dataclass(frozen=True)
class Example:
    """One labelled image.

    Attributes:
      image: an encoded image (see `decode.FORMATS`), or a uint8 array [H, W, C].
      label: class index; -1 in splits without labels.
      name: file or record name, for messages.
      max_pixels: an encoded image of more pixels is refused before it is decoded.
      exif_orientation: whether an encoded image is turned as its EXIF tag says.
    """

    image: bytes | np.ndarray
    label: int
    name: str
    max_pixels: int = MAX_PIXELS
    exif_orientation: bool = False


OnUnreadable = Literal["stop", "skip"]


class Examples(Protocol):
    """Picklable random access to examples, one by one or several at a time (often faster)."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Example: ...

    def __getitems__(self, indices: Sequence[int]) -> list[Example]: ...


@dataclass(frozen=True)
class Source:
    """Random access to the examples of one split.

    Attributes:
      dataset, split: the names with which it was opened.
      examples: the examples.
      class_names: one name per class, in the order of the labels.
      image_shape: (H, W, C) of all images, or None if their sizes vary.
      on_unreadable: what the loaders do if an image cannot be read: "stop" raises
        `UnreadableImage`; "skip" counts it, uses the next readable image instead in training, and
        leaves it out in evaluation.

    Raises:
      DataError: `on_unreadable` has another value.
      UnreadableImage: an example that is asked for cannot be read, or its label is not of a class.
    """

    dataset: str
    split: str
    examples: Examples
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int] | None = None
    on_unreadable: OnUnreadable = "stop"

    def __post_init__(self) -> None:
        if self.on_unreadable not in ("stop", "skip"):
            raise DataError(
                f"on_unreadable={self.on_unreadable!r} is not known: choose 'stop' to raise an "
                "error at an image that cannot be read, or 'skip' to count it and go on."
            )

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: SupportsIndex) -> Example:
        return self._checked(self.examples[index.__index__()])

    def __getitems__(self, indices: Sequence[int]) -> list[Example]:
        return [self._checked(example) for example in self.examples.__getitems__(indices)]

    def _checked(self, example: Example) -> Example:
        """The example, whose label is that of a class, or -1 where a split has no labels."""
        if not -1 <= example.label < self.num_classes:
            raise UnreadableImage(
                f"{example.name} has the label {example.label}, and the {self.num_classes} classes "
                f"of {self.dataset} have 0 to {self.num_classes - 1}. Mend or remove it, or open "
                "the data set with on_unreadable='skip'."
            )
        return example


def known_label(example: Example) -> np.int32:
    """Returns the label for training or evaluation.

    Raises:
      DataError: the example has none (-1).
    """
    if example.label < 0:
        raise DataError(f"{example.name} has no label (-1): its split has images only.")
    return np.int32(example.label)
