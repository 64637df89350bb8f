import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.layers.drop_path import (
    DropPath,
    drop_path_rates,
    rule_drop_path_rates,
    stage_drop_path_rates,
)

pytestmark = pytest.mark.quick


def test_whole_examples_are_dropped_and_the_mean_is_kept():
    x = jnp.ones((4000, 3, 2))
    out = DropPath(0.25).apply({}, x, train=True, rngs={"dropout": jax.random.key(0)})
    per_example = np.asarray(out).reshape(4000, -1)
    assert (per_example == per_example[:, :1]).all()
    np.testing.assert_allclose(np.unique(per_example), [0, 4 / 3], rtol=1e-6)
    assert abs(per_example.mean() - 1) < 0.05


def test_identity_in_evaluation_and_at_rate_zero():
    x = jnp.arange(6.0).reshape(3, 2)
    assert (DropPath(0.5).apply({}, x, train=False) == x).all()
    assert (DropPath(0.0).apply({}, x, train=True) == x).all()  # needs no random numbers


def test_a_rate_of_the_program_that_is_zero_drops_nothing():
    """At the start of a schedule: the rate is an array, so random numbers are drawn."""
    x, rngs = jnp.ones((50, 2)), {"dropout": jax.random.key(0)}
    drop = jax.jit(lambda rate: DropPath(rate).apply({}, x, train=True, rngs=rngs))
    assert (drop(0.0) == x).all() and (drop(0.5) != x).any()


def test_without_random_numbers_the_error_names_the_stream():
    x, rngs = jnp.ones((2, 3)), {"drop_path": jax.random.key(0)}
    with pytest.raises(ValueError, match='rng stream "dropout".*rngs={"dropout": key}'):
        DropPath(0.5).apply({}, x, train=True, rngs=rngs)


def test_rates_grow_linearly_over_all_blocks():
    assert drop_path_rates(0.2, 3) == pytest.approx([0.0, 0.1, 0.2])
    assert drop_path_rates(0.5, 5, first=0.1) == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])
    assert drop_path_rates(0.3, 1) == [0.0]
    assert drop_path_rates(0.3, 0) == []


def test_rates_stage_by_stage():
    stages = stage_drop_path_rates(0.5, (2, 0, 3), first=0.1)
    assert [len(rates) for rates in stages] == [2, 0, 3]
    assert sum(stages, []) == drop_path_rates(0.5, 5, first=0.1)


def test_one_decision_for_the_mini_batch():
    """Huang et al. 2016: kept as it is or dropped whole; evaluation multiplies by 0.75."""
    x, drop = jnp.ones((4, 3, 2)), DropPath(0.25, mini_batch=True)
    outs = [drop.apply({}, x, train=True, rngs={"dropout": jax.random.key(i)}) for i in range(200)]
    values = np.asarray(outs).reshape(200, -1)
    assert (values == values[:, :1]).all() and set(values[:, 0]) == {0.0, 1.0}
    assert abs(values[:, 0].mean() - 0.75) < 0.1
    np.testing.assert_allclose(drop.apply({}, x, train=False), 0.75 * x)
    assert (DropPath(0.0, mini_batch=True).apply({}, x, train=False) == x).all()


@pytest.mark.parametrize(
    ("rule", "rates"),
    [
        ("linear", [0.0, 0.1, 0.2, 0.3]),
        ("stochastic_depth", [0.075, 0.15, 0.225, 0.3]),
        ("mini_batch", [0.075, 0.15, 0.225, 0.3]),
        ("efficientnet", [0.0, 0.075, 0.15, 0.225]),
        ("constant", [0.3, 0.3, 0.3, 0.3]),
    ],
)
def test_published_rules(rule, rates):
    first, second = rule_drop_path_rates(rule, 0.3, (1, 3))
    assert first + second == pytest.approx(rates)


def test_an_unknown_rule_is_told():
    with pytest.raises(ValueError, match="drop_path_rule is one of linear, .*not 'cubic'"):
        rule_drop_path_rates("cubic", 0.3, (2,))
