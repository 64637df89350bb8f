"""From one example to the uint8 pixels of one batch element, on the host.

A transform is a frozen dataclass, picklable, called with (example, rng) where rng is a
`numpy.random.Generator`; it returns uint8 [size, size, C].
"""

import math
from dataclasses import dataclass

import numpy as np

from input_pipeline import resize
from input_pipeline.decode import Picture
from input_pipeline.example import Example
from input_pipeline.resize import Box


@dataclass(frozen=True)
class RandomResizedCrop:
    """Inception's augmentation as torchvision does it: a random part, resized to a square.

    Attributes:
      size: height and width of the result.
      scale: range of the part's area as a fraction of the image's.
      ratio: range of the part's width / height; drawn uniformly in its logarithm.
      interpolation: one of `resize.INTERPOLATIONS`.
      flip: whether half of the results are mirrored left to right.
    """

    size: int
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    interpolation: str = "bilinear"
    flip: bool = True

    def __post_init__(self) -> None:
        resize.check(self.interpolation)

    def __call__(self, example: Example, rng: np.random.Generator) -> np.ndarray:
        picture = Picture(example)
        box = self._box(picture.width, picture.height, rng)
        mirror = self.flip and rng.random() < 0.5
        return picture.resized(box, self.size, self.interpolation, crop_first=True, mirror=mirror)

    def _box(self, width: int, height: int, rng: np.random.Generator) -> Box:
        for _ in range(10):
            area = width * height * rng.uniform(*self.scale)
            ratio = math.exp(rng.uniform(math.log(self.ratio[0]), math.log(self.ratio[1])))
            w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < w <= width and 0 < h <= height:
                left, top = rng.integers(width - w + 1), rng.integers(height - h + 1)
                return left, top, left + w, top + h
        # No such part fits: the largest one about the centre whose ratio is in the range.
        w = min(width, round(height * self.ratio[1]))
        h = min(height, round(width / self.ratio[0]))
        left, top = (width - w) // 2, (height - h) // 2
        return left, top, left + w, top + h


@dataclass(frozen=True)
class ResizeRandomCrop:
    """The shorter side resized to a random length, then a random square: AlexNet, VGG, ResNet.

    Attributes:
      size: height and width of the result.
      resize: range (both included) of the shorter side's length after resizing; one number twice
        for a fixed length.
      interpolation: one of `resize.INTERPOLATIONS`.
      flip: whether half of the results are mirrored left to right.
    """

    size: int
    resize: tuple[int, int] = (256, 480)
    interpolation: str = "bilinear"
    flip: bool = True

    def __post_init__(self) -> None:
        resize.check(self.interpolation)
        if not self.size <= self.resize[0] <= self.resize[1]:
            raise ValueError(
                f"cannot cut {self.size} pixels out of images resized to {self.resize}"
            )

    def __call__(self, example: Example, rng: np.random.Generator) -> np.ndarray:
        picture = Picture(example)
        shorter = int(rng.integers(self.resize[0], self.resize[1] + 1))
        width, height = _resized(picture.width, picture.height, shorter)
        left = int(rng.integers(width - self.size + 1))
        top = int(rng.integers(height - self.size + 1))
        box = _box_before_resizing(picture, (width, height), (left, top), self.size)
        mirror = self.flip and rng.random() < 0.5
        return picture.resized(box, self.size, self.interpolation, crop_first=False, mirror=mirror)


@dataclass(frozen=True)
class CenterCrop:
    """Evaluation: the shorter side resized to round(size / fraction), then the central square.

    Attributes:
      size: height and width of the result.
      fraction: 0.875 is 224 out of 256; 1 resizes the shorter side to `size`.
      interpolation: one of `resize.INTERPOLATIONS`.
    """

    size: int
    fraction: float = 0.875
    interpolation: str = "bilinear"

    def __post_init__(self) -> None:
        resize.check(self.interpolation)
        if not 0 < self.fraction <= 1:
            raise ValueError(f"the fraction of a central crop is {self.fraction}, not in (0, 1]")

    def __call__(self, example: Example, rng: np.random.Generator | None = None) -> np.ndarray:
        picture = Picture(example)
        shorter = round(self.size / self.fraction)
        width, height = _resized(picture.width, picture.height, shorter)
        corner = round((width - self.size) / 2), round((height - self.size) / 2)
        box = _box_before_resizing(picture, (width, height), corner, self.size)
        return picture.resized(box, self.size, self.interpolation, crop_first=False)


@dataclass(frozen=True)
class Resize:
    """The full image resized to a square, whatever its shape was.

    Attributes:
      size: height and width of the result.
      interpolation: one of `resize.INTERPOLATIONS`.
    """

    size: int
    interpolation: str = "bilinear"

    def __post_init__(self) -> None:
        resize.check(self.interpolation)

    def __call__(self, example: Example, rng: np.random.Generator | None = None) -> np.ndarray:
        picture = Picture(example)
        box = (0, 0, picture.width, picture.height)
        return picture.resized(box, self.size, self.interpolation, crop_first=True)


@dataclass(frozen=True)
class Pad:
    """Images that are arrays, padded by zeros on all sides: MNIST's 28x28 to LeNet's 32x32 by 2."""

    padding: int = 0

    def __call__(self, example: Example, rng: np.random.Generator | None = None) -> np.ndarray:
        sides = (self.padding, self.padding)
        return np.pad(example.image, (sides, sides, (0, 0)))


def _resized(width: int, height: int, shorter: int) -> tuple[int, int]:
    """Size of the image when its shorter side is resized, as torchvision rounds it."""
    if width <= height:
        return shorter, int(shorter * height / width)
    return int(shorter * width / height), shorter


def _box_before_resizing(
    picture: Picture, resized: tuple[int, int], corner: tuple[int, int], size: int
) -> Box:
    """The box of the picture that becomes the square at `corner` of the resized picture."""
    scale_x, scale_y = picture.width / resized[0], picture.height / resized[1]
    left, top = corner
    return left * scale_x, top * scale_y, (left + size) * scale_x, (top + size) * scale_y
