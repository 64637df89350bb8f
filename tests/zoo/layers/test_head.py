import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from zoo.layers.head import (
    classify,
    classify_maps,
    flatten_head_map,
    logits_layer,
    pool_head_map,
)
from zoo.layers.initializers import torch_default

MAPS = np.random.RandomState(0).standard_normal((2, 3, 3, 4)).astype(np.float32)


class Net(nn.Module):
    num_classes: int
    maps: bool = False
    dtype: type = jnp.float32

    @nn.compact
    def __call__(self, x):
        settings = dict(kernel_init=torch_default, dropout=nn.Dropout(0.5, deterministic=True))
        if self.maps:
            return classify_maps(self, x, self.num_classes, self.dtype, **settings)
        return classify(self, x.mean((1, 2)), self.num_classes, self.dtype, **settings)


@pytest.mark.parametrize(
    ("take", "expected"),
    [
        (pool_head_map, MAPS.mean((1, 2))),
        (flatten_head_map, MAPS.transpose(0, 3, 1, 2).reshape(2, 36)),
    ],
)
def test_the_map_that_is_pooled_is_sown(take, expected):
    class Head(nn.Module):
        @nn.compact
        def __call__(self, x):
            return take(self, x)

    vector, state = Head().apply({}, MAPS, mutable=["intermediates"])
    np.testing.assert_allclose(vector, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(state["intermediates"]["head_map"][0], MAPS)


@pytest.mark.parametrize("maps", [False, True])
def test_logits_and_the_embedding_that_is_sown(maps):
    logits, variables = Net(5, maps).init_with_output(jax.random.key(0), MAPS)
    assert logits.shape == (2, 5) and set(variables["params"]) == {"head"}
    _, state = Net(5, maps).apply(variables, MAPS, mutable=["intermediates"])
    (embedding,) = state["intermediates"]["embedding"]
    np.testing.assert_allclose(embedding, MAPS.mean((1, 2)), rtol=1e-5, atol=1e-6)
    if maps:  # of each class one, whose mean is the logit
        (head_map,) = state["intermediates"]["head_map"]
        np.testing.assert_allclose(head_map.mean((1, 2)), logits, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("maps", [False, True])
def test_without_classes_the_embedding_is_returned(maps):
    embedding, variables = Net(0, maps).init_with_output(jax.random.key(0), MAPS)
    assert not variables.get("params")
    np.testing.assert_allclose(embedding, MAPS.mean((1, 2)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("maps", [False, True])
def test_logits_are_in_single_precision_at_least(maps):
    for dtype, expected in [(jnp.bfloat16, jnp.float32), (jnp.float32, jnp.float32)]:
        images = MAPS.astype(dtype)
        net = Net(5, maps, dtype=dtype)
        variables = jax.eval_shape(net.init, jax.random.key(0), images)
        assert jax.eval_shape(net.apply, variables, images).dtype == expected


def test_further_heads_have_names_of_their_own():
    class Two(nn.Module):
        @nn.compact
        def __call__(self, x):
            return logits_layer(2, jnp.float32)(x), logits_layer(3, jnp.float32, name="other")(x)

    shapes = jax.eval_shape(Two().init, jax.random.key(0), jnp.ones((1, 4)))["params"]
    assert {name: layer["kernel"].shape for name, layer in shapes.items()} == {
        "head": (4, 2),
        "other": (4, 3),
    }
