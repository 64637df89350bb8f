"""Decoding: encoded bytes to uint8 pixels, only the part and the resolution that is needed."""

import io
import math
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from PIL import Image, UnidentifiedImageError

from input_pipeline import jpeg, png
from input_pipeline.example import Example, UnreadableImage
from input_pipeline.resize import INTERPOLATIONS, Box, resize


class Picture:
    """An image whose size is known and whose pixels are decoded when a part of it is asked for.

    Encoded images become RGB, whatever they are stored as; arrays keep their channels. JPEGs are
    decoded by libjpeg-turbo where it is installed; all else, and what it cannot do, by Pillow.

    Attributes:
      width, height: of the full image, in pixels.
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
            with _errors_of(self._name):
                size = Image.open(io.BytesIO(self._content)).size
        self.width, self.height = size

    def resized(
        self, box: Box, size: int, interpolation: str, *, crop_first: bool, mirror: bool = False
    ) -> np.ndarray:
        """The part `box` of the image, resized with antialiasing.

        A JPEG whose box is at least twice (4, 8 times) as large as the result is decoded at a half
        (4th, 8th) of its resolution.

        Args:
          box: 0 <= left < right <= width, 0 <= top < bottom <= height.
          size: height and width of the result.
          interpolation: one of `resize.INTERPOLATIONS`.
          crop_first: whether pixels outside of the (whole-numbered) box are left out of account,
            as when it is cut out and then resized, or not, as when the full image is resized
            and the box cut out of the result.
          mirror: whether the result is mirrored left to right.

        Returns:
          uint8 [size, size, C].
        """
        reduction = jpeg.reduction(box[2] - box[0], box[3] - box[1], size)
        if isinstance(self._content, np.ndarray):
            reduction = 1
        left, top, right, bottom = box = tuple(x / reduction for x in box)
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
        if self._decoder is not None:
            order = "BGR" if mirror else "RGB"
            pixels = self._decoder.part(self._content, region, reduction, order)
            if pixels is not None:
                pixels = resize(pixels, box, size, interpolation)
                return _reversed_rows(pixels) if mirror else pixels
        pixels = resize(self._by_pillow(region, reduction), box, size, interpolation)
        return pixels[:, ::-1] if mirror else pixels

    def _by_pillow(self, region: jpeg.Region, reduction: int) -> np.ndarray:
        left, top, right, bottom = region
        if isinstance(self._content, np.ndarray):
            return self._content[top:bottom, left:right]
        with _errors_of(self._name):
            image = Image.open(io.BytesIO(self._content))
            image.draft(None, (self.width // reduction, self.height // reduction))  # JPEG only
            image = image.convert("RGB")
            if image.width != math.ceil(self.width / reduction):
                image = image.reduce(reduction)
            return np.asarray(image.crop(region))


def _reversed_rows(pixels: np.ndarray) -> np.ndarray:
    """Each row's bytes in reverse order: BGR becomes the mirrored RGB.

    Ten times as quick as mirroring by pixels of three bytes, eight bytes at a time.
    """
    rows = pixels.reshape(len(pixels), -1)
    words = rows.view(np.uint64 if rows.shape[1] % 8 == 0 else np.uint8)
    return words[:, ::-1].byteswap().view(np.uint8).reshape(pixels.shape)


def full(content: bytes, name: str) -> np.ndarray:
    """All pixels as RGB: uint8 [H, W, 3]."""
    with _errors_of(name):
        return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def of_shape(content: bytes, shape: tuple[int, int, int], name: str) -> np.ndarray:
    """All pixels of an image of a known shape [H, W, C], C 1 or 3: uint8."""
    pixels = png.decode(content, shape)
    if pixels is None:
        with _errors_of(name):
            mode = "L" if shape[2] == 1 else "RGB"
            pixels = np.asarray(Image.open(io.BytesIO(content)).convert(mode)).reshape(shape)
    return pixels


@contextmanager
def _errors_of(name: str) -> Iterator[None]:
    """Turns whatever a decoder raises into an UnreadableImage that names the image."""
    try:
        yield
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        unknown = isinstance(error, UnidentifiedImageError)
        reason = "not an image of a known format" if unknown else error
        raise UnreadableImage(
            f"The image {name} cannot be decoded: {reason}. Replace the file or record by a good "
            "one, or open the data set with on_unreadable='skip', which passes over such images "
            "and counts them."
        ) from error
