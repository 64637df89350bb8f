from functools import partial

import jax
import numpy as np
import pytest

import zoo
from zoo import macs, registry
from zoo.models.googlenet import ConvRelu, Inception


def cost(features, *, naive):
    """Channels and multiply-adds of a module on 28x28 pixels of 256 channels."""
    module = Inception(features, size=5, naive=naive, conv=ConvRelu)
    x = jax.ShapeDtypeStruct((1, 28, 28, 256), np.float32)
    variables = jax.eval_shape(module.init, jax.random.key(0), x)
    output = jax.eval_shape(module.apply, variables, x)
    assert output.shape[:3] == (1, 28, 28)
    return output.shape[-1], macs.count(module.apply, variables, x)


def test_bottlenecks_make_the_module_cheap():
    """The lecture's module: 128, 192 and 96 filters on what 256 channels see."""
    assert cost((128, 0, 192, 0, 96, 0), naive=True) == (672, pytest.approx(854e6, rel=0.001))
    # Its 358 M: bottlenecks to 128 channels before 3x3, to 64 before 5x5 and after pooling.
    _, products = cost((64, 128, 192, 64, 96, 64), naive=False)
    assert products == pytest.approx(358e6, rel=0.001)
    # Module 3b of the paper's own Table 1.
    assert cost((128, 128, 192, 32, 96, 64), naive=False) == (480, pytest.approx(304e6, rel=0.001))


def test_a_fraction_of_alexnets_parameters():
    """The paper says 12 times fewer; the published weights have 6,998,552, a ninth."""
    params = dict(registry.abstract_variables("googlenet")["params"])
    heads = [params.pop(name) for name in ("aux1_head", "aux2_head")]
    whole, auxiliary = (sum(x.size for x in jax.tree.leaves(p)) for p in (params, heads))
    assert whole == 6_998_552
    assert whole + auxiliary == zoo.info("googlenet").num_params
    assert zoo.info("alexnet").num_params / whole == pytest.approx(8.7, abs=0.05)
    classifier = sum(x.size for x in jax.tree.leaves(params["head"]))
    assert zoo.info("alexnet").num_params / (whole - classifier) == pytest.approx(10.2, abs=0.05)


def test_stage_sizes():
    """Table 1: 28x28x192 after the stem, 28x28x480, 14x14x832, 7x7x1024."""
    model, images = zoo.create("googlenet"), jax.ShapeDtypeStruct((1, 224, 224, 3), np.float32)
    variables = registry.abstract_variables("googlenet")
    features = jax.eval_shape(partial(zoo.features, model), variables, images)
    shapes = {name: value.shape[1:] for name, value in features.items()}
    assert shapes["stem"] == (28, 28, 192)
    assert shapes["stage1"] == (28, 28, 480)
    assert shapes["stage2"] == (14, 14, 832)
    assert shapes["stage3"] == (7, 7, 1024)
    assert shapes["embedding"] == (1024,)
    assert shapes["aux1"] == shapes["aux2"] == (1000,)


def test_naive_network_is_far_larger():
    naive = registry.abstract_variables("googlenet", naive=True)["params"]
    assert sum(x.size for x in jax.tree.leaves(naive)) > 5 * zoo.info("googlenet").num_params


@pytest.mark.parametrize(
    "name",
    [
        "googlenet",
        *(pytest.param(n, marks=pytest.mark.full) for n in ("googlenet_bn", "inception_v3")),
    ],
)
def test_weights_without_auxiliary_heads(name):
    """Many published ones lack them."""
    zeros = jax.tree.map(
        lambda x: np.zeros(x.shape, x.dtype), registry.abstract_variables(name, auxiliary=False)
    )
    tensors = zoo.to_torch(name, zeros, auxiliary=False)
    assert not any(word in key for key in tensors for word in ("aux", "Aux", "loss1", "loss2"))
    loaded = zoo.load_torch(name, tensors, auxiliary=False)
    assert jax.tree.structure(loaded) == jax.tree.structure(zeros)
    with pytest.warns(UserWarning, match="no auxiliary classifiers"):
        unasked = zoo.load_torch(name, tensors)
    assert jax.tree.structure(unasked) == jax.tree.structure(zeros)
    with pytest.raises(ValueError, match="missing in the weights.*load with auxiliary=False"):
        zoo.load_torch(name, tensors, auxiliary=True)
