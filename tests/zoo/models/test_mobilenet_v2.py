import jax
import numpy as np
import pytest

import zoo
from zoo import registry


@pytest.mark.parametrize(("width", "expected"), [(1.0, 3_504_872), (1.4, 6_108_776)])
def test_parameters_by_width(width, expected):
    params = registry.abstract_variables("mobilenet_v2", width=width)["params"]
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == expected


def test_narrow_networks_keep_1280_features():
    params = registry.abstract_variables("mobilenet_v2", width=0.35)["params"]
    assert params["stem_conv"]["kernel"].shape[-1] == 16
    assert params["head"]["kernel"].shape[0] == 1280


def test_timms_names():
    """timm's checkpoints load into the same variables as torchvision's."""
    variables = jax.tree.map(
        lambda leaf: np.full(leaf.shape, leaf.size, np.float32),
        registry.abstract_variables("mobilenet_v2"),
    )
    tensors = zoo.to_torch("mobilenet_v2", variables, source="timm")
    assert tensors["blocks.0.0.conv_pw.weight"].shape == (16, 32, 1, 1)
    assert tensors["blocks.5.2.conv_pwl.weight"].shape == (160, 960, 1, 1)
    jax.tree.map(np.testing.assert_array_equal, zoo.load_torch("mobilenet_v2", tensors), variables)
