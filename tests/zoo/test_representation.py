"""Other representations of an image as a model's input, in numpy and JAX."""

import colorsys

import jax
import numpy as np
import pytest

import zoo
from zoo import representation
from zoo.preprocess import Preprocessing

pytestmark = pytest.mark.quick


@pytest.fixture
def images() -> np.ndarray:
    return np.random.RandomState(0).randint(0, 256, (2, 9, 8, 3), np.uint8)


def test_hsv_is_that_of_colorsys(images):
    result = representation.hsv(images)
    for pixel, ours in zip(images.reshape(-1, 3), result.reshape(-1, 3), strict=True):
        expected = 255 * np.asarray(colorsys.rgb_to_hsv(*(pixel / 255)))
        np.testing.assert_allclose(ours, expected, atol=1e-3)
    gray = np.full((1, 1, 1, 3), 77, np.uint8)
    np.testing.assert_array_equal(representation.hsv(gray).ravel(), [0, 0, 77])


def test_an_image_can_be_made_again_of_magnitude_and_phase(images):
    white = 255 * 9 * 8
    magnitude = np.expm1(representation.fourier_magnitude(images) / 255 * np.log1p(white))
    phase = (representation.fourier_phase(images) / 255 - 0.5) * 2 * np.pi
    spectrum = np.fft.ifftshift(magnitude * np.exp(1j * phase), axes=(1, 2))
    np.testing.assert_allclose(np.fft.ifft2(spectrum, axes=(1, 2)), images, atol=0.2)
    assert representation.fourier_magnitude(np.full_like(images, 255)).max() == pytest.approx(255)


def test_several_stand_side_by_side_alike_in_numpy_and_jax(images):
    names = "rgb+hsv+gray+fourier_magnitude+fourier_phase"
    result = representation.represent(images, names)
    assert result.shape == (2, 9, 8, 13) and 0 <= result.min() and result.max() <= 255.01
    np.testing.assert_array_equal(result[..., :3], images)
    in_jax = np.asarray(jax.jit(representation.represent, static_argnums=1)(images, names))
    # A phase of pi may come out as -pi, which is as far away as can be.
    difference = np.abs(result - in_jax)
    assert np.minimum(difference, 255 - difference).max() < 0.05


def test_a_preprocessing_gives_it_to_the_model(images):
    names = "hsv+gray"
    preprocessing = Preprocessing(9, representation=names, crop=None)
    assert preprocessing.input_channels == 4
    square = np.pad(images, ((0, 0), (0, 0), (0, 1), (0, 0)))
    expected = representation.represent(square, names) / 127.5 - 1
    np.testing.assert_allclose(preprocessing(square), expected, atol=1e-5)
    mean, std = representation.statistics("rgb+gray", (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert (mean, std) == ([0.1, 0.2, 0.3, 0.5], [0.4, 0.5, 0.6, 0.5])
    assert zoo.preprocess("resnet18").representation == "rgb"


def test_what_cannot_be_is_said(images):
    with pytest.raises(ValueError, match="no representation 'hvs' of an image: choose of rgb, hsv"):
        representation.represent(images, "rgb+hvs")
    with pytest.raises(ValueError, match="hsv is made of 3 channels, not of 1"):
        Preprocessing(8, channels=1, mean=(0.5,), std=(0.5,), representation="hsv")
    with pytest.raises(ValueError, match="representation of a preprocessing cannot be 'hsv'"):
        Preprocessing(8, channel_order="BGR", representation="hsv")
