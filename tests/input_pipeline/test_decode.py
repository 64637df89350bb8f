import io

import numpy as np
import pytest
from PIL import Image

from input_pipeline import decode, jpeg, png, resize
from input_pipeline.example import Example, UnreadableImage

pytestmark = pytest.mark.quick

BOXES = [(0, 0, 500, 375), (100, 50, 400, 350), (301, 207, 350, 250), (0, 10, 480, 100)]


@pytest.fixture(params=["libjpeg-turbo", "pillow"])
def backend(request, monkeypatch) -> str:
    """Runs a test with the fast libraries and with their replacement by Pillow."""
    if request.param == "pillow":
        monkeypatch.setattr(jpeg, "decoder", lambda: None)
        monkeypatch.setattr(resize, "_fast", lambda: None)
    else:
        assert jpeg.decoder() is not None and resize._fast() is not None
    return request.param


def resized(content: bytes | np.ndarray, box, size: int = 64, **options) -> np.ndarray:
    options = {"interpolation": "bilinear", "crop_first": True} | options
    return decode.LazyImage(Example(content, 0, "a.jpg")).resized(box, size, **options)


def difference(a: np.ndarray, b: np.ndarray) -> float:
    return np.abs(a.astype(int) - b).mean()


def assert_equal_but_for_rounding(a: np.ndarray, b: np.ndarray, interpolation: str) -> None:
    errors = np.abs(a.astype(int) - b)
    assert errors.mean() < 0.3
    # Filters that overshoot are clipped between their two passes, which may come in either order.
    assert (errors > 1).mean() <= (0 if interpolation == "bilinear" else 0.002)
    assert errors.max() <= 15


@pytest.mark.parametrize("interpolation", resize.INTERPOLATIONS)
@pytest.mark.parametrize("box", BOXES)
def test_a_crop_is_pillows_full_decode_crop_and_resize(
    photographs, encode, backend, box, interpolation
):
    content = encode(photographs[1], quality=90)
    image = Image.open(io.BytesIO(content)).crop(box)
    size = 224  # none of the boxes is twice as large: no reduced resolution
    expected = np.asarray(image.resize((size, size), resize.INTERPOLATIONS[interpolation][0]))
    result = resized(content, box, size, interpolation=interpolation)
    assert_equal_but_for_rounding(result, expected, interpolation)


@pytest.mark.parametrize("size", [20, 64, 100])
def test_a_reduced_resolution_stays_near_the_full_one(photographs, encode, backend, size):
    for pixels in photographs:
        content = encode(pixels, quality=90)
        expected = Image.open(io.BytesIO(content)).resize((size, size), Image.Resampling.BILINEAR)
        assert difference(resized(content, (0, 0, 500, 375), size), np.asarray(expected)) < 3


@pytest.mark.parametrize("interpolation", resize.INTERPOLATIONS)
def test_without_crop_first_pixels_beyond_the_box_take_part(
    photographs, encode, backend, interpolation
):
    content = encode(photographs[2], quality=90)
    box = (101.25, 37.5, 381.75, 303.25)
    resample = resize.INTERPOLATIONS[interpolation][0]
    expected = Image.open(io.BytesIO(content)).resize((224, 224), resample, box=box)
    result = resized(content, box, 224, interpolation=interpolation, crop_first=False)
    assert_equal_but_for_rounding(result, np.asarray(expected), interpolation)


@pytest.mark.parametrize("size", [64, 37])
def test_mirroring(photographs, encode, backend, size):
    content = encode(photographs[0])
    plain = resized(content, BOXES[1], size)
    assert (resized(content, BOXES[1], size, mirror=True) == plain[:, ::-1]).all()


def test_every_encoding_becomes_rgb(photographs, encode, backend):
    pixels = photographs[3]
    full = (0, 0, 500, 375)
    grey = resized(encode(pixels, mode="L", quality=95), full)
    assert grey.shape == (64, 64, 3) and (grey == grey[:, :, :1]).all()
    expected = resized(encode(pixels, "PNG"), full)
    assert difference(resized(encode(pixels, mode="CMYK", quality=95), full), expected) < 3
    assert difference(resized(encode(pixels, "PNG", mode="RGBA"), full), expected) == 0


def test_arrays_keep_their_channels(photographs, backend):
    grey = photographs[0][:28, :28, :1]
    assert (resized(grey, (0, 0, 28, 28), 28) == grey).all()
    assert resized(photographs[0], (0, 0, 500, 375), 28).shape == (28, 28, 3)


def test_an_unreadable_image_is_named(photographs, encode, backend):
    good = encode(photographs[0], quality=95)
    for content in (b"", b"not an image", good[:20], good[: len(good) // 2]):
        with pytest.raises(UnreadableImage, match="a.jpg cannot be decoded"):
            resized(content, (0, 300, 500, 375))


def test_small_images_of_a_known_shape(photographs, encode):
    pixels = photographs[0][:32, :32]
    assert (decode.decode_to_shape(png.encode(pixels), (32, 32, 3), "x") == pixels).all()
    assert (decode.decode_to_shape(encode(pixels, "PNG"), (32, 32, 3), "x") == pixels).all()
    grey = decode.decode_to_shape(encode(pixels, "PNG", mode="L"), (32, 32, 1), "x")
    assert grey.shape == (32, 32, 1)
    with pytest.raises(UnreadableImage, match="record 7"):
        decode.decode_to_shape(encode(pixels, "PNG"), (28, 28, 3), "record 7")
