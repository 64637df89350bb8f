"""Pillow's part of the preprocessing: opens an image of any kind, and resizes a part of it."""

import io
import math
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from PIL import Image

# Reach of the filters of Pillow, in pixels of the smaller scale.
REACH = {"bilinear": 1, "bicubic": 2, "lanczos": 3}
MODES = {1: "L", 3: "RGB"}  # by the number of channels

# Which files are opened, as in training (`input_pipeline.decode`, which nothing of `zoo` imports):
# formats of photographs, and not EPS, which starts a program; no more pixels than this.
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
MAX_PIXELS = 64_000_000
_ORIENTATION = 0x0112  # EXIF's tag


def open_picture(
    image: Any, mode: str, reduction_of: Callable[[int, int], int], exif_orientation: bool = False
) -> "tuple[Image.Image, tuple[int, int], int]":
    """Returns an image in a mode of Pillow, its full (width, height), and what divides that.

    Args:
      image: path or bytes of an image file, a Pillow image, or a uint8 array; see
        `Preprocessing.__call__`.
      mode: one of the values of `MODES`.
      reduction_of: (width, height) of a file -> 1, 2, 4 or 8, by which its sides are divided; a
        file that is turned is not reduced.
      exif_orientation: whether it is turned as its EXIF tag says.

    Raises:
      ValueError: it is not an image, has too many pixels, or is an array of another kind.
      FileNotFoundError: there is no such file.
    """
    from PIL import Image, ImageOps

    if isinstance(image, Image.Image):
        image = ImageOps.exif_transpose(image) if exif_orientation else image
        return _converted(image, mode), image.size, 1
    if isinstance(image, np.ndarray):
        picture = _from_array(image)
        return picture.convert(mode), picture.size, 1
    name, source = image, image
    if isinstance(image, bytes):
        name, source = f"An array of {len(image):,} bytes", io.BytesIO(image)
    elif os.path.exists(image) and not os.path.isfile(image):  # a FIFO never opens
        raise ValueError(f"{image} is not a file, but a folder, FIFO, socket or device.")
    try:
        with Image.open(source, formats=_FORMATS) as file:
            width, height = file.size
            limit = MAX_PIXELS * 3 // 8 if file.format == "WEBP" else MAX_PIXELS  # as in training
            if not 0 < width * height <= limit:
                raise ValueError(f"it has {width} x {height} pixels, and the limit is {limit:,}")
            if exif_orientation and file.getexif().get(_ORIENTATION, 1) != 1:
                picture = _converted(ImageOps.exif_transpose(file), mode)
                return picture, picture.size, 1
            divisor = reduction_of(width, height)
            file.draft(None, (width // divisor, height // divisor))  # JPEG only
            picture = _converted(file, mode)
    except FileNotFoundError:
        raise
    except Exception as error:  # of any type: broken files make Pillow raise a dozen of them
        reason = str(error).replace(f" {source!r}", "") if isinstance(image, bytes) else error
        raise ValueError(f"{name} is not an image that can be decoded: {reason}.") from error
    if picture.width != math.ceil(width / divisor):
        picture = picture.reduce(divisor)
    return picture, (width, height), divisor


def _converted(picture: "Image.Image", mode: str) -> "Image.Image":
    """The pixels of an image of any mode as "RGB" or "L", as `input_pipeline.decode` has them."""
    from PIL import Image

    picture.load()
    if picture.mode in ("I", "F") or picture.mode.startswith("I;"):
        if not (picture.mode.startswith("I;16") or (picture.mode, picture.format) == ("I", "PPM")):
            raise ValueError(
                f"its pixels are of mode {picture.mode}, whose range is not known; store them as 8 "
                "or 16 bits"
            )
        tags = getattr(picture, "tag_v2", {})  # of TIFF: bits, and whether white is zero
        bits = tags.get(258, (16,))
        pixels = np.asarray(picture) >> ((bits[0] if isinstance(bits, tuple) else bits) - 8)
        pixels = pixels.astype(np.uint8)
        picture = Image.fromarray(255 - pixels if tags.get(262) == 0 else pixels)
    elif "transparency" in picture.info:  # which is passed over, and Pillow warns of it
        picture = picture.copy()
        del picture.info["transparency"]
    if picture.mode in ("LAB", "HSV"):  # which Pillow converts to RGB only
        picture = picture.convert("RGB")
    return picture.convert(mode)


def resize_box(
    picture: "Image.Image", box: tuple, size: int, interpolation: str, crop_first: bool
) -> "Image.Image":
    """Returns the box of a picture, resized to a square, as in training.

    Only the region around the box that the filter reaches is given to Pillow: which
    of its two passes Pillow does first depends on the size of what it is given.
    """
    left, top, right, bottom = box
    reach = 0 if crop_first else REACH[interpolation]
    x, y = (reach * max(1, length / size) for length in (right - left, bottom - top))
    region = (
        max(0, math.floor(left - x)),
        max(0, math.floor(top - y)),
        min(picture.width, math.ceil(right + x)),
        min(picture.height, math.ceil(bottom + y)),
    )
    box = (left - region[0], top - region[1], right - region[0], bottom - region[1])
    return picture.crop(region).resize((size, size), resampling(interpolation), box=box)


def resampling(interpolation: str) -> "Image.Resampling":
    """Returns Pillow's filter of that name."""
    from PIL import Image

    return Image.Resampling[interpolation.upper()]


def _from_array(pixels: np.ndarray) -> "Image.Image":
    from PIL import Image

    channels = pixels.shape[2:] or (1,)
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or channels[0] not in (1, 3, 4):
        raise ValueError(
            f"an image must be uint8 [H, W] or [H, W, C] with C 1, 3 or 4; got {pixels.dtype} "
            f"{list(pixels.shape)}."
        )
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2:] == (1,) else pixels)


def reduction(width: float, height: float, size: int) -> int:
    """Returns the largest of 1, 2, 4 and 8 that leaves at least `size` pixels on both sides."""
    return next(r for r in (8, 4, 2, 1) if r == 1 or min(width, height) >= r * size)
