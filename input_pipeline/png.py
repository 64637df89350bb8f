"""PNG of small images, without row filters, which makes them fast to read.

A reader of its own because Pillow takes 100 us to write and 50 us to read a 28x28 image; this takes
25 and 8. It reads what `encode` wrote and nothing else.
"""

import functools
import struct
import zlib

import numpy as np

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOUR_TYPES = {1: 0, 3: 2}  # channels: PNG's colour type (grey, RGB)


def encode(pixels: np.ndarray) -> bytes:
    """Encodes uint8 [H, W, C], C 1 or 3, as a PNG."""
    height, width, channels = pixels.shape
    rows = np.zeros((height, 1 + width * channels), np.uint8)  # each row starts with a filter type
    rows[:, 1:] = pixels.reshape(height, -1)
    body = zlib.compress(rows.tobytes(), 6)
    return _header(width, height, channels) + _chunk(b"IDAT", body) + _END


def decode(content: bytes, shape: tuple[int, int, int]) -> np.ndarray | None:
    """Decodes a PNG that `encode` wrote to uint8 [H, W, C]; returns None for any other content."""
    height, width, channels = shape
    if channels not in _COLOUR_TYPES:
        return None
    header = _header(width, height, channels)
    if content[:33] != header or content[37:41] != b"IDAT":
        return None
    end = 41 + int.from_bytes(content[33:37], "big")
    if content[end + 4 :] != _END:
        return None
    size = height * (1 + width * channels)
    stream = zlib.decompressobj()
    try:
        # The size is known, so that nothing which inflates to more of them takes memory.
        rows = np.frombuffer(stream.decompress(content[41:end], size + 1), np.uint8)
    except zlib.error:
        return None
    if rows.size != size or not stream.eof:
        return None
    rows = rows.reshape(height, -1)
    return None if rows[:, 0].any() else rows[:, 1:].reshape(shape)


@functools.lru_cache(maxsize=64)
def _header(width: int, height: int, channels: int) -> bytes:
    """The bytes before the pixels."""
    fields = struct.pack(">IIBBBBB", width, height, 8, _COLOUR_TYPES[channels], 0, 0, 0)
    return _SIGNATURE + _chunk(b"IHDR", fields)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


_END = _chunk(b"IEND", b"")
