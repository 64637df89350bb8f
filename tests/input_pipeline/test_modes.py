"""Every mode of Pillow, as a file where a format stores it: the right grey levels or an error."""

import io
import os

import numpy as np
import pytest
from PIL import Image

from input_pipeline import decode
from input_pipeline.example import Example, UnreadableImage
from zoo.preprocess import Preprocessing

pytestmark = pytest.mark.quick

RAMP = np.tile(np.arange(0, 256, 4, dtype=np.uint8), (64, 1))  # 0, 4, 8, ... from left to right
WORDS = RAMP.astype(np.uint16) * 256 + 255 - RAMP
GREY = Image.fromarray(RAMP)
RGB = Image.merge("RGB", (GREY, GREY.transpose(Image.Transpose.ROTATE_90), GREY.point([90] * 256)))


def with_alpha(mode: str) -> Image.Image:
    image = (GREY if mode == "LA" else RGB).convert(mode)
    image.putalpha(GREY.transpose(Image.Transpose.ROTATE_90))
    return image


def stored(image: Image.Image, kind: str, **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def words(mode: str) -> Image.Image:
    order = ">" if mode.endswith("B") else "<"
    return Image.frombytes(mode, (64, 64), WORDS.astype(f"{order}u2").tobytes())


BINARY = GREY.convert("1", dither=Image.Dither.NONE)
PALETTE = RGB.quantize(64)
GREY_PALETTE = Image.frombytes("P", (64, 64), RAMP.tobytes())
GREY_PALETTE.putpalette(np.repeat(np.arange(256, dtype=np.uint8), 3).tobytes())
LAB = RGB.convert("LAB")
RGB_WORDS = b"P6\n64 64\n65535\n" + (np.asarray(RGB).astype(">u2") * 257).tobytes()
PGM_OF_10_BITS = b"P5\n64 64\n1023\n" + (RAMP.astype(np.uint16) * 4).astype(">u2").tobytes()

# Name: (file, what it looks like, tolerance in grey levels).
TABLE = {
    "1": (stored(BINARY, "PNG"), BINARY, 0),
    "1, TIFF of fax": (stored(BINARY, "TIFF", compression="group4"), BINARY, 0),
    "L": (stored(GREY, "PNG"), GREY, 0),
    "L with a transparent grey": (stored(GREY, "PNG", transparency=8), GREY, 0),
    "LA": (stored(with_alpha("LA"), "PNG"), GREY, 0),
    "P": (stored(PALETTE, "PNG"), PALETTE, 0),
    "P with a transparent colour": (stored(PALETTE, "PNG", transparency=3), PALETTE, 0),
    "P with an alpha each": (stored(PALETTE, "PNG", transparency=bytes(range(64))), PALETTE, 0),
    "P, GIF": (stored(GREY_PALETTE, "GIF"), GREY, 0),
    "P, GIF with transparency": (stored(GREY_PALETTE, "GIF", transparency=200), GREY, 0),
    "RGB": (stored(RGB, "PNG"), RGB, 0),
    "RGB with a transparent colour": (stored(RGB, "PNG", transparency=(0, 0, 90)), RGB, 0),
    "RGB, BMP": (stored(RGB, "BMP"), RGB, 0),
    "RGB, WEBP": (stored(RGB, "WEBP", lossless=True), RGB, 0),
    "RGB, PPM of 16 bits": (RGB_WORDS, RGB, 0),
    "RGBA": (stored(with_alpha("RGBA"), "PNG"), RGB, 0),
    "RGBA, TIFF": (stored(with_alpha("RGBA"), "TIFF"), RGB, 0),
    "CMYK": (stored(RGB.convert("CMYK"), "TIFF"), RGB, 0),
    "CMYK, JPEG": (stored(RGB.convert("CMYK"), "JPEG", quality=100, subsampling=0), RGB, 4),
    "YCbCr": (stored(RGB.convert("YCbCr"), "TIFF", compression="tiff_lzw"), RGB, 3),
    "YCbCr, JPEG": (stored(RGB, "JPEG", quality=100, subsampling=0), RGB, 4),
    "LAB": (stored(LAB, "TIFF"), LAB.convert("RGB"), 0),
    "I;16": (stored(words("I;16"), "PNG"), GREY, 0),
    "I;16, TIFF": (stored(words("I;16"), "TIFF"), GREY, 0),
    "I;16, TIFF, white is zero": (stored(words("I;16"), "TIFF", tiffinfo={262: 0}), None, 0),
    "I;16B, TIFF": (stored(words("I;16B"), "TIFF"), GREY, 0),
    "I, PGM of 16 bits": (b"P5\n64 64\n65535\n" + WORDS.astype(">u2").tobytes(), GREY, 0),
    "I, PGM of 10 bits": (PGM_OF_10_BITS, GREY, 1),
}
REFUSED = {
    "I, TIFF": (stored(GREY.convert("I"), "TIFF"), "integers of 32 bits"),
    "F, TIFF": (stored(GREY.convert("F"), "TIFF"), "floats"),
    "F, PFM": (b"Pf\n64 64\n-1.0\n" + bytes(4 * 64 * 64), "floats"),
}


def ways(content: bytes) -> dict[str, np.ndarray]:
    """The image by each decode path."""
    lazy = decode.LazyImage(Example(content, 0, "x"))
    return {
        "LazyImage": lazy.resized((0, 0, 64, 64), 64, "bilinear", crop_first=True),
        "decode_rgb": decode.decode_rgb(content, "x"),
        "decode_to_shape": decode.decode_to_shape(content, (64, 64, 3), "x"),
        "grey": decode.decode_to_shape(content, (64, 64, 1), "x"),
    }


@pytest.mark.parametrize("name", TABLE)
def test_the_right_pixels_by_every_way(name):
    content, image, tolerance = TABLE[name]
    image = GREY.point(lambda x: 255 - x) if image is None else image
    for way, pixels in ways(content).items():
        expected = np.asarray(image.convert("RGB"))
        if way == "grey":
            expected = np.asarray(image.convert("RGB").convert("L"))[:, :, None]
        difference = np.abs(pixels.astype(int) - expected).max()
        assert difference <= max(tolerance, way == "grey"), (way, difference)


@pytest.mark.parametrize("name", TABLE)
def test_the_preprocessing_of_the_zoo_reads_the_same(name, tmp_path):
    (tmp_path / "x").write_bytes(TABLE[name][0])
    read = Preprocessing(64, crop=None).resize
    assert (read(tmp_path / "x") == ways(TABLE[name][0])["decode_rgb"]).all()
    grey = Preprocessing(64, 1, mean=(0.5,), std=(0.5,), crop=None).resize
    assert (grey(tmp_path / "x") == ways(TABLE[name][0])["grey"]).all()


def test_what_an_older_pillow_cannot_read_is_unreadable():
    """YCbCr in a TIFF without compression: Pillow 13 reads it, Pillow 11 says it is truncated."""
    content = stored(RGB.convert("YCbCr"), "TIFF")
    try:
        expected = np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).astype(int)
    except OSError:
        with pytest.raises(UnreadableImage):
            decode.decode_rgb(content, "x")
    else:
        assert np.abs(decode.decode_rgb(content, "x") - expected).max() == 0


@pytest.mark.parametrize("name", REFUSED)
def test_the_preprocessing_of_the_zoo_refuses_the_same(name, tmp_path):
    (tmp_path / "x").write_bytes(REFUSED[name][0])
    with pytest.raises(ValueError, match="is not an image that can be decoded.*not known"):
        Preprocessing(64)(tmp_path / "x")
    bomb = b"P6 9000 9000 255\n" + bytes(30)
    (tmp_path / "x").write_bytes(bomb)
    with pytest.raises(ValueError, match="9000 x 9000 pixels"):
        Preprocessing(64)(tmp_path / "x")
    (tmp_path / "x").unlink()
    os.mkfifo(tmp_path / "x")
    with pytest.raises(ValueError, match="is not a file"):
        Preprocessing(64)(tmp_path / "x")


@pytest.mark.parametrize("mode", ["I;16", "I;16L", "I;16B", "I;16N", "HSV", "La", "RGBa", "PA"])
def test_modes_that_a_file_seldom_has(mode):
    if mode.startswith("I"):
        image, expected = words("I;16" if mode == "I;16N" else mode), GREY
    elif mode == "La":  # grey times alpha cannot become grey in one step in Pillow
        image = with_alpha("LA").convert("La")
        with pytest.raises(ValueError, match="conversion from La"):
            decode._converted(image, "RGB")
        return
    elif mode == "RGBa":
        image, expected = RGB.convert("RGBA").convert("RGBa"), RGB
    else:
        image = (PALETTE if mode == "PA" else RGB).convert(mode)
        expected = PALETTE if mode == "PA" else RGB
    pixels = np.asarray(decode._converted(image, "RGB")).astype(int)
    assert np.abs(pixels - np.asarray(expected.convert("RGB"))).max() <= 6


def test_twelve_bits_are_scaled():
    tiff = bytearray(stored(Image.fromarray(np.zeros((2, 4), np.uint16)), "TIFF"))
    image = Image.open(io.BytesIO(bytes(tiff)))
    at = image.tag_v2[273][0]  # where the pixels are
    packed = np.array([[0xFF, 0xF0, 0x80, 0x80, 0x40, 0x10]] * 2, np.uint8).tobytes()
    tiff[at : at + len(packed)] = packed
    entry = tiff.index(b"\x02\x01\x03\x00\x01\x00\x00\x00\x10\x00")  # BitsPerSample, of 16
    tiff[entry + 8] = 12
    entry = tiff.index(b"\x17\x01\x04\x00\x01\x00\x00\x00")  # StripByteCounts
    tiff[entry + 8] = len(packed)
    pixels = decode.decode_rgb(bytes(tiff), "x")[:, :, 0]
    assert pixels.tolist() == [[0xFF, 0x08, 0x80, 0x01]] * 2


@pytest.mark.parametrize("name", REFUSED)
def test_pixels_of_an_unknown_range_are_refused_in_words(name):
    content, words = REFUSED[name]
    for decoded in (
        lambda: decode.LazyImage(Example(content, 0, "x")).resized(
            (0, 0, 64, 64), 64, "bilinear", crop_first=True
        ),
        lambda: decode.decode_rgb(content, "x"),
        lambda: decode.decode_to_shape(content, (64, 64, 1), "x"),
    ):
        with pytest.raises(UnreadableImage, match=f"x cannot be decoded: .*{words}"):
            decoded()
