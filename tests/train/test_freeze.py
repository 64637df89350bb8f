"""Frozen layers: neither parameters nor statistics change, and BatchNorm is that of evaluation."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from configs import base
from train.errors import TrainError
from train.freeze import freeze, frozen_statistics
from train.optimizers import make_optimizer


class Net(nn.Module):
    @nn.compact
    def __call__(self, x, train):
        for i in (1, 2):
            x = nn.Dense(4, name=f"fc{i}")(x)
            x = nn.BatchNorm(use_running_average=not train, name=f"norm{i}")(x)
        return nn.Dense(2, name="head")(x)


X = np.random.default_rng(0).standard_normal((8, 3)).astype(np.float32)
VARIABLES = jax.tree.map(
    lambda x: x + 0.1, jax.device_get(Net().init(jax.random.key(0), X, train=False))
)


def settings(**keys):
    config = base.get_config().optimizer
    for key, value in keys.items():
        config[key] = value
    return config


def steps(pattern, count=3, name="adamw"):
    """Variables and state of the optimizer after some steps."""
    chosen = settings(name=name, freeze=pattern, weight_decay=0.1)
    optimizer = make_optimizer(chosen, optax.constant_schedule(0.1))
    params, stats = VARIABLES["params"], VARIABLES["batch_stats"]
    state = optimizer.init(params)

    @jax.jit
    def step(params, stats, state):
        def loss(params):
            with frozen_statistics(pattern):
                variables = {"params": params, "batch_stats": stats}
                out, new = Net().apply(variables, X, train=True, mutable="batch_stats")
            return (out**2).mean(), new["batch_stats"]

        gradients, stats_ = jax.grad(loss, has_aux=True)(params)
        updates, state_ = optimizer.update(gradients, state, params)
        return optax.apply_updates(params, updates), stats_, state_

    for _ in range(count):
        params, stats, state = step(params, stats, state)
    return params, stats, state


def equal(one, other):
    return all(jax.tree.leaves(jax.tree.map(np.array_equal, one, other)))


@pytest.mark.quick
@pytest.mark.parametrize("name", ["adamw", "sgd", "lamb"])
def test_what_is_frozen_stays(name):
    params, stats, state = steps("^(fc1|norm1)/", name=name)
    before = VARIABLES["params"]
    for layer in ("fc1", "norm1"):
        assert equal(params[layer], before[layer])
    for layer in ("fc2", "norm2", "head"):
        assert not equal(params[layer], before[layer])
    assert equal(stats["norm1"], VARIABLES["batch_stats"]["norm1"])
    assert not equal(stats["norm2"], VARIABLES["batch_stats"]["norm2"])
    sizes = sum(leaf.size for leaf in jax.tree.leaves(state))
    free = sum(leaf.size for leaf in jax.tree.leaves(steps("", name=name)[2]))
    assert sizes < free or name == "sgd"  # nothing is kept for frozen parameters


def test_frozen_norms_are_those_of_evaluation():
    with frozen_statistics("."):
        trained = Net().apply(VARIABLES, X, train=True, mutable=["batch_stats"])[0]
    np.testing.assert_array_equal(trained, Net().apply(VARIABLES, X, train=False))
    free = Net().apply(VARIABLES, X, train=True, mutable=["batch_stats"])[0]
    assert not np.allclose(trained, free)


def test_kernels_alone_can_be_frozen():
    params, stats, _ = steps("kernel$")
    assert equal(params["fc1"]["kernel"], VARIABLES["params"]["fc1"]["kernel"])
    assert not equal(params["fc1"]["bias"], VARIABLES["params"]["fc1"]["bias"])
    assert not equal(stats["norm1"], VARIABLES["batch_stats"]["norm1"])


@pytest.mark.parametrize(("pattern", "which"), [("stem", "none"), (".", "all")])
def test_an_expression_that_matches_nothing_or_all_is_refused(pattern, which):
    with pytest.raises(TrainError, match=f"matches {which} of the parameters.*fc1/bias"):
        freeze(optax.sgd(0.1), pattern).init(VARIABLES["params"])


def test_factors_of_the_rate():
    chosen = settings(name="sgd", multipliers=(("^head/kernel", 10.0), ("^head", 0.5)))
    optimizer = make_optimizer(chosen, optax.constant_schedule(0.1))
    params = VARIABLES["params"]
    ones = jax.tree.map(jnp.ones_like, params)
    updates, _ = optimizer.update(ones, optimizer.init(params), params)
    assert updates["head"]["kernel"].max() == np.float32(-1.0)
    np.testing.assert_allclose(updates["head"]["bias"], -0.05)
    np.testing.assert_allclose(updates["fc1"]["bias"], -0.1)
    chosen = settings(name="sgd", multipliers=(("^heed", 10.0),))
    with pytest.raises(TrainError, match="'\\^heed' matches no trained parameter.*fc1/bias"):
        make_optimizer(chosen, optax.constant_schedule(0.1)).init(params)
