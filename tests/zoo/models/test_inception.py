from functools import partial

import jax
import numpy as np
import pytest

import zoo
from zoo import registry

SHAPES = {
    "inception_v2": [(28, 28, 320), (14, 14, 608), (7, 7, 1024)],
    "inception_v3": [(35, 35, 288), (17, 17, 768), (8, 8, 2048)],
    "inception_v4": [(35, 35, 384), (17, 17, 1024), (8, 8, 1536)],
    "inception_resnet_v1": [(35, 35, 256), (17, 17, 896), (8, 8, 1792)],
    "inception_resnet_v2": [(35, 35, 320), (17, 17, 1088), (8, 8, 2080)],
    "polynet": [(39, 39, 384), (19, 19, 1152), (9, 9, 2048)],
}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name == "inception_v2" else pytest.mark.full)
        for name in SHAPES
    ],
)
def test_stage_sizes(name):
    """As in the figures of the papers, at the size of image each was made for."""
    model, size = zoo.create(name), zoo.info(name).image_size
    images = jax.ShapeDtypeStruct((1, size, size, 3), np.float32)
    variables = registry.abstract_variables(name)
    features = jax.eval_shape(partial(zoo.features, model), variables, images)
    stages = [features[f"stage{i}"].shape[1:] for i in (1, 2, 3)]
    assert stages == SHAPES[name]


def test_auxiliary_head_of_v3_is_there_to_train_and_to_look_at():
    model, variables = zoo.create("inception_v3"), registry.abstract_variables("inception_v3")
    assert "aux_head" in variables["params"]
    images = jax.ShapeDtypeStruct((2, 75, 75, 3), np.float32)
    aux = jax.eval_shape(partial(zoo.features, model, at="aux"), variables, images)
    assert aux.shape == (2, 1000)
    headless = registry.abstract_variables("inception_v3", num_classes=0)
    assert "aux_head" not in headless["params"]


def test_small_filters_in_a_row_are_cheaper():
    """Two 3x3 see what one 5x5 does with 18/25 of its weights; 1x7 and 7x1 with 14/49."""
    params = registry.abstract_variables("inception_v3")["params"]["stage2_block5"]
    pair = sum(params[f"branch2_{i}"]["conv"]["kernel"].size for i in (2, 3))
    assert pair * 49 == 14 * 49 * 192 * 192
    params = registry.abstract_variables("inception_v2")["params"]["stage1_block2"]
    pair = params["branch3_3"]["conv"]["kernel"].size * 2
    assert pair * 25 == 18 * 25 * 96 * 96


@pytest.mark.full
def test_modules_of_polynet_share_convolutions():
    """poly-3: branches once, BatchNorm and the last convolution three times."""
    params = registry.abstract_variables("polynet")["params"]["stage2_block2"]
    assert set(params["branch1_1"]) == {"conv", "norm1", "norm2", "norm3"}
    assert {"expand1", "expand2", "expand3"} <= set(params)
