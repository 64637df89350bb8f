"""Decoding: encoded bytes to uint8 pixels, only the part and the resolution that is needed."""

import io
import math
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from PIL import Image

from input_pipeline import png
from input_pipeline.example import Example, UnreadableImage

Box = tuple[float, float, float, float]  # left, top, right, bottom, in pixels of the full image

# Name: (Pillow's filter, its support in output pixels).
INTERPOLATIONS = {
    "nearest": (Image.Resampling.NEAREST, 0.5),
    "bilinear": (Image.Resampling.BILINEAR, 1.0),
    "bicubic": (Image.Resampling.BICUBIC, 2.0),
    "lanczos": (Image.Resampling.LANCZOS, 3.0),
}


class Picture:
    """An image whose size is known and whose pixels are decoded when a part of it is asked for.

    Encoded images are RGB, whatever they are stored as; arrays keep their channels.

    Attributes:
      width, height: of the full image, in pixels.
    """

    def __init__(self, example: Example):
        self._name = example.name
        with _errors_of(self._name):
            if isinstance(example.image, np.ndarray):
                self._image = _from_array(example.image)
            else:
                self._image = Image.open(io.BytesIO(example.image))
        self.width, self.height = self._image.size

    def resized(self, box: Box, size: int, interpolation: str, *, crop_first: bool) -> np.ndarray:
        """The part `box` of the image, resized with antialiasing.

        Args:
          box: 0 <= left < right <= width, 0 <= top < bottom <= height.
          size: height and width of the result.
          crop_first: whether pixels outside of the (whole-numbered) box are left out of account,
            as when it is cut out and then resized, or not, as when the full image is resized
            and the box cut out of the result.

        Returns:
          uint8 [size, size, C].
        """
        resample, support = INTERPOLATIONS[interpolation]
        left, top, right, bottom = box
        margin_x = 0 if crop_first else support * max(1, (right - left) / size) + 1
        margin_y = 0 if crop_first else support * max(1, (bottom - top) / size) + 1
        region = (
            max(0, math.floor(left - margin_x)),
            max(0, math.floor(top - margin_y)),
            min(self.width, math.ceil(right + margin_x)),
            min(self.height, math.ceil(bottom + margin_y)),
        )
        with _errors_of(self._name):
            part = _as_rgb(self._image).crop(region)
            inner = (left - region[0], top - region[1], right - region[0], bottom - region[1])
            pixels = np.asarray(part.resize((size, size), resample, box=inner))
        return pixels if pixels.ndim == 3 else pixels[:, :, None]


def full(content: bytes, name: str) -> np.ndarray:
    """All pixels as RGB: uint8 [H, W, 3]."""
    with _errors_of(name):
        return np.asarray(_as_rgb(Image.open(io.BytesIO(content))))


def of_shape(content: bytes, shape: tuple[int, int, int], name: str) -> np.ndarray:
    """All pixels of an image of a known shape [H, W, C], C 1 or 3: uint8."""
    pixels = png.decode(content, shape)
    if pixels is None:
        with _errors_of(name):
            mode = "L" if shape[2] == 1 else "RGB"
            pixels = np.asarray(Image.open(io.BytesIO(content)).convert(mode)).reshape(shape)
    return pixels


def _as_rgb(image: Image.Image) -> Image.Image:
    return (
        image if image.mode in ("RGB", "L") and not _encoded_grey(image) else image.convert("RGB")
    )


def _encoded_grey(image: Image.Image) -> bool:
    return image.mode == "L" and image.format is not None


def _from_array(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)


@contextmanager
def _errors_of(name: str) -> Iterator[None]:
    """Turns whatever a decoder raises into an UnreadableImage that names the image."""
    try:
        yield
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UnreadableImage(
            f"The image {name} cannot be decoded: {error}. Replace the file or record by a good "
            "one, or open the data set with on_unreadable='skip', which passes over such images "
            "and counts them."
        ) from error
