"""Random forms: an image's draw is a function of its key, and has the range that is said."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from input_pipeline import augment

pytestmark = pytest.mark.usefixtures("quick_compilation")

KEY = jax.random.key(0)
FORMS = {
    "random_flip": {},
    "random_vertical_flip": {},
    "random_rotation": {"degrees": 30, "interpolation": "bilinear", "fill": (1, 2, 3)},
    "random_affine": {"degrees": 9, "translate": (0.1, 0.3), "scale": (0.5, 2), "shear": 9},
    "random_perspective": {"p": 0.9},
    "elastic_transform": {"sigma": 1.0},
    "random_crop": {"size": (12, 9)},
    "random_crop_with_padding": {"padding": 2, "mode": "reflect"},
    "random_resized_crop": {"size": 8},
    "random_zoom_out": {"fill": (1, 2, 3), "p": 0.9},
    "scale_jitter": {"target_size": (9, 8)},
    "random_shortest_size": {"min_size": (8, 12, 20), "size": 10},
    "color_jitter": {"brightness": 0.4, "saturation": (0.2, 1.5)},
    "random_photometric_distort": {},
    "random_channel_permutation": {},
    "random_grayscale": {"p": 0.5},
    "random_posterize": {"bits": 2},
    "random_gaussian_blur": {"kernel_size": (3, 5)},
    "gaussian_noise": {},
    "random_jpeg": {"quality": (5, 95)},
    "lighting": {},
}

TWO = ("random_flip", "random_vertical_flip", "random_grayscale", "random_posterize")  # or not


@pytest.fixture
def images() -> np.ndarray:
    smooth = np.random.RandomState(0).randint(0, 256, (16, 7, 6, 3), np.uint8)
    return smooth.repeat(2, 1).repeat(2, 2)


QUICK = ("random_flip", "random_affine")


@pytest.mark.parametrize(
    "name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.full) for n in FORMS]
)
def test_each_image_has_its_own_draw_whatever_the_batch(name, images):
    transform = jax.jit(functools.partial(getattr(augment, name), **FORMS[name]))
    same = np.stack([images[0]] * 16)
    keys = augment.image_keys(KEY, 16)
    results = np.asarray(transform(keys, same))
    assert len({result.tobytes() for result in results}) > (1 if name in TWO else 2)
    part = [3, 9]
    np.testing.assert_allclose(transform(keys[jnp.asarray(part)], same[:2]), results[part], atol=1)
    assert np.asarray(transform(KEY, same)).shape == results.shape


@pytest.mark.full
def test_adjustments_with_probability_are_made_or_not(images):
    images = 60 + images.repeat(2, 1) // 2
    for random, operation in (
        (augment.random_invert, augment.invert),
        (augment.random_equalize, augment.equalize),
        (augment.random_autocontrast, augment.autocontrast),
        (
            functools.partial(augment.random_solarize, threshold=100),
            functools.partial(augment.solarize, threshold=100),
        ),
        (
            functools.partial(augment.random_adjust_sharpness, sharpness_factor=2.0),
            functools.partial(augment.adjust_sharpness, sharpness_factor=2.0),
        ),
    ):
        result, changed = np.asarray(random(KEY, images)), np.asarray(operation(images))
        made = [(r == c).all() for r, c in zip(result, changed, strict=True)]
        kept = [(r == i).all() for r, i in zip(result, images, strict=True)]
        assert all(np.logical_or(made, kept)) and 0 < sum(made) < 16
        np.testing.assert_array_equal(random(KEY, images, p=1.0), changed)


def test_boxes_have_the_area_and_ratio_that_are_asked_for():
    keys = augment.image_keys(KEY, 500)
    random_box = jax.jit(augment.random_box, static_argnums=(1, 2, 3, 4))
    top, left, height, width = random_box(keys, 100, 140, (0.2, 0.6), (0.5, 2.0))
    area, ratio = height * width / (100 * 140), width / height
    assert 0.19 < area.min() < 0.22 and 0.55 < area.max() < 0.61
    assert 0.49 < ratio.min() < 0.6 and 1.7 < ratio.max() < 2.05
    assert top.min() == left.min() == 0
    assert (top + height).max() == 100 and (left + width).max() == 140
    # Nothing of that ratio fits: the central one that is as large as can be.
    box = random_box(keys[:1], 10, 100, (0.9, 1.0), (0.5, 2.0))
    assert [int(side[0]) for side in box] == [0, 40, 10, 20]


@pytest.mark.full
def test_what_is_zoomed_out_is_the_whole_image_smaller():
    images = jnp.full((8, 40, 40, 1), 200, jnp.uint8)
    result = np.asarray(augment.random_zoom_out(KEY, images, 7, (2.0, 2.0), p=1.0))
    assert set(np.unique(result)) == {7, 200}
    shares = (result == 200).mean((1, 2, 3))
    np.testing.assert_allclose(shares, 0.25, atol=0.03)


@pytest.mark.full
def test_jittered_scales_crop_what_is_larger_and_pad_what_is_smaller():
    images = jnp.full((6, 20, 20, 1), 200, jnp.uint8)
    small = np.asarray(augment.scale_jitter(KEY, images, 16, (0.5, 0.5)))
    assert (small[:, :8, :8] == 200).all() and (small[:, 8:] == 0).all()
    assert (np.asarray(augment.scale_jitter(KEY, images, 16, (2.0, 2.0))) == 200).all()


def test_padding_of_a_random_crop_may_mirror():
    images = np.random.RandomState(0).randint(1, 256, (32, 9, 7, 3), np.uint8)
    crop = augment.random_crop_with_padding
    assert (np.asarray(crop(KEY, images, 2, "reflect")) > 0).all()
    assert (np.asarray(crop(KEY, images, 2)) == 0).any()
    same = np.asarray(crop(KEY, images, 2)) == np.asarray(crop(KEY, images, 2, "edge"))
    assert 0.5 < same.mean() < 1  # the same draws, whatever the padding
