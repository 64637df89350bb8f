"""PNG of small images, without row filters, which makes them fast to read.

Pillow takes 100 us to write and 50 us to read a 28x28 image; this takes 25 and 8.
"""

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
    header = struct.pack(">IIBBBBB", width, height, 8, _COLOUR_TYPES[channels], 0, 0, 0)
    body = zlib.compress(rows.tobytes(), 6)
    return _SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", body) + _chunk(b"IEND", b"")


def decode(content: bytes, shape: tuple[int, int, int]) -> np.ndarray | None:
    """Decodes a PNG that `encode` wrote to uint8 [H, W, C]; returns None for any other content."""
    height, width, channels = shape
    header = struct.pack(">IIBBBBB", width, height, 8, _COLOUR_TYPES.get(channels, 255), 0, 0, 0)
    if content[:8] != _SIGNATURE or content[16:29] != header or content[37:41] != b"IDAT":
        return None
    end = 41 + int.from_bytes(content[33:37], "big")
    if content[end + 8 : end + 12] != b"IEND":
        return None
    try:
        rows = np.frombuffer(zlib.decompress(content[41:end]), np.uint8)
    except zlib.error:
        return None
    if rows.size != height * (1 + width * channels):
        return None
    rows = rows.reshape(height, -1)
    return None if rows[:, 0].any() else rows[:, 1:].reshape(shape)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
