from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.layers.branches import Branches, average, branch, fork
from zoo.layers.conv_norm import ConvNorm
from zoo.layers.squeeze_excite import SqueezeExcite

pytestmark = pytest.mark.quick


def two(conv, x):
    return [
        branch(conv, "left", x, (4, 1)),
        *fork(conv, "right", branch(conv, "low", x, (8, 1), (8, 3)), 16),
    ]


def test_branches_lie_side_by_side_under_their_names():
    x = np.random.RandomState(0).standard_normal((2, 6, 6, 3)).astype(np.float32)
    module = Branches(two, ConvNorm)
    y, variables = module.init_with_output(jax.random.key(0), x)
    assert y.shape == (2, 6, 6, 4 + 16 + 16)
    assert set(variables["params"]) == {"left", "low_1", "low_2", "righta", "rightb"}
    left = ConvNorm(4, 1).apply({key: value["left"] for key, value in variables.items()}, x)
    np.testing.assert_allclose(y[..., :4], left, rtol=1e-5, atol=1e-6)


def test_a_gate_scales_the_whole_output():
    x = np.random.RandomState(0).standard_normal((2, 6, 6, 3)).astype(np.float32)
    gated = Branches(two, ConvNorm, partial(SqueezeExcite))
    y, variables = gated.init_with_output(jax.random.key(0), x)
    params = {key: value for key, value in variables["params"].items() if key != "se"}
    plain = Branches(two, ConvNorm).apply({**variables, "params": params}, x)
    gates = np.asarray(y)[plain > 0] / np.asarray(plain)[plain > 0]
    assert ((gates > 0) & (gates < 1)).all()


def test_average_at_the_edges():
    corner = {
        flag: average(jnp.ones((1, 4, 4, 1)), count_padding=flag)[0, 0, 0, 0] for flag in (0, 1)
    }
    assert corner[0] == 1
    np.testing.assert_allclose(corner[1], 4 / 9, rtol=1e-6)
