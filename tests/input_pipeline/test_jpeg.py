import io

import numpy as np
import pytest
from PIL import Image

from input_pipeline import jpeg

pytestmark = pytest.mark.quick

KINDS = {
    "4:4:4": dict(subsampling=0),
    "4:2:2": dict(subsampling=1),
    "4:2:0": dict(subsampling=2),
    "progressive": dict(progressive=True),
    "restarts": dict(restart_marker_rows=1),
    "grey": dict(mode="L"),
}


@pytest.mark.parametrize("reduction", [1, 2, 4, 8])
@pytest.mark.parametrize("kind", KINDS)
def test_a_part_is_that_part_of_pillows_full_image_to_the_bit(photographs, encode, kind, reduction):
    random = np.random.RandomState(0)
    for pixels in photographs[:2]:
        content = encode(pixels[:371, :493], quality=85, **KINDS[kind])
        image = Image.open(io.BytesIO(content))
        image.draft(None, (493 // reduction, 371 // reduction))
        full = np.asarray(image.convert("RGB"))
        for _ in range(15):
            left, top = random.randint(full.shape[1]), random.randint(full.shape[0])
            right = random.randint(left + 1, full.shape[1] + 1)
            bottom = random.randint(top + 1, full.shape[0] + 1)
            part = jpeg.decoder().decode_region(content, (left, top, right, bottom), reduction)
            assert (part == full[top:bottom, left:right]).all()


def test_channels_in_the_other_order(photographs, encode):
    content = encode(photographs[0])
    rgb = jpeg.decoder().decode_region(content, (3, 5, 90, 70), 1).copy()
    bgr = jpeg.decoder().decode_region(content, (3, 5, 90, 70), 1, order="BGR")
    assert (bgr == rgb[:, :, ::-1]).all()


def test_sizes_are_read_from_the_header(photographs, encode):
    assert jpeg.decoder().size(encode(photographs[0][:100, :77])) == (77, 100)


def test_what_it_cannot_turn_into_rgb_is_left_to_pillow(photographs, encode):
    decoder = jpeg.decoder()
    good = encode(photographs[0])
    assert decoder.size(encode(photographs[0], mode="CMYK")) is None
    assert decoder.size(encode(photographs[0], "PNG")) is None
    assert decoder.size(b"") is None
    assert decoder.decode_region(good[: len(good) // 2], (0, 300, 500, 375), 1) is None
    assert (
        decoder.decode_region(good, (0, 300, 500, 375), 1) is not None
    )  # the failure left no trace


@pytest.mark.parametrize(
    "width, height, size, expected",
    [
        (447, 900, 224, 1),
        (448, 448, 224, 2),
        (895, 2000, 224, 2),
        (5000, 5000, 224, 8),
        (9, 9, 1, 8),
    ],
)
def test_the_reduction_leaves_as_many_pixels_as_are_needed(width, height, size, expected):
    assert jpeg.reduction(width, height, size) == expected
