"""A small data set generated in memory, for smoke runs and tests."""

import functools
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from input_pipeline.example import DataError, Example, OnUnreadable, Source

_LIMITS = {"classes": 10**6, "examples": 10**9, "channels": 16, "size": 2**13}
_SHAPES = ((160, 213), (200, 150), (144, 144), (120, 250))  # height, width


def open_synthetic(options: str, split: str, on_unreadable: OnUnreadable) -> Source:
    """Returns a split of the synthetic data set.

    Args:
      options: such as "classes=1000,channels=1,size=28,examples=64". With size=0 (the default) the
        images are JPEGs of varying sizes, which are decoded like ImageNet's; with any other size
        they are arrays of shape [size, size, channels].
      split: the examples of splits whose name starts with "train" differ from those of others.
      on_unreadable: see `Source`.

    Raises:
      DataError: an option is not known, not a whole number or too large.
    """
    settings = {"classes": 10, "examples": 48, "channels": 3, "size": 0}
    for option in filter(None, options.split(",")):
        key, _, value = option.partition("=")
        if key not in settings or not value.isdecimal():
            raise DataError(
                f"The option {option!r} of the synthetic data set is not understood. Options are "
                f"whole numbers: synthetic:{','.join(f'{k}={v}' for k, v in settings.items())}"
            )
        least = 0 if key in ("size", "examples") else 1
        if len(value) > 10 or not least <= int(value) <= _LIMITS[key]:
            raise DataError(
                f"The option {option[:40]!r} of the synthetic data set is not possible: {key} is "
                f"{least} to {_LIMITS[key]:,}."
            )
        settings[key] = int(value)
    shape = None
    if settings["size"] or settings["channels"] == 1:
        side = settings["size"] or 28
        shape = (side, side, settings["channels"])
    examples = SyntheticExamples(
        settings["examples"], settings["classes"], shape, split.startswith("train")
    )
    names = tuple(f"class {i}" for i in range(settings["classes"]))
    return Source("synthetic", split, examples, names, shape, on_unreadable)


@dataclass(frozen=True)
class SyntheticExamples:
    """Images whose colour and stripes depend on the class, with noise that depends on the index.

    Attributes:
      num_examples, num_classes: numbers of examples and classes.
      shape: (H, W, C) of arrays, or None for JPEGs of varying sizes.
      train: whether these are the examples of training.
    """

    num_examples: int
    num_classes: int
    shape: tuple[int, int, int] | None
    train: bool

    def __len__(self) -> int:
        return self.num_examples

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < self.num_examples:
            raise IndexError(index)
        return _example(self, index)

    def __getitems__(self, indices: Sequence[int]) -> list[Example]:
        return [self[index] for index in indices]


@functools.lru_cache(maxsize=4096)
def _example(examples: SyntheticExamples, index: int) -> Example:
    label = index * 7919 % examples.num_classes
    random = np.random.RandomState([examples.train, index])
    height, width, channels = examples.shape or (*_SHAPES[index % len(_SHAPES)], 3)
    look = np.random.RandomState(label)
    colour, frequency = look.uniform(60, 195, channels), look.uniform(0.05, 0.8, 2)
    y, x = np.mgrid[:height, :width]
    stripes = 50 * np.sin(frequency[0] * y + frequency[1] * x + random.uniform(0, 6))
    pixels = colour + stripes[:, :, None] + random.normal(0, 8, (height, width, channels))
    image = pixels.clip(0, 255).astype(np.uint8)
    if examples.shape is None:
        stream = io.BytesIO()
        Image.fromarray(image).save(stream, "JPEG", quality=90)
        image = stream.getvalue()
    return Example(image, label, f"synthetic example {index}")
