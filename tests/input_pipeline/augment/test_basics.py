import jax
import jax.numpy as jnp
import numpy as np
import pytest

from input_pipeline import augment

pytestmark = pytest.mark.quick

KEY = jax.random.key(0)


@pytest.fixture
def images() -> np.ndarray:
    return np.random.RandomState(0).randint(0, 256, (64, 9, 7, 3), np.uint8)


def test_normalize_is_the_formula_on_the_scale_0_to_1(images):
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    result = augment.normalize(images, mean, std)
    assert result.dtype == jnp.float32
    np.testing.assert_allclose(result, (images / 255 - mean) / std, atol=2e-6)
    assert augment.normalize(images, mean, std, jnp.bfloat16).dtype == jnp.bfloat16


def test_about_half_of_the_images_are_flipped_and_the_others_are_not(images):
    result = np.asarray(jax.jit(augment.random_flip)(KEY, images))
    flipped = [(r == x[:, ::-1]).all() for r, x in zip(result, images, strict=True)]
    kept = [(r == x).all() for r, x in zip(result, images, strict=True)]
    assert all(np.logical_xor(flipped, kept))
    assert 16 <= sum(flipped) <= 48


def test_a_padded_crop_is_one_shift_for_each_image(images):
    padding = 2
    crop = jax.jit(augment.random_crop_with_padding, static_argnums=2)
    result = np.asarray(crop(KEY, images, padding))
    padded = np.pad(images, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    shifts = set()
    for image, source in zip(result, padded, strict=True):
        offsets = [(y, x) for y in range(5) for x in range(5)]
        found = [s for s in offsets if (source[s[0] :, s[1] :][:9, :7] == image).all()]
        assert len(found) == 1
        shifts.update(found)
    assert {y for y, _ in shifts} == {x for _, x in shifts} == set(range(5))


def test_no_padding_changes_nothing(images):
    assert (augment.random_crop_with_padding(KEY, images, 0) == images).all()


def test_lighting_adds_one_colour_to_each_image_with_the_published_covariance():
    images = np.full((20_000, 1, 2, 3), 128, np.uint8)
    offsets = np.asarray(augment.lighting(KEY, images, std=0.1)) - 128
    assert (offsets[:, :, 0] == offsets[:, :, 1]).all()
    vectors = np.array(augment.LIGHTING_EIGENVECTORS) * np.array(augment.LIGHTING_EIGENVALUES)
    expected = (255 * 0.1) ** 2 * vectors @ vectors.T
    np.testing.assert_allclose(np.cov(offsets[:, 0, 0].T), expected, rtol=0.05)


def test_the_eigenvectors_are_orthonormal():
    vectors = np.array(augment.LIGHTING_EIGENVECTORS)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(3), atol=1e-3)
