"""Images that would harm: refused in words, at once and in little memory."""

import contextlib
import io
import os
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import input_pipeline
from input_pipeline import decode, jpeg, loader, png, transforms
from input_pipeline.example import Example, UnreadableImage

pytestmark = pytest.mark.quick


@contextlib.contextmanager
def little_memory() -> Iterator[None]:
    """Fails if what runs inside takes more than 100 MB at any time."""
    Path("/proc/self/clear_refs").write_text("5")  # the highest use so far is forgotten
    before = memory()
    yield
    assert memory() - before < 100_000


def memory() -> int:
    """The highest use of memory, in KB."""
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])


def resized(content: bytes, **options) -> np.ndarray:
    return transforms.Resize(24)(Example(content, 0, "x", **options))


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_of(width: int, height: int, data: bytes, bits: int = 8) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def jpeg_of(width: int, height: int, **options) -> bytes:
    """A small JPEG whose header says another size."""
    stream = io.BytesIO()
    Image.new("RGB", (8, 8)).save(stream, "JPEG", **options)
    content = bytearray(stream.getvalue())
    at = next(i for i in range(len(content)) if content[i] == 0xFF and content[i + 1] in (192, 194))
    content[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(content)


def webp_of(width: int, height: int) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (8, 8)).save(stream, "WEBP", lossless=True)
    content = bytearray(stream.getvalue())
    at = content.index(b"VP8L") + 9
    content[at : at + 4] = struct.pack("<I", (height - 1) << 14 | (width - 1))
    return bytes(content)


def bmp_of(width: int, height: int) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (8, 8)).save(stream, "BMP")
    content = bytearray(stream.getvalue())
    content[18:26] = struct.pack("<ii", width, height)
    return bytes(content)


BOMBS = {
    "PNG of one column": png_of(1, 117_000_000, b""),
    "PNG of one column within the limit of pixels": png_of(1, 60_000_000, bytes(10_000)),
    "PNG of 1 bit": png_of(40_000, 40_000, b"", bits=1),
    "PNG cut short": png_of(7_900, 7_900, b""),
    "JPEG": jpeg_of(60_000, 60_000),
    "JPEG, progressive": jpeg_of(30_000, 30_000, progressive=True),
    "JPEG, progressive, within the limit": jpeg_of(7_900, 7_900, progressive=True),
    "GIF": b"GIF89a" + struct.pack("<HH", 60_000, 60_000) + bytes(20),
    "PPM": b"P6 30000 30000 255\n" + bytes(30),
    "WEBP": webp_of(16_000, 16_000),
    "BMP": bmp_of(30_000, 30_000),
    "no pixels": b"GIF89a" + bytes(40),
}


@pytest.mark.parametrize("name", BOMBS)
@pytest.mark.parametrize("way", ["LazyImage", "Pillow alone", "decode_rgb", "decode_to_shape"])
def test_a_bomb_is_refused_at_once(name, way, monkeypatch):
    content = BOMBS[name]
    if way == "Pillow alone":
        monkeypatch.setattr(jpeg, "decoder", lambda: None)
    read = {
        "decode_rgb": lambda: decode.decode_rgb(content, "x"),
        "decode_to_shape": lambda: decode.decode_to_shape(content, (28, 28, 1), "x"),
    }.get(way, lambda: resized(content))
    start = time.perf_counter()
    with little_memory(), pytest.raises(UnreadableImage, match="The image x cannot be decoded"):
        read()
    assert time.perf_counter() - start < 1


def webp_of(width: int, height: int) -> bytes:
    """A small lossless WEBP of noise whose header says another size."""
    stream = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    Image.fromarray(noise).save(stream, "WEBP", lossless=True)
    content = bytearray(stream.getvalue())
    at = content.index(b"VP8L") + 9
    rest = int.from_bytes(content[at : at + 4], "little") >> 28
    bits = (width - 1) | (height - 1) << 14 | rest << 28
    content[at : at + 4] = bits.to_bytes(4, "little")
    return bytes(content)


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ((16_000, 4_000), "max_pixels=64,000,000, of which WEBP may have 3/8"),
        ((6_000, 4_000), "x cannot be decoded"),
    ],
)
def test_a_webp_that_is_damaged_takes_little(size, message, tmp_path):
    """Its decoder takes all of its memory before it knows."""
    content = webp_of(*size)
    start = time.perf_counter()
    with pytest.raises(UnreadableImage, match=message):
        resized(content)
    assert time.perf_counter() - start < 1
    assert resized(webp_of(8, 8)).shape == (24, 24, 3)
    (tmp_path / "x.webp").write_bytes(content)
    done = subprocess.run(  # 96 of 100 MB: threads of other tests would take the rest
        [sys.executable, "-c", TAKEN, tmp_path / "x.webp"], capture_output=True, text=True
    )
    assert done.returncode == 0 and int(done.stdout) < 100_000, done.stderr


TAKEN = """
import sys
from pathlib import Path
from input_pipeline import transforms
from input_pipeline.example import Example, UnreadableImage

def memory():
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])

content = Path(sys.argv[1]).read_bytes()
Path("/proc/self/clear_refs").write_text("5")
before = memory()
try:
    transforms.Resize(24)(Example(content, 0, "x"))
except UnreadableImage:
    print(memory() - before)
"""


def test_the_limit_of_pixels_can_be_chosen(photographs, encode, tmp_path):
    for content in (encode(photographs[0]), encode(photographs[0], "PNG")):
        assert resized(content, max_pixels=375 * 500).shape == (24, 24, 3)
        with pytest.raises(UnreadableImage, match="500 x 375 pixels.* max_pixels=187,499"):
            resized(content, max_pixels=375 * 500 - 1)
        with pytest.raises(UnreadableImage, match="max_pixels"):
            decode.decode_rgb(content, "x", max_pixels=1000)
        with pytest.raises(UnreadableImage, match="max_pixels"):
            decode.decode_to_shape(content, (375, 500, 3), "x", max_pixels=1000)
    (tmp_path / "train" / "cat").mkdir(parents=True)
    (tmp_path / "train" / "cat" / "0.jpg").write_bytes(encode(photographs[0]))
    source = input_pipeline.open(f"folder:{tmp_path}", "train", max_pixels=1000)
    with pytest.raises(UnreadableImage, match="0.jpg cannot be decoded.*max_pixels=1,000"):
        list(loader.eval_batches(source, transforms.Resize(8), batch_size=1))


def test_what_inflates_to_more_than_the_known_shape_takes_no_memory():
    packer = zlib.compressobj(1)
    packed = b"".join(packer.compress(bytes(2**20)) for _ in range(300)) + packer.flush()
    whole = png.encode(np.zeros((28, 28, 1), np.uint8))
    bomb = whole[:33] + chunk(b"IDAT", packed) + whole[-12:]
    with little_memory():
        assert png.decode(bomb, (28, 28, 1)) is None


def test_no_program_is_started(tmp_path, monkeypatch):
    (tmp_path / "gs").write_text(f"#!/bin/sh\necho ran > {tmp_path}/log\n")
    (tmp_path / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 40 40\n%%EndComments\nshowpage\n%%EOF\n"
    with pytest.raises(UnreadableImage, match="not an image of a known format"):
        resized(eps)
    assert not (tmp_path / "log").exists()


@pytest.mark.parametrize("kind", ["ICO", "TGA", "PCX", "ICNS", "DDS", "JPEG2000", "EPS", "PDF"])
def test_other_formats_of_pillow_are_not_opened(kind):
    stream = io.BytesIO()
    Image.new("RGB", (32, 32)).save(stream, kind)
    with pytest.raises(UnreadableImage, match="not an image of a known format"):
        resized(stream.getvalue())


def test_scans_without_end_are_refused():
    stream = io.BytesIO()
    pixels = np.random.RandomState(0).randint(0, 256, (64, 64, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(stream, "JPEG", progressive=True)
    content = stream.getvalue()
    last = content.rindex(b"\xff\xda")
    many = content[:last] + content[last:-2] * 500 + content[-2:]
    with pytest.raises(UnreadableImage, match="more than 100 scans"):
        resized(many)
    assert resized(content).shape == (24, 24, 3)


@pytest.mark.parametrize("error", [IndexError, MemoryError, NotImplementedError, RecursionError])
def test_whatever_pillow_raises_names_the_image(error, encode, photographs, monkeypatch):
    def fail(*_, **__):
        raise error

    content = encode(photographs[0], "PNG")
    monkeypatch.setattr(Image.Image, "convert", fail)
    with pytest.raises(UnreadableImage, match=f"x cannot be decoded: {error.__name__}"):
        resized(content)


def test_after_a_broken_jpeg_the_next_is_as_it_was(photographs, encode):
    good = encode(photographs[0][:150, :200])
    cut = good[: good.index(b"\xff\xda")]  # ends before its scan
    expected = resized(good)
    for before in (encode(photographs[1]), encode(photographs[2][:64, :64])):
        resized(before)
        with pytest.raises(UnreadableImage):
            resized(cut)
        assert (resized(good) == expected).all()
        decoder = jpeg.decoder()
        assert (decoder.size(before), decoder.size(cut), decoder.size(good))[1:] == (
            None,
            (200, 150),
        )


def test_an_image_of_another_size_is_not_reshaped(encode):
    content = encode(np.arange(784, dtype=np.uint32).astype(np.uint8).reshape(14, 56), "PNG", "L")
    with pytest.raises(UnreadableImage, match="14 x 56 pixels.* 28 x 28"):
        decode.decode_to_shape(content, (28, 28, 1), "x")
