"""A momentum that falls while the rate rises, as by PyTorch's OneCycleLR."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs import base
from train.durations import Intervals
from train.errors import TrainError
from train.optimizers import make_optimizer
from train.schedules import make_schedule

pytestmark = [pytest.mark.quick, pytest.mark.usefixtures("float64")]

# PyTorch's parameters after steps 5 and 12 on a1 p1^2 + a2 p2^2, a = (1, 3), from (1, -2):
# SGD or Adam at 0.1, OneCycleLR(0.1, 12, 0.4, base_momentum=0.7, max_momentum=0.9).
EXPECTED = {
    ("sgd", False): [[-0.15252073909835606, 2.0425682261336857]]
    + [[-0.37224592063435513, -0.8030020314686998]],
    ("sgd", True): [[-0.11690290243357014, 1.8963685521000742]]
    + [[-0.3849090567884627, 0.21425028739994584]],
    ("adam", False): [[0.7899178762181842, -1.7876420181993145]]
    + [[0.5316539704220347, -1.5145799222093215]],
    ("adam", True): [[0.7905168971329044, -1.7883586879532316]]
    + [[0.6538597789042155, -1.6469568896079771]],
}


def made(name: str, three_phase: bool = False):
    config = base.get_config()
    config.batch_size, config.duration, config.optimizer.name = 1, "12 steps", name
    config.schedule.name = "one_cycle"
    options = {"pct_start": 0.4, "three_phase": three_phase, "max_momentum": 0.9}
    options |= {"anneal": "linear" if three_phase else "cos", "base_momentum": 0.7}
    with config.unlocked():
        config.schedule.options = options
    schedule = make_schedule(config, Intervals.from_config(config, examples=12))
    return schedule, make_optimizer(config.optimizer, schedule)


@pytest.mark.parametrize("name, three_phase", EXPECTED)
def test_trajectories_are_those_of_pytorch(name, three_phase):
    _, optimizer = made(name, three_phase)
    params = {"x": jnp.array([1.0, -2.0])}
    state, found = optimizer.init(params), []

    @jax.jit
    def step(params, state):
        gradients = {"x": 2 * jnp.array([1.0, 3.0]) * params["x"]}
        updates, state = optimizer.update(gradients, state, params)
        return optax.apply_updates(params, updates), state

    for _ in range(12):
        params, state = step(params, state)
        found.append(params["x"])
    np.testing.assert_allclose([found[4], found[11]], EXPECTED[name, three_phase], rtol=1e-9)


def test_the_momentum_goes_the_other_way():
    schedule, _ = made("sgd")
    momenta = [float(schedule.momentum(jnp.int32(step))) for step in range(12)]
    assert momenta[:5] == pytest.approx([0.9, 0.867728, 0.791742, 0.721086, 0.700381], abs=1e-6)
    assert momenta[-1] == pytest.approx(0.9)


def test_an_optimizer_without_momentum_is_told():
    with pytest.raises(TrainError, match="'adadelta' has no momentum"):
        made("adadelta")
