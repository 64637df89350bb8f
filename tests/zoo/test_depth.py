import jax.numpy as jnp
import pytest

from zoo.depth import depth
from zoo.layers.pool import global_average_pool, max_pool

pytestmark = pytest.mark.quick
X, W = jnp.ones((1, 4, 4, 2)), jnp.ones((2, 2))


def test_the_longest_way_counts():
    assert depth(lambda w, x: (x @ w) @ w + x @ w, W, X) == 2
    assert depth(lambda w, x: x + 1, W, X) == 0


def test_products_of_activations_are_no_layers():
    assert depth(lambda w, x: jnp.einsum("bhwc,bhwd->bcd", x @ w, x), W, X) == 1


def test_a_gate_is_beside_the_way():
    def gated(w, x):
        gate = global_average_pool(x) @ w @ w
        return (x @ w) * gate[:, None, None]

    assert depth(gated, W, X) == 1


def test_poolings_count_when_asked():
    def network(w, x):
        return global_average_pool(max_pool(x @ w, 2, 2) @ w) @ w

    assert depth(network, W, X) == 3 and depth(network, W, X, poolings=True) == 5


def test_distances_to_codes_are_as_deep_as_what_is_coded():
    def network(w, x):
        vector = global_average_pool(x) @ w
        return -jnp.square(vector[:, None] - w[None]).sum(-1)

    assert depth(network, W, X) == 1
