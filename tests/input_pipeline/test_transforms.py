import io
import pickle

import numpy as np
import pytest
from PIL import Image

from input_pipeline import transforms
from input_pipeline.example import Example

pytestmark = pytest.mark.quick

ALL = [
    transforms.RandomResizedCrop(48),
    transforms.ResizeRandomCrop(48, resize=(50, 90)),
    transforms.CenterCrop(48),
    transforms.Resize(48),
]


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.fixture
def example(photographs, encode) -> Example:
    return Example(encode(photographs[1][:300, :457], quality=95), 0, "chelsea")


@pytest.mark.parametrize("transform", ALL)
def test_shape_dtype_determinism_and_pickling(transform, example):
    result = transform(example, generator())
    assert result.shape == (48, 48, 3) and result.dtype == np.uint8
    assert (pickle.loads(pickle.dumps(transform))(example, generator()) == result).all()


@pytest.mark.parametrize("transform", ALL[:2])
def test_random_ones_vary_with_the_generator(transform, example):
    assert (transform(example, generator(1)) != transform(example, generator(2))).any()


@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize("size, fraction", [(224, 0.875), (200, 1.0), (225, 0.8)])
def test_center_crop_is_resizing_and_then_cropping(photographs, encode, transpose, size, fraction):
    pixels = photographs[1][:300, :457]
    content = encode(pixels.transpose(1, 0, 2) if transpose else pixels, quality=95)
    image = Image.open(io.BytesIO(content))
    shorter = round(size / fraction)
    longer = int(shorter * 457 / 300)
    width, height = (shorter, longer) if transpose else (longer, shorter)
    image = image.resize((width, height), Image.Resampling.BILINEAR)
    left, top = round((width - size) / 2), round((height - size) / 2)
    expected = np.asarray(image.crop((left, top, left + size, top + size))).astype(int)
    result = transforms.CenterCrop(size, fraction)(Example(content, 0, "x"))
    assert np.abs(result - expected).mean() < 0.3


def test_random_resized_crop_draws_area_and_ratio_from_their_ranges():
    transform = transforms.RandomResizedCrop(10, scale=(0.2, 0.6), ratio=(0.5, 2.0))
    boxes = np.array([transform._box(500, 400, generator(i)) for i in range(2000)])
    left, top, right, bottom = boxes.T
    assert left.min() == 0 and top.min() == 0 and right.max() == 500 and bottom.max() == 400
    areas = (right - left) * (bottom - top) / 200_000
    ratios = (right - left) / (bottom - top)
    assert 0.195 < areas.min() < 0.22 and 0.55 < areas.max() < 0.605
    assert 0.48 < ratios.min() < 0.55 and 1.8 < ratios.max() < 2.02


@pytest.mark.parametrize("width, height", [(1000, 20), (20, 1000)])
def test_an_image_too_long_for_the_ratio_gives_its_centre(width, height):
    transform = transforms.RandomResizedCrop(10, scale=(0.9, 1.0))
    left, top, right, bottom = transform._box(width, height, generator())
    assert min(width, height) == min(right - left, bottom - top)
    assert abs(max(right - left, bottom - top) - 20 * 4 / 3) <= 1
    assert abs((left + right) - width) <= 1 and abs((top + bottom) - height) <= 1


def test_flips_happen_half_of_the_time(photographs, encode):
    content = encode(photographs[0], "PNG")
    transform = transforms.RandomResizedCrop(30, scale=(1.0, 1.0), ratio=(4 / 3, 4 / 3))
    plain = transforms.Resize(30)(Example(content, 0, "x"))
    results = [transform(Example(content, 0, "x"), generator(i)) for i in range(40)]
    mirrored = sum((r == plain[:, ::-1]).all() for r in results)
    assert mirrored + sum((r == plain).all() for r in results) == 40
    assert 10 <= mirrored <= 30
    unflipped = transforms.RandomResizedCrop(30, (1.0, 1.0), (4 / 3, 4 / 3), flip=False)
    assert (unflipped(Example(content, 0, "x"), generator()) == plain).all()


def test_resize_random_crop_of_a_fixed_length_is_a_crop_of_the_resized_image(example):
    transform = transforms.ResizeRandomCrop(150, resize=(200, 200), flip=False)
    image = Image.open(io.BytesIO(example.image)).resize((304, 200), Image.Resampling.BILINEAR)
    full = np.asarray(image).astype(int)
    result = transform(example, generator())
    errors = [
        np.abs(full[y : y + 150, x : x + 150] - result).mean()
        for y in range(51)
        for x in range(155)
    ]
    assert min(errors) < 0.3


def test_pad_surrounds_an_array_by_zeros():
    pixels = np.full((28, 28, 1), 7, np.uint8)
    result = transforms.Pad(2)(Example(pixels, 0, "x"))
    assert result.shape == (32, 32, 1) and result.sum() == pixels.sum()
    assert (result[2:30, 2:30] == 7).all()


def test_wrong_settings_are_refused():
    with pytest.raises(ValueError, match="bilinear, bicubic"):
        transforms.CenterCrop(10, interpolation="linear")
    with pytest.raises(ValueError, match="224 pixels"):
        transforms.ResizeRandomCrop(224, resize=(200, 300))
    with pytest.raises(ValueError, match="1.5"):
        transforms.CenterCrop(224, fraction=1.5)
