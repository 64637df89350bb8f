"""Every optimizer that a recipe can name makes an update."""

import jax
import jax.numpy as jnp
import optax
import pytest

from configs import base
from train.optimizers import RULES, factories, make_optimizer
from train.schedule_free import SCHEDULE_FREE

# optax's own are optax's to test; some of them here, all with `-m full`.
QUICK = (*RULES, *SCHEDULE_FREE, "adamw", "dog", "optax:lamb")


@pytest.mark.parametrize(
    "name",
    [*QUICK, *(pytest.param(x, marks=pytest.mark.full) for x in sorted({*factories()} - {*QUICK}))],
)
@pytest.mark.filterwarnings("ignore:.*(Specifying a key|deprecated)")
def test_every_optimizer_makes_an_update(name):
    config = base.get_config().optimizer
    config.name = name
    optimizer = make_optimizer(config, optax.constant_schedule(0.1))
    params = {"fc": {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)}}
    gradients = jax.tree.map(lambda x: 0.5 * x, params)
    found, _ = optimizer.update(gradients, optimizer.init(params), params)
    assert jax.tree.map(jnp.shape, found) == jax.tree.map(jnp.shape, params)
    assert jnp.isfinite(found["fc"]["kernel"]).all()
