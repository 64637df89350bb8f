import jax
import numpy as np
import pytest

import zoo
from zoo import registry


def test_a_signal_passes_a_stage_unchanged_where_the_branches_are_zero():
    """Identity mappings: no ReLU and no BatchNorm on the way from block to block."""
    model = zoo.create("preresnet18")
    images = np.random.RandomState(0).standard_normal((1, 64, 64, 3)).astype(np.float32)
    variables = jax.jit(model.init)(jax.random.key(0), images)
    params = dict(variables["params"])
    for block in ("stage1_block1", "stage1_block2"):
        params[block] = {**params[block], "conv2": {"kernel": np.zeros((3, 3, 64, 64), np.float32)}}
    features = jax.jit(lambda v: zoo.features(model, v, images, at=["stem", "stage1"]))(
        {**variables, "params": params}
    )
    np.testing.assert_array_equal(features["stem"], features["stage1"])


def test_strides_of_the_references():
    """He's stride in the first 1x1 is cheaper than timm's in the 3x3, at the same weights."""
    he, timm = zoo.info("preresnet50"), zoo.info("resnetv2_50")
    assert he.num_params - timm.num_params == 2 * 64  # the BatchNorm of the stem
    assert he.gmacs < timm.gmacs


@pytest.mark.full
def test_164_layers_of_bottlenecks_cost_110_of_basic_blocks():
    deep, shallow = zoo.info("preresnet164_cifar"), zoo.info("preresnet110_cifar")
    assert deep.num_params == pytest.approx(shallow.num_params, rel=0.03)
    assert deep.gmacs == pytest.approx(shallow.gmacs, rel=0.03)


def test_the_dense_head_goes_back_to_a_1x1_convolution():
    variables = registry.abstract_variables("resnetv2_50")
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), variables)
    assert zeros["params"]["head"]["kernel"].shape == (2048, 1000)
    tensors = zoo.to_torch("resnetv2_50", zeros)
    assert tensors["head.fc.weight"].shape == (1000, 2048, 1, 1)
    back = zoo.load_torch("resnetv2_50", tensors)
    assert back["params"]["head"]["kernel"].shape == (2048, 1000)
    headless = zoo.load_torch("resnetv2_50", tensors, num_classes=0)
    assert "head" not in headless["params"]
    assert "head.fc.weight" not in zoo.to_torch("resnetv2_50", headless, num_classes=0)
