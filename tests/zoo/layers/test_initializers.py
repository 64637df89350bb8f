"""Initial values are JAX's, whether they are made inside a program or by themselves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.nn import initializers as theirs

from zoo.layers import initializers as ours

PAIRS = {
    "normal": (ours.normal(0.01), theirs.normal(0.01)),
    "truncated_normal": (ours.truncated_normal(0.02), theirs.truncated_normal(0.02)),
    "lecun_normal": (ours.lecun_normal(), theirs.lecun_normal()),
    "xavier_uniform": (ours.xavier_uniform(), theirs.xavier_uniform()),
} | {
    f"{mode}, {distribution}": tuple(
        each.variance_scaling(2.0, mode, distribution) for each in (ours, theirs)
    )
    for mode in ("fan_in", "fan_out", "fan_avg")
    for distribution in ("normal", "truncated_normal", "uniform")
}
SHAPES = [(3, 3, 5, 7), (1, 1, 100, 300), (65, 1000)]


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("program", [False, True])
def test_values_are_those_of_jax(name, shape, program):
    init, reference = PAIRS[name]
    init = jax.jit(init, static_argnums=1) if program else init
    key = jax.random.key(3)
    values = init(key, shape)
    assert values.dtype == jnp.float32
    np.testing.assert_allclose(values, reference(key, shape), rtol=1e-6)


def test_a_few_programs_serve_all_shapes():
    init, key = ours.normal(1.0), jax.random.key(0)
    init(key, (2**13,))
    before = ours._compiled._cache_size()
    for size in range(2**12 + 1, 2**12 + 20):
        init(key, (size,))
    assert ours._compiled._cache_size() == before


@pytest.mark.parametrize("implementation", ["rbg", "unsafe_rbg"])
def test_other_random_numbers_are_those_of_jax_too(implementation):
    key = jax.random.key(0, impl=implementation)
    np.testing.assert_allclose(
        ours.normal(1.0)(key, (5, 7)), theirs.normal(1.0)(key, (5, 7)), rtol=1e-6
    )


def test_old_keys_work():
    np.testing.assert_array_equal(
        ours.normal(1.0)(jax.random.PRNGKey(1), (5, 7)), ours.normal(1.0)(jax.random.key(1), (5, 7))
    )


def test_many_at_once():
    keys = jax.random.split(jax.random.key(0), 3)
    init = ours.lecun_normal()
    together = jax.vmap(lambda key: init(key, (4, 5)))(keys)
    one_by_one = jnp.stack([init(key, (4, 5)) for key in keys])
    np.testing.assert_allclose(together, one_by_one, rtol=1e-6)


def test_other_types():
    assert ours.normal(1.0)(jax.random.key(0), (5, 7), jnp.bfloat16).dtype == jnp.bfloat16
