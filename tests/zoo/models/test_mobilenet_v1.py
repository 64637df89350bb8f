from functools import partial

import jax
import numpy as np
import pytest
from flax import linen as nn

import zoo
from zoo import macs, registry
from zoo.layers.conv import Conv
from zoo.models.mobilenet_v1 import SeparableBlock, resize


def num_kernel_weights(module: nn.Module) -> int:
    images = jax.ShapeDtypeStruct((1, 5, 5, 3), "f4")
    params = jax.eval_shape(module.init, jax.random.key(0), images)["params"]
    leaves = jax.tree.leaves_with_path(params)
    return sum(leaf.size for path, leaf in leaves if "kernel" in jax.tree_util.keystr(path))


def test_depthwise_separable_39_weights_against_108():
    """3x3, 3 channels in, 4 out: 3 * 3 * 3 * 4 weights, or 3 * 3 * 3 and 3 * 4."""
    norm = partial(nn.BatchNorm, use_running_average=True)
    separable = SeparableBlock(4, 1, partial(Conv, use_bias=False), norm)
    assert num_kernel_weights(Conv(4, (3, 3), use_bias=False)) == 108
    assert num_kernel_weights(separable) == 39


@pytest.mark.parametrize(
    ("width", "expected"), [(1.0, 4_231_976), (0.75, 2_585_560), (0.5, 1_331_592), (0.25, 470_072)]
)
def test_parameters_by_width(width, expected):
    """Table 6: 4.2, 2.6, 1.3 and 0.5 million."""
    params = registry.abstract_variables("mobilenet_v1", width=width)["params"]
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == expected


@pytest.mark.parametrize(("pixels", "mmacs"), [(192, 418), (160, 290), (128, 186)])
def test_cost_by_resolution(pixels, mmacs):
    """Table 7: the multiply-adds fall with the square of the resolution."""
    variables = registry.abstract_variables("mobilenet_v1")
    images = jax.ShapeDtypeStruct((1, pixels, pixels, 3), "f4")
    counted = macs.count(zoo.create("mobilenet_v1").apply, variables, images)
    assert counted / 1e6 == pytest.approx(mmacs, rel=0.01)


def test_resolution_shrinks_every_layer():
    model = zoo.create("mobilenet_v1", resolution=4 / 7)
    variables = registry.abstract_variables("mobilenet_v1")
    images = jax.ShapeDtypeStruct((1, 224, 224, 3), "f4")
    features = jax.eval_shape(lambda v, x: zoo.features(model, v, x), variables, images)
    assert features["stem"].shape == (1, 64, 64, 32)
    assert features["stage5"].shape == (1, 4, 4, 1024)


def test_resolution_is_a_smoothed_resize():
    images = np.random.RandomState(0).rand(1, 8, 8, 3).astype(np.float32)
    half = resize(images, 0.5)
    assert half.shape == (1, 4, 4, 3)
    assert float(half.std()) < 0.8 * float(images.std())
    np.testing.assert_allclose(resize(np.ones_like(images), 0.5), np.ones((1, 4, 4, 3)), rtol=1e-6)
    assert resize(images, 1.0) is images
