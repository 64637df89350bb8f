"""JPEG and linear maps give torchvision's values, which are in torchvision_v2.npz.

The file has images and results of torchvision 0.29 `transforms.v2`: of `functional.jpeg` at several
qualities, and of one `LinearTransformation`, whose matrix is for values in the order (C, H, W).
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from input_pipeline import augment

pytestmark = pytest.mark.usefixtures("quick_compilation")

OF_TORCHVISION = dict(np.load(Path(__file__).parent / "torchvision_v2.npz"))
KEY = jax.random.key(0)


def of_group(name):
    images, results, quality = (
        OF_TORCHVISION[f"{name}_{part}"] for part in ("images", "results", "quality")
    )
    return images, results, quality


@pytest.mark.parametrize("name", ["photo", "narrow", "gray"])
def test_jpeg_is_torchvisions(name):
    """All qualities of a group in one batch: to the byte, at odd borders and in grey too."""
    images, expected, quality = of_group(name)
    result = jax.jit(augment.jpeg)(images, quality)
    assert result.dtype == jnp.uint8
    np.testing.assert_array_equal(result, expected)


def test_each_image_has_a_quality_of_its_own():
    images, expected, quality = of_group("photo")
    same = np.repeat(images[:1], 8, 0)
    transform = jax.jit(lambda key, images: augment.random_jpeg(key, images, (40, 41)))
    results = np.asarray(transform(KEY, same))
    both = {np.asarray(augment.jpeg(images[:1], number))[0].tobytes() for number in (40, 41)}
    assert {result.tobytes() for result in results} == both
    one = int(quality[0])
    np.testing.assert_array_equal(augment.random_jpeg(KEY, images[:1], one), expected[:1])


@pytest.mark.parametrize("quality", [0, 101, (50, 40), (10.0, 20.0)])
def test_qualities_are_from_1_to_100(quality):
    with pytest.raises(ValueError, match="whole numbers from 1 to 100"):
        augment.random_jpeg(KEY, jnp.zeros((1, 8, 8, 3), jnp.uint8), quality)
    with pytest.raises(ValueError, match="1 or 3 channels, not 2"):
        augment.jpeg(jnp.zeros((1, 8, 8, 2), jnp.uint8), 50)


def test_a_linear_map_is_torchvisions():
    images, matrix, mean = (OF_TORCHVISION[f"linear_{n}"] for n in ("images", "matrix", "mean"))
    of_rows = np.arange(12).reshape(3, 2, 2).transpose(1, 2, 0).ravel()  # from (C, H, W)
    result = augment.linear_transformation(images, matrix[np.ix_(of_rows, of_rows)], mean[of_rows])
    assert result.dtype == jnp.float32
    np.testing.assert_allclose(result, OF_TORCHVISION["linear_results"], rtol=1e-5, atol=1e-3)
    with pytest.raises(
        ValueError, match=r"Images \[2, 2, 3\] have 12 values: the matrix is \[3, 3"
    ):
        augment.linear_transformation(images, np.eye(3), np.zeros(3))
