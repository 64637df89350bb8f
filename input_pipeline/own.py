"""Data sets of one's own: functions from the name of a split to arrays or to any sequence."""

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from input_pipeline import arrays
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

_registered: dict[str, Callable[[str], Any]] = {}


def register(name: str) -> Callable[[Callable[[str], Any]], Callable[[str], Any]]:
    """Returns a decorator that gives a data set of one's own a name for `input_pipeline.open`.

        @input_pipeline.register("squares")
        def squares(split):
            images, labels = ...
            return images, labels, ("small", "large")

    The function is given "train", "test" or what else the recipe names, and returns

    - arrays: (images, labels) or (images, labels, class_names), as `arrays.from_arrays` takes them;
    - any object with a length and items, such as a `torch.utils.data.Dataset` or a
      `datasets.Dataset`: each item is (image, label) or {"image": image, "label": label}. An image
      is a uint8 array [H, W, C] or [H, W], a PIL image, encoded bytes or the path of a file. Names
      of the classes are its attribute `class_names` or `classes`, or it has `num_classes`. Arrays
      have one shape, that of the first, unless the attribute `image_shape` is None; all others may
      differ in size, and become RGB;
    - a `Source`.

    To register a name once more replaces the data set.

    Raises:
      ValueError: the name has a colon or a slash, which names of ours have.
    """
    if not name or {":", "/", "["} & set(name):
        raise ValueError(f"{name!r} cannot be the name of a data set: take letters and digits.")

    def decorate(make: Callable[[str], Any]) -> Callable[[str], Any]:
        _registered[name] = make
        return make

    return decorate


def registered(name: str) -> Callable[[str], Any] | None:
    """Returns the function that was registered under a name, or None."""
    return _registered.get(name)


def open_own(
    make: Callable[[str], Any],
    name: str,
    split: str,
    on_unreadable: OnUnreadable = "stop",
    *,
    max_pixels: int = MAX_PIXELS,
    exif_orientation: bool = False,
) -> Source:
    """Returns a split, or a part of one, of a data set of one's own.

    Args:
      make: see `register`.
      name: of the data set, for messages.
      split: such as "train" or "train[:90%]"; the function is called without the part.

    The others are those of `input_pipeline.open`.

    Raises:
      DataError: what the function returns is not understood.
    """
    base, bounds = part_of(split)
    found = make(base)
    settings: dict[str, Any] = dict(dataset=name, split=split, on_unreadable=on_unreadable)
    if isinstance(found, Source):
        part = range(len(found))[slice(*bounds(len(found)))]
        return dataclasses.replace(found, examples=_Part(found.examples, part), **settings)
    if isinstance(found, tuple) and len(found) in (2, 3):
        try:
            images, labels = np.asarray(found[0]), np.asarray(found[1])
        except ValueError as error:  # rows of different lengths
            raise DataError(f"The arrays of {name} (split {base}) are none: {error}.") from error
        names = _names(found[2]) if found[2:] else ()
        if not names and labels.dtype.kind in "iu" and labels.size:  # of the split, not of its part
            names = tuple(map(str, range(min(int(labels.max()), 10**6) + 1)))
        part = slice(*bounds(len(images)))
        return arrays.from_arrays(images[part], labels[part], names, **settings)
    if not hasattr(found, "__len__") or not hasattr(found, "__getitem__"):
        raise DataError(
            f"The data set {name} gave {type(found).__name__} for the split {base}. Return "
            "(images, labels), or an object with a length and items, see input_pipeline.register."
        )
    examples = ObjectExamples(found, f"{name} ({base})", None, max_pixels, exif_orientation)
    shape = getattr(found, "image_shape", examples.shape_of_first())
    if shape is not None:
        height, width, channels = map(int, shape)
        shape = (height, width, channels)
    examples = dataclasses.replace(examples, shape=shape)
    part = range(len(found))[slice(*bounds(len(found)))]
    return Source(
        name, split, _Part(examples, part), _class_names(found, name), shape, on_unreadable
    )


@dataclasses.dataclass(frozen=True)
class ObjectExamples:
    """Examples that are the items of an object.

    Attributes:
      items: has a length and items.
      name: for messages.
      shape: (H, W, C) of all images, or None if they differ: then they become RGB.
      max_pixels, exif_orientation: see `Example`.
    """

    items: Any
    name: str
    shape: tuple[int, int, int] | None = None
    max_pixels: int = MAX_PIXELS
    exif_orientation: bool = False

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Example:
        image, label, name = self._item(index)
        if isinstance(image, (str, os.PathLike)):
            name, image = os.fspath(image), _content(image)
        elif not isinstance(image, bytes):
            image = _pixels(image, name)
            if self.shape is None and image.shape[2] == 1:
                image = image.repeat(3, axis=2)
            elif self.shape not in (None, image.shape):
                raise DataError(
                    f"The image of {name} is {list(image.shape)}, and others are "
                    f"{list(self.shape)}. If images differ in size, give the object the attribute "
                    "image_shape = None."
                )
        return Example(image, label, name, self.max_pixels, self.exif_orientation)

    def shape_of_first(self) -> tuple[int, ...] | None:
        """Returns (H, W, C) of the first image if it is an array, which has no other mode."""
        if not len(self.items):
            return None
        image, _, name = self._item(0)
        return _pixels(image, name).shape if isinstance(image, np.ndarray) else None

    def _item(self, index: int) -> tuple[Any, int, str]:
        """The image, the label and a name for messages."""
        item, name = self.items[index], f"{self.name}, item {index}"
        try:
            image, label = (item["image"], item["label"]) if isinstance(item, Mapping) else item
            return image, int(label), name
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f'{name} is {_described(item)}: it has to be (image, label) or {{"image": ..., '
                '"label": ...}, and labels are integers.'
            ) from error

    def __getitems__(self, indices: Sequence[int]) -> list[Example]:
        return [self[index] for index in indices]


@dataclasses.dataclass(frozen=True)
class _Part:
    """The examples at some positions of others."""

    examples: Any
    positions: range

    @property
    def exif_orientation(self) -> bool:
        """Whether photographs are turned as their cameras say."""
        return getattr(self.examples, "exif_orientation", False)

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, index: int) -> Example:
        return self.examples[self.positions[index]]

    def __getitems__(self, indices: Sequence[int]) -> list[Example]:
        return self.examples.__getitems__([self.positions[index] for index in indices])


def _content(path: str | os.PathLike) -> bytes:
    try:
        return read_regular(Path(path), MAX_BYTES)
    except OSError as error:
        raise UnreadableImage(f"{os.fspath(path)} cannot be read: {error}.") from error


def _pixels(image: Any, name: str) -> np.ndarray:
    """An array or PIL image as uint8 [H, W, C]."""
    if hasattr(image, "convert"):  # of PIL; palettes and transparency become RGB
        image = image if image.mode in ("L", "RGB") else image.convert("RGB")
    pixels = np.asarray(image)
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] not in (1, 3):
        raise DataError(
            f"The image of {name} is {_described(image)}: it has to be uint8 [H, W] or [H, W, C] "
            "with C 1 or 3, a PIL image, encoded bytes, or the path of a file."
        )
    return pixels


def _class_names(found: Any, name: str) -> tuple[str, ...]:
    for key in ("class_names", "classes"):
        if (names := getattr(found, key, None)) is not None:
            return _names(names)
    if count := getattr(found, "num_classes", None):
        return tuple(map(str, range(int(count))))
    features = getattr(found, "features", None)  # of Hugging Face's datasets
    if isinstance(features, Mapping) and hasattr(features.get("label"), "names"):
        return _names(features["label"].names)
    raise DataError(
        f"The data set {name} does not say its classes: give the object an attribute class_names, "
        "one name for each label, or num_classes."
    )


def _names(names: Any) -> tuple[str, ...]:
    return tuple(map(str, names))


def _described(value: Any) -> str:
    if hasattr(value, "shape"):
        return f"{getattr(value, 'dtype', type(value).__name__)} {list(value.shape)}"
    return type(value).__name__
