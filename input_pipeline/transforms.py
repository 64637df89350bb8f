"""Transforms from an example to the uint8 pixels of one batch element, on the host.

A transform is a picklable frozen dataclass that is called with an example and a
`numpy.random.Generator`, and returns uint8 [size, size, C].
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from input_pipeline import resize
from input_pipeline.decode import LazyImage
from input_pipeline.example import DataError, Example
from input_pipeline.resize import Box

RANDOM = "random"  # of interpolation: bilinear or bicubic for each image
Transform = Callable[[Example, np.random.Generator], np.ndarray]


@dataclass(frozen=True)
class RandomResizedCrop:
    """Resizes a random crop to a square: Inception's augmentation, as in torchvision.

    Attributes:
      size: height and width of the result in pixels.
      scale: range of the crop's area as a fraction of the image's.
      ratio: range of the crop's width / height, which is log-uniformly distributed.
      interpolation: one of `resize.INTERPOLATIONS`, or "random" for bilinear or bicubic, drawn for
        each image as in timm.
      flip: whether half of the results are mirrored left to right.
    """

    size: int
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    interpolation: str = "bilinear"
    flip: bool = True

    def __post_init__(self) -> None:
        _check_interpolation(self.interpolation)

    def __call__(self, example: Example, rng: np.random.Generator) -> np.ndarray:
        image = LazyImage(example)
        box = self._box(image.width, image.height, rng)
        mirror = self.flip and rng.random() < 0.5
        interpolation = _drawn_interpolation(self.interpolation, rng)
        return image.resized(box, self.size, interpolation, crop_first=True, mirror=mirror)

    def _box(self, width: int, height: int, rng: np.random.Generator) -> Box:
        for _ in range(10):
            area = width * height * rng.uniform(*self.scale)
            ratio = math.exp(rng.uniform(math.log(self.ratio[0]), math.log(self.ratio[1])))
            w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < w <= width and 0 < h <= height:
                left, top = int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1))
                return left, top, left + w, top + h
        # No such crop fits: take the largest central one whose ratio is in the range.
        w = min(width, round(height * self.ratio[1]))
        h = min(height, round(width / self.ratio[0]))
        left, top = (width - w) // 2, (height - h) // 2
        return left, top, left + w, top + h


@dataclass(frozen=True)
class ResizeRandomCrop:
    """Resizes the shorter side to a random length and crops a random square (AlexNet, VGG, ResNet).

    Attributes:
      size: height and width of the result in pixels.
      resize: smallest and largest length (both included) of the shorter side after resizing.
      interpolation: as in `RandomResizedCrop`.
      flip: whether half of the results are mirrored left to right.
    """

    size: int
    resize: tuple[int, int] = (256, 480)
    interpolation: str = "bilinear"
    flip: bool = True

    def __post_init__(self) -> None:
        _check_interpolation(self.interpolation)
        if not self.size <= self.resize[0] <= self.resize[1]:
            raise ValueError(
                f"resize={self.resize} leaves images too small for a crop of {self.size} pixels"
            )

    def __call__(self, example: Example, rng: np.random.Generator) -> np.ndarray:
        image = LazyImage(example)
        shorter = int(rng.integers(self.resize[0], self.resize[1] + 1))
        width, height = _resized(image.width, image.height, shorter)
        left = int(rng.integers(width - self.size + 1))
        top = int(rng.integers(height - self.size + 1))
        box = _box_before_resizing(image, (width, height), (left, top), self.size)
        mirror = self.flip and rng.random() < 0.5
        interpolation = _drawn_interpolation(self.interpolation, rng)
        return image.resized(box, self.size, interpolation, crop_first=False, mirror=mirror)


@dataclass(frozen=True)
class CenterCrop:
    """Resizes the shorter side to round(size / fraction) and crops the central square.

    This is the usual transform of evaluation.

    Attributes:
      size: height and width of the result in pixels.
      fraction: in (0, 1]; 0.875 is 224 of 256 pixels, and 1 resizes the shorter side to `size`.
      interpolation: one of `resize.INTERPOLATIONS`.
    """

    size: int
    fraction: float = 0.875
    interpolation: str = "bilinear"

    def __post_init__(self) -> None:
        resize.check_interpolation(self.interpolation)
        if not 0 < self.fraction <= 1:
            raise ValueError(
                f"the fraction of a central crop must be in (0, 1], not {self.fraction}"
            )

    def __call__(self, example: Example, rng: np.random.Generator | None = None) -> np.ndarray:
        image = LazyImage(example)
        shorter = round(self.size / self.fraction)
        width, height = _resized(image.width, image.height, shorter)
        corner = round((width - self.size) / 2), round((height - self.size) / 2)
        box = _box_before_resizing(image, (width, height), corner, self.size)
        return image.resized(box, self.size, self.interpolation, crop_first=False)


@dataclass(frozen=True)
class Resize:
    """Resizes the whole image to a square, whatever its aspect ratio.

    Attributes:
      size: height and width of the result in pixels.
      interpolation: one of `resize.INTERPOLATIONS`.
    """

    size: int
    interpolation: str = "bilinear"

    def __post_init__(self) -> None:
        resize.check_interpolation(self.interpolation)

    def __call__(self, example: Example, rng: np.random.Generator | None = None) -> np.ndarray:
        image = LazyImage(example)
        box = (0, 0, image.width, image.height)
        return image.resized(box, self.size, self.interpolation, crop_first=True)


@dataclass(frozen=True)
class Then:
    """A transform, and functions of one's own after it.

    Attributes:
      transform: the transform.
      operations: functions of (image uint8 [S, S, C], random generator) that return such an image.
    """

    transform: Transform
    operations: tuple[Callable[[np.ndarray, np.random.Generator], np.ndarray], ...]

    def __call__(self, example: Example, rng: np.random.Generator) -> np.ndarray:
        image = self.transform(example, rng)
        for operation in self.operations:
            before, image = image.shape, np.asarray(operation(image, rng))
            if image.shape != before or image.dtype != np.uint8:
                name = getattr(operation, "__name__", str(operation))
                raise DataError(
                    f"The operation {name} gave {image.dtype} {list(image.shape)}: it has to give "
                    f"uint8 {list(before)}, as it was given."
                )
        return image


@dataclass(frozen=True)
class Pad:
    """Pads an image that is an array by zeros on all sides.

    Attributes:
      padding: pixels on each side: 2 for MNIST's 28x28 to LeNet's 32x32.
    """

    padding: int = 0

    def __call__(self, example: Example, rng: np.random.Generator | None = None) -> np.ndarray:
        sides = (self.padding, self.padding)
        return np.pad(example.image, (sides, sides, (0, 0)))


def _check_interpolation(interpolation: str) -> None:
    if interpolation != RANDOM:
        resize.check_interpolation(interpolation)


def _drawn_interpolation(interpolation: str, rng: np.random.Generator) -> str:
    if interpolation != RANDOM:
        return interpolation  # and nothing is drawn, so that older runs see the same images
    return "bilinear" if rng.random() < 0.5 else "bicubic"


def _resized(width: int, height: int, shorter: int) -> tuple[int, int]:
    """(width, height) after resizing the shorter side, rounded as in torchvision."""
    if width <= height:
        return shorter, int(shorter * height / width)
    return int(shorter * width / height), shorter


def _box_before_resizing(
    image: LazyImage, resized: tuple[int, int], corner: tuple[int, int], size: int
) -> Box:
    """The box of the original image that becomes the square at `corner` of the resized one."""
    scale_x, scale_y = image.width / resized[0], image.height / resized[1]
    left, top = corner
    return left * scale_x, top * scale_y, (left + size) * scale_x, (top + size) * scale_y
