import jax
import numpy as np
import pytest

from zoo.layers.squeeze_excite import SqueezeExcite

pytestmark = pytest.mark.quick


def test_scales_each_channel_by_its_gate():
    x = np.random.RandomState(0).standard_normal((2, 4, 5, 8)).astype(np.float32)
    layer = SqueezeExcite(3)
    variables = layer.init(jax.random.key(0), x)
    weights = {k: (v["kernel"][0, 0], v["bias"][None]) for k, v in variables["params"].items()}
    hidden = np.maximum(x.mean((1, 2)) @ weights["reduce"][0] + weights["reduce"][1], 0)
    logits = hidden @ weights["expand"][0] + weights["expand"][1]
    expected = x / (1 + np.exp(-logits))[:, None, None]
    np.testing.assert_allclose(layer.apply(variables, x), expected, rtol=1e-5)
