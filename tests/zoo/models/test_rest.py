"""ResT: heads talk, attention maps are normalised, a gate tells positions."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

import zoo
from zoo.models.rest import ResT, TalkingAttention

SMALL = dict(depths=(1, 1, 1, 1), dims=(8, 8, 16, 16), num_heads=(1, 2, 2, 4), num_classes=5)
IMAGES = np.random.RandomState(0).standard_normal((2, 64, 64, 3)).astype(np.float32)
TOKENS = jax.random.normal(jax.random.key(0), (2, 16, 8))


def initialised(layer):
    return jax.jit(partial(layer.init, train=False))(jax.random.key(1), TOKENS)


def test_heads_talk():
    """The logits of a head depend on the queries of the others."""
    layer = TalkingAttention(2, 1, (4, 4))
    variables = initialised(layer)
    assert variables["params"]["talk"]["kernel"].shape == (2, 2)

    def maps(talk):
        params = variables["params"] | {"talk": {"kernel": talk, "bias": jnp.zeros(2)}}
        _, state = layer.apply({"params": params}, TOKENS, train=False, mutable=["attention"])
        return state["attention"]["map"][0]

    silent, swapped = maps(30 * jnp.eye(2)), maps(30 * jnp.eye(2)[::-1])
    assert np.abs(silent[:, 0] - silent[:, 1]).max() > 1e-3
    np.testing.assert_allclose(swapped, silent[:, ::-1], rtol=1e-5)
    np.testing.assert_allclose(silent.sum(-1), 1, rtol=1e-5)


def test_one_head_is_plain_attention():
    layer = TalkingAttention(1, 1, (4, 4))
    assert "talk" not in initialised(layer)["params"]


def test_normalised_maps_take_no_mean_of_the_values():
    """A constant added to all values drops out, as the rows of a normalised map sum to zero."""
    layer = TalkingAttention(2, 1, (4, 4))
    params = initialised(layer)["params"]
    shift = {"kv": params["kv"] | {"bias": params["kv"]["bias"].at[8:].add(3.0)}}
    outputs = [layer.apply({"params": p}, TOKENS, train=False) for p in (params, params | shift)]
    np.testing.assert_allclose(outputs[0], outputs[1], atol=1e-3)
    assert np.abs(outputs[0]).max() > 0


def test_windows_of_the_keys_overlap():
    model = ResT(**SMALL)
    variables = jax.eval_shape(model.init, jax.random.key(0), IMAGES)["params"]
    sizes = [variables[f"stage{i}_block1"]["attention"] for i in (1, 2, 3, 4)]
    sizes = [layer.get("reduce_conv", {"kernel": None})["kernel"] for layer in sizes]
    assert [size and size.shape for size in sizes] == [
        (9, 9, 1, 8),
        (5, 5, 1, 8),
        (3, 3, 1, 16),
        None,
    ]


def test_any_image_size():
    model = zoo.create("rest_lite")
    variables = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 224, 224, 3)))
    for shape in [(1, 97, 50, 3), (1, 1, 1, 3)]:
        assert jax.eval_shape(model.apply, variables, jnp.zeros(shape)).shape == (1, 1000)
