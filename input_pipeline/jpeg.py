"""Decodes a region of a JPEG at full or reduced resolution, by libjpeg-turbo.

The `turbojpeg` wheel ships the library. It is called through ctypes, which releases the GIL,
because no binding has the partial decoding of version 3 of its interface. Entropy decoding stops at
the last row of the region, and only the region goes through the inverse DCT and the colour
conversion.
"""

import ctypes
import functools
import importlib.metadata
import math
import threading

import numpy as np

Region = tuple[int, int, int, int]  # left, top, right, bottom

# Parameters, colour spaces and constants of turbojpeg.h.
_STOP_ON_WARNING, _SUBSAMPLING, _WIDTH, _HEIGHT, _COLOUR_SPACE, _SCAN_LIMIT = 0, 4, 5, 6, 8, 13
_RGB_YCC_OR_GREY = (0, 1, 2)
_BLOCK_WIDTHS = (8, 16, 16, 8, 8, 32, 8)  # of a minimum coded unit, by subsampling
_DECOMPRESS = 1
_PIXEL_FORMATS = {"RGB": 0, "BGR": 1}

MAX_SCANS = 100  # of a progressive image; each takes as long as the whole, and encoders write ten


class _Rectangle(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int) for name in ("x", "y", "w", "h")]


class _Fraction(ctypes.Structure):
    _fields_ = [("numerator", ctypes.c_int), ("denominator", ctypes.c_int)]


@functools.cache
def _library() -> ctypes.CDLL | None:
    """The library in the `turbojpeg` wheel, or None if that is not installed."""
    try:
        files = importlib.metadata.files("turbojpeg") or ()
    except importlib.metadata.PackageNotFoundError:
        return None
    path = next((str(f.locate()) for f in files if f.name.startswith("libturbojpeg")), None)
    if path is None:
        return None
    library = ctypes.CDLL(path)
    handle, content, length, number = (
        ctypes.c_void_p,
        ctypes.c_char_p,
        ctypes.c_size_t,
        ctypes.c_int,
    )
    library.tj3Init.restype, library.tj3Init.argtypes = handle, [number]
    library.tj3Destroy.restype, library.tj3Destroy.argtypes = None, [handle]
    library.tj3Get.argtypes = [handle, number]
    library.tj3Set.argtypes = [handle, number, number]
    library.tj3DecompressHeader.argtypes = [handle, content, length]
    library.tj3SetScalingFactor.argtypes = [handle, _Fraction]
    library.tj3SetCroppingRegion.argtypes = [handle, _Rectangle]
    library.tj3Decompress8.argtypes = [handle, content, length, ctypes.c_void_p, number, number]
    return library


class Decoder:
    """The decompressor of one thread, and its buffer, which saves the page faults of a new one.

    Every image gets a handle of its own: a handle keeps tables and sizes, so that after a broken
    image the next, good one would be decoded wrongly or never. It costs 3 us.
    """

    def __init__(self, library: ctypes.CDLL):
        self._library = library
        self._handle = self._content = None
        self._buffer = np.empty(0, np.uint8)

    def __del__(self) -> None:
        self._forget()

    def size(self, content: bytes) -> tuple[int, int] | None:
        """Returns (width, height), or None if the content is no JPEG or of an unsupported kind."""
        self._forget()
        self._handle = self._library.tj3Init(_DECOMPRESS)
        self._library.tj3Set(self._handle, _STOP_ON_WARNING, 1)
        self._library.tj3Set(self._handle, _SCAN_LIMIT, MAX_SCANS)
        if (
            self._library.tj3DecompressHeader(self._handle, content, len(content))
            or self._get(_COLOUR_SPACE) not in _RGB_YCC_OR_GREY
            or self._get(_SUBSAMPLING) < 0
        ):
            self._forget()
            return None
        self._content = content
        return self._get(_WIDTH), self._get(_HEIGHT)

    def decode_region(
        self, content: bytes, region: Region, reduction: int, order: str = "RGB"
    ) -> np.ndarray | None:
        """Decodes a region of the image at 1/1, 1/2, 1/4 or 1/8 of its resolution.

        Args:
          content: the encoded image.
          region: (left, top, right, bottom) in pixels of the reduced image, whose sides are rounded
            up.
          reduction: 1, 2, 4 or 8.
          order: order of the channels, "RGB" or "BGR".

        Returns:
          uint8 [bottom - top, right - left, 3], which the thread's next call overwrites; None if
          the content is damaged or of an unsupported kind.
        """
        if self._content is not content and self.size(content) is None:
            return None
        block = _BLOCK_WIDTHS[self._get(_SUBSAMPLING)] // reduction
        left, top, right, bottom = region
        # One more pixel on all sides, for the upsampling of the colours, and a start at a whole
        # block.
        x, y = max(0, left - 1) // block * block, max(0, top - 1)
        width = min(math.ceil(self._get(_WIDTH) / reduction), right + 1) - x
        height = min(math.ceil(self._get(_HEIGHT) / reduction), bottom + 1) - y
        if self._buffer.size < width * height * 3:
            self._buffer = np.empty(width * height * 3, np.uint8)
        library, handle = self._library, self._handle
        failed = (
            library.tj3SetScalingFactor(handle, _Fraction(1, reduction))
            or library.tj3SetCroppingRegion(handle, _Rectangle(x, y, width, height))
            or library.tj3Decompress8(
                handle,
                content,
                len(content),
                self._buffer.ctypes.data,
                width * 3,
                _PIXEL_FORMATS[order],
            )
        )
        self._forget()
        if failed:
            return None
        pixels = self._buffer[: width * height * 3].reshape(height, width, 3)
        return pixels[top - y : bottom - y, left - x : right - x]

    part = decode_region  # its name in version 0.1

    def _forget(self) -> None:
        if self._handle is not None:
            self._library.tj3Destroy(self._handle)
        self._handle = self._content = None

    def _get(self, parameter: int) -> int:
        return self._library.tj3Get(self._handle, parameter)


_threads = threading.local()


def decoder() -> Decoder | None:
    """Returns this thread's decoder, or None if libjpeg-turbo is not installed."""
    if not hasattr(_threads, "decoder"):
        library = _library()
        _threads.decoder = None if library is None else Decoder(library)
    return _threads.decoder


def reduction(width: float, height: float, size: int) -> int:
    """Returns the largest of 1, 2, 4, 8 that leaves at least `size` pixels on both sides."""
    return next(r for r in (8, 4, 2, 1) if r == 1 or min(width, height) >= r * size)
