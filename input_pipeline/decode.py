"""Decodes images to uint8 pixels: only the region and the resolution that is needed."""

import io
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from input_pipeline import jpeg, png
from input_pipeline.example import Example, UnreadableImage
from input_pipeline.resize import INTERPOLATIONS, Box, resize


class LazyImage:
    """An image of known size, whose pixels are decoded when a part of it is needed.

    Encoded images become RGB, however they are stored; arrays keep their channels. JPEGs are
    decoded by libjpeg-turbo if it is installed and supports their kind, all others by Pillow.

    Attributes:
      width, height: of the full image, in pixels.

    Raises:
      UnreadableImage: the image cannot be decoded; here, or when it is resized.
    """

    def __init__(self, example: Example):
        self._content, self._name = example.image, example.name
        self._decoder = None
        if isinstance(self._content, np.ndarray):
            self.height, self.width, _ = self._content.shape
            return
        decoder = jpeg.decoder()
        size = decoder and decoder.size(self._content)
        if size:
            self._decoder = decoder
        else:
            with _raising_unreadable(self._name):
                size = Image.open(io.BytesIO(self._content)).size
        self.width, self.height = size

    def resized(
        self, box: Box, size: int, interpolation: str, *, crop_first: bool, mirror: bool = False
    ) -> np.ndarray:
        """Returns a box of the image, resized to a square with antialiasing.

        An encoded image whose box is at least 2 (4, 8) times as large as the result is decoded at
        1/2 (1/4, 1/8) of its resolution.

        Args:
          box: 0 <= left < right <= width, 0 <= top < bottom <= height.
          size: height and width of the result.
          interpolation: one of `resize.INTERPOLATIONS`.
          crop_first: True if pixels outside of the box (of whole numbers) do not contribute, as if
            it was cropped and then resized; False as if the full image was resized and then
            cropped.
          mirror: whether the result is mirrored left to right.

        Returns:
          uint8 [size, size, C].
        """
        reduction = jpeg.reduction(box[2] - box[0], box[3] - box[1], size)
        if isinstance(self._content, np.ndarray):
            reduction = 1
        left, top, right, bottom = (x / reduction for x in box)
        reach = 0 if crop_first else INTERPOLATIONS[interpolation][2]
        margin_x = reach * max(1, (right - left) / size)
        margin_y = reach * max(1, (bottom - top) / size)
        region = (
            max(0, math.floor(left - margin_x)),
            max(0, math.floor(top - margin_y)),
            min(math.ceil(self.width / reduction), math.ceil(right + margin_x)),
            min(math.ceil(self.height / reduction), math.ceil(bottom + margin_y)),
        )
        box = (left - region[0], top - region[1], right - region[0], bottom - region[1])
        if self._decoder is not None and not isinstance(self._content, np.ndarray):
            order = "BGR" if mirror else "RGB"
            pixels = self._decoder.decode_region(self._content, region, reduction, order)
            if pixels is not None:
                pixels = resize(pixels, box, size, interpolation)
                return _reversed_rows(pixels) if mirror else pixels
        pixels = resize(self._by_pillow(region, reduction), box, size, interpolation)
        return pixels[:, ::-1] if mirror else pixels

    def _by_pillow(self, region: jpeg.Region, reduction: int) -> np.ndarray:
        left, top, right, bottom = region
        if isinstance(self._content, np.ndarray):
            return self._content[top:bottom, left:right]
        with _raising_unreadable(self._name):
            image = Image.open(io.BytesIO(self._content))
            image.draft(None, (self.width // reduction, self.height // reduction))  # JPEG only
            image = image.convert("RGB")
            if image.width != math.ceil(self.width / reduction):
                image = image.reduce(reduction)
            return np.asarray(image.crop(region))


def _reversed_rows(pixels: np.ndarray) -> np.ndarray:
    """Each row's bytes in reverse order: BGR becomes the mirrored RGB.

    Reversing 8 bytes at a time is ten times as fast as reversing pixels of 3 bytes.
    """
    rows = pixels.reshape(len(pixels), -1)
    words = rows.view(np.uint64 if rows.shape[1] % 8 == 0 else np.uint8)
    return words[:, ::-1].byteswap().view(np.uint8).reshape(pixels.shape)


def decode_rgb(content: bytes, name: str) -> np.ndarray:
    """Decodes an image to RGB: uint8 [H, W, 3].

    Raises:
      UnreadableImage: it cannot be decoded; the message has its `name`.
    """
    with _raising_unreadable(name):
        return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def decode_to_shape(content: bytes, shape: tuple[int, int, int], name: str) -> np.ndarray:
    """Decodes an image of the known shape (H, W, C), C 1 or 3: uint8 [H, W, C].

    Raises:
      UnreadableImage: it cannot be decoded or has another shape; the message has its `name`.
    """
    pixels = png.decode(content, shape)
    if pixels is None:
        with _raising_unreadable(name):
            mode = "L" if shape[2] == 1 else "RGB"
            pixels = np.asarray(Image.open(io.BytesIO(content)).convert(mode)).reshape(shape)
    return pixels


@contextmanager
def _raising_unreadable(name: str) -> Iterator[None]:
    """Turns whatever a decoder raises into an UnreadableImage that names the image."""
    try:
        yield
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        unknown = isinstance(error, UnidentifiedImageError)
        reason = "not an image of a known format" if unknown else error
        raise UnreadableImage(
            f"The image {name} cannot be decoded: {reason}. Replace the file or record, or open "
            "the data set with on_unreadable='skip', which skips such images and counts them."
        ) from error


# Names of version 0.1, which work for one release.
_RENAMED = {"Picture": "LazyImage", "full": "decode_rgb", "of_shape": "decode_to_shape"}


def __getattr__(name: str) -> Any:
    if name not in _RENAMED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    warnings.warn(
        f"input_pipeline.decode.{name} is {_RENAMED[name]} now.", DeprecationWarning, stacklevel=2
    )
    return globals()[_RENAMED[name]]
