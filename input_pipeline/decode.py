"""Decodes images to uint8 pixels: only the region and the resolution that is needed."""

import io
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from input_pipeline import jpeg, png
from input_pipeline.example import MAX_PIXELS, Example, UnreadableImage
from input_pipeline.resize import INTERPOLATIONS, Box, resize

# What Pillow may open: what people keep photographs in. Its forty others are as many ways in, and
# one of them, EPS, starts a program.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")

_ORIENTATION = 0x0112  # EXIF's tag
_MAX_SIDE = 65_535  # JPEG's own; each row costs Pillow dozens of bytes, however short it is

# A compressed image with more pixels to a byte than its format can hold was cut short: JPEG takes a
# bit for 8x8 pixels, PNG of 1 bit is inflated by 1,032 at most.
_PIXELS_PER_BYTE = {"JPEG": 8 * 8 * 8, "PNG": 8 * 1032}


# Eighths of the limit of pixels for WEBP: its decoder fills 4 bytes for each pixel before it finds
# out that an image is damaged, so that 24 million take 96 MB.
_WEBP = 3


class LazyImage:
    """An image of known size, whose pixels are decoded when a part of it is needed.

    Encoded images become RGB, however they are stored (see `_converted`); arrays keep their
    channels. JPEGs are decoded by libjpeg-turbo if it is installed and supports their kind, all
    others by Pillow.

    Attributes:
      width, height: of the full image, in pixels.

    Raises:
      UnreadableImage: the image cannot be decoded, or has more than `example.max_pixels` pixels;
        here, before anything is decoded, or when it is resized.
    """

    def __init__(self, example: Example):
        self._content, self._name = example.image, example.name
        self._max_pixels, self._decoder = example.max_pixels, None
        if example.exif_orientation and not isinstance(self._content, np.ndarray):
            with _raising_unreadable(self._name):
                self._content = _turned(self._content, example.max_pixels)
        if isinstance(self._content, np.ndarray):
            self.height, self.width, _ = self._content.shape
            return
        decoder = jpeg.decoder()
        with _raising_unreadable(self._name):
            size = decoder and decoder.size(self._content)
            if size:
                self._decoder = decoder
                _check_size(size, len(self._content), "JPEG", example.max_pixels)
            else:
                size = _open(self._content, example.max_pixels).size
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
            with _raising_unreadable(self._name):
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
            image = _open(self._content, self._max_pixels)
            image.draft(None, (self.width // reduction, self.height // reduction))  # JPEG only
            image = _converted(image, "RGB")
            size = math.ceil(self.width / reduction), math.ceil(self.height / reduction)
            if image.width != size[0]:
                image = image.reduce(reduction)
            if image.size != size:
                raise ValueError(f"its header says {self.width} x {self.height} pixels")
            return np.asarray(image.crop(region))


def _turned(content: bytes, max_pixels: int) -> bytes | np.ndarray:
    """The pixels of an image whose EXIF orientation is not the usual one; else the content."""
    image = _open(content, max_pixels)
    if image.getexif().get(_ORIENTATION, 1) == 1:
        return content
    return np.asarray(_converted(ImageOps.exif_transpose(image), "RGB"))


def _reversed_rows(pixels: np.ndarray) -> np.ndarray:
    """Each row's bytes in reverse order: BGR becomes the mirrored RGB.

    Reversing 8 bytes at a time is ten times as fast as reversing pixels of 3 bytes.
    """
    rows = pixels.reshape(len(pixels), -1)
    words = rows.view(np.uint64 if rows.shape[1] % 8 == 0 else np.uint8)
    return words[:, ::-1].byteswap().view(np.uint8).reshape(pixels.shape)


def decode_rgb(content: bytes, name: str, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Decodes an image to RGB: uint8 [H, W, 3].

    Raises:
      UnreadableImage: it cannot be decoded, or has more than `max_pixels` pixels; the message has
        its `name`.
    """
    with _raising_unreadable(name):
        return np.asarray(_converted(_open(content, max_pixels), "RGB"))


def decode_to_shape(
    content: bytes, shape: tuple[int, int, int], name: str, max_pixels: int = MAX_PIXELS
) -> np.ndarray:
    """Decodes an image of the known shape (H, W, C), C 1 or 3: uint8 [H, W, C].

    Raises:
      UnreadableImage: it cannot be decoded, has another shape or more than `max_pixels` pixels; the
        message has its `name`.
    """
    height, width, channels = shape
    if height * width <= max_pixels:
        pixels = png.decode(content, shape)
        if pixels is not None:
            return pixels
    with _raising_unreadable(name):
        image = _open(content, max_pixels)
        if image.size != (width, height):
            raise ValueError(
                f"it has {image.height} x {image.width} pixels, and the data set's images have "
                f"{height} x {width}"
            )
        return np.asarray(_converted(image, "L" if channels == 1 else "RGB")).reshape(shape)


def _open(content: bytes, max_pixels: int) -> Image.Image:
    """An image whose header is read and whose pixels are not.

    Raises:
      ValueError: it has no or too many pixels. Pillow raises errors of many other types.
    """
    image = Image.open(io.BytesIO(content), formats=FORMATS)
    _check_size(image.size, len(content), image.format, max_pixels)
    if image.format == "JPEG" and content.count(b"\xff\xda") > jpeg.MAX_SCANS:
        raise ValueError(f"it has more than {jpeg.MAX_SCANS} scans, each of which takes time")
    return image


def _check_size(size: tuple[int, int], num_bytes: int, kind: str | None, max_pixels: int) -> None:
    width, height = size
    if not (width and height):
        raise ValueError("it has no pixels")
    limit = max_pixels * _WEBP // 8 if kind == "WEBP" else max_pixels
    if width * height > limit or max(size) > _MAX_SIDE:
        share = f", of which WEBP may have {_WEBP}/8" if kind == "WEBP" else ""
        raise ValueError(
            f"it has {width:,} x {height:,} pixels, and the limits are max_pixels={max_pixels:,}"
            f"{share} and {_MAX_SIDE:,} on a side"
        )
    if width * height > num_bytes * _PIXELS_PER_BYTE.get(kind or "", width * height):
        raise ValueError(
            f"it is cut short: {num_bytes:,} bytes cannot hold {width:,} x {height:,} pixels"
        )


def _converted(image: Image.Image, mode: str) -> Image.Image:
    """The pixels of an image of any mode as "RGB" or "L", 8 bits.

    As in torchvision, transparency is passed over and palettes, CMYK, YCbCr, LAB and HSV become
    RGB as Pillow converts them. Of 16-bit grey the high byte is taken, where Pillow clips at 255.

    Raises:
      ValueError: integers of 32 bits and floats, whose range nobody knows.
    """
    image.load()
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        image = _high_byte(image)
    image.info.pop("transparency", None)  # Pillow warns of it
    if image.mode in ("LAB", "HSV"):  # which Pillow converts to RGB only
        image = image.convert("RGB")
    return image.convert(mode)


def _high_byte(image: Image.Image) -> Image.Image:
    """16-bit grey as 8-bit grey."""
    scaled = image.mode == "I" and image.format == "PPM"  # Pillow makes 0..65535 of any maximum
    if not (image.mode.startswith("I;16") or scaled):
        kind = "floats" if image.mode == "F" else "integers of 32 bits"
        raise ValueError(f"its pixels are {kind}; store them as 8 or 16 bits")
    tags = getattr(image, "tag_v2", {})  # of TIFF
    bits = tags.get(258, (16,))  # BitsPerSample: Pillow leaves 12 bits as they are
    pixels = np.asarray(image) >> ((bits[0] if isinstance(bits, tuple) else bits) - 8)
    pixels = pixels.astype(np.uint8)
    if tags.get(262) == 0:  # PhotometricInterpretation: white is zero, which Pillow passes over
        pixels = 255 - pixels
    return Image.fromarray(pixels)


@contextmanager
def _raising_unreadable(name: str) -> Iterator[None]:
    """Turns whatever a decoder raises into an UnreadableImage that names the image."""
    try:
        yield
    except Exception as error:  # of any type: broken files make Pillow raise a dozen of them
        unknown = isinstance(error, UnidentifiedImageError)
        formats = ", ".join(FORMATS)
        reason = f"not an image of a known format ({formats})" if unknown else str(error)
        raise UnreadableImage(
            f"The image {name} cannot be decoded: {reason or type(error).__name__}. Replace the "
            "file or record, or open the data set with on_unreadable='skip', which skips such "
            "images and counts them."
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
