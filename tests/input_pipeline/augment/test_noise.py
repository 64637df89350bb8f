"""Noise is standard normal, and that of a key its own."""

import jax
import numpy as np
import pytest

from input_pipeline import augment
from input_pipeline.augment.noise import normal_noise

pytestmark = pytest.mark.usefixtures("quick_compilation")


def test_noise_is_standard_normal_and_uncorrelated():
    keys = augment.image_keys(jax.random.key(0), 3)
    noise = np.asarray(normal_noise(keys, (200, 201, 3))).reshape(3, -1)
    assert noise.shape == (3, 120_600)
    for own in noise:
        deviation = len(own) ** -0.5  # of a mean of values with deviation 1
        assert abs(own.mean()) < 4 * deviation and abs(own.var() - 1) < 6 * deviation
        assert abs((own**3).mean()) < 16 * deviation and abs((own**4).mean() - 3) < 40 * deviation
        assert 3.5 < np.abs(own).max() < 4.5
        for distance in (1, 2, 3, 603, 60_300):  # neighbours, rows, both halves of a word
            assert abs((own[distance:] * own[:-distance]).mean()) < 6 * deviation
        quartiles = np.quantile(own, [0.25, 0.5, 0.75])
        np.testing.assert_allclose(quartiles, [-0.6745, 0, 0.6745], atol=0.02)
    assert np.abs(np.corrcoef(noise) - np.eye(3)).max() < 0.02
    np.testing.assert_array_equal(normal_noise(keys[1:2], (200, 201, 3)).ravel(), noise[1])
