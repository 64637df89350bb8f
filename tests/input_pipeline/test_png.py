import io

import numpy as np
import pytest
from PIL import Image

from input_pipeline import png

pytestmark = pytest.mark.quick


@pytest.mark.parametrize("shape", [(28, 28, 1), (32, 32, 3), (5, 9, 1)])
def test_what_is_written_is_read_back_and_by_pillow_too(shape):
    pixels = np.random.RandomState(0).randint(0, 256, shape, np.uint8)
    content = png.encode(pixels)
    assert (png.decode(content, shape) == pixels).all()
    assert (np.asarray(Image.open(io.BytesIO(content))).reshape(shape) == pixels).all()


def test_any_other_content_is_left_to_a_general_decoder(photographs):
    stream = io.BytesIO()
    Image.fromarray(photographs[0][:32, :32]).save(stream, "PNG")  # with row filters
    whole = png.encode(photographs[0][:32, :32])
    assert png.decode(stream.getvalue(), (32, 32, 3)) is None
    assert png.decode(whole, (32, 31, 3)) is None
    assert png.decode(whole, (32, 32, 1)) is None
    assert png.decode(whole[:200], (32, 32, 3)) is None
    assert png.decode(whole[:60] + b"\0\0\0\0" + whole[64:], (32, 32, 3)) is None
    assert png.decode(b"", (32, 32, 3)) is None
