"""CvT: convolutions make queries, keys and values; the class token passes them by."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import zoo
from zoo.models.cvt import ConvAttention, CvT

IMAGES = np.random.RandomState(0).standard_normal((2, 64, 64, 3)).astype(np.float32)
SMALL = dict(depths=(1, 1, 2), dims=(8, 8, 16), num_heads=(1, 2, 4), num_classes=5)


def variables_of(model):
    shapes = jax.eval_shape(model.init, jax.random.key(0), IMAGES)
    random = np.random.RandomState(0)
    return jax.tree.map(lambda leaf: abs(0.3 * random.standard_normal(leaf.shape)), shapes)


def test_keys_are_a_quarter_of_the_queries():
    model = CvT(**SMALL)
    variables = variables_of(model)
    maps = jax.eval_shape(lambda: zoo.features(model, variables, IMAGES, at="attention"))
    assert {name.removesuffix("_block1/attention"): map.shape for name, map in maps.items()} == {
        "stage1": (2, 1, 256, 64),
        "stage2": (2, 2, 64, 16),
        "stage3": (2, 4, 1 + 16, 1 + 4),
        "stage3_block2/attention": (2, 4, 1 + 16, 1 + 4),
    }


def test_attention_is_scaled_by_the_whole_width():
    """softmax(q k / sqrt(C)): with one head of 16 and with four heads of 4 alike."""
    layer = ConvAttention(4, (1, 1))
    x = jax.random.normal(jax.random.key(0), (1, 3, 16))  # two class tokens, one of the grid
    variables = jax.jit(partial(layer.init, train=False))(jax.random.key(1), x)
    _, state = layer.apply(variables, x, train=False, mutable=["attention"])
    dense = {name: x[0, 0] @ variables["params"][name]["kernel"] for name in "qk"}
    keys = x[0, :2] @ variables["params"]["k"]["kernel"]
    logits = (keys[:, :4] @ dense["q"][:4]) / 16**0.5
    weights = state["attention"]["map"][0][0, 0, 0]
    np.testing.assert_allclose(weights[0] / weights[1], jnp.exp(logits[0] - logits[1]), rtol=1e-4)


@pytest.mark.full
def test_any_image_size_without_position_embeddings():
    model = zoo.create("cvt_13")
    variables = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 224, 224, 3)))
    assert not any("pos" in name for name in variables["params"])
    for shape in [(1, 384, 384, 3), (1, 50, 70, 3), (1, 3, 3, 3)]:
        assert jax.eval_shape(model.apply, variables, jnp.zeros(shape)).shape == (1, 1000)


def test_stochastic_depth_is_in_the_last_stage_only():
    model = CvT(**SMALL, drop_path=0.9)
    variables = variables_of(model)

    def features(key):
        collections = ["intermediates", "batch_stats"]
        rngs = {"dropout": key}
        _, state = model.apply(variables, IMAGES, train=True, mutable=collections, rngs=rngs)
        return state["intermediates"]

    features = jax.jit(features)
    one, other = features(jax.random.key(1)), features(jax.random.key(3))
    for stage in ("stage1", "stage2"):
        np.testing.assert_array_equal(one[stage][0], other[stage][0])
    assert np.abs(one["stage3"][0] - other["stage3"][0]).max() > 0


def test_scanned_stages_update_statistics_too():
    from zoo.layers.blocks import stack_blocks, unstack_blocks

    model, scanned = CvT(**SMALL), CvT(**SMALL, scan=True, remat=True)
    variables = variables_of(model)
    stacked = stack_blocks(variables, jax.eval_shape(scanned.init, jax.random.key(0), IMAGES))
    run = dict(train=True, mutable=["batch_stats"], rngs={"dropout": jax.random.key(0)})
    logits, state = jax.jit(partial(model.apply, **run))(variables, IMAGES)
    scanned_logits, scanned_state = jax.jit(partial(scanned.apply, **run))(stacked, IMAGES)
    np.testing.assert_allclose(scanned_logits, logits, rtol=1e-3, atol=1e-4)
    jax.tree.map(
        lambda ours, theirs: np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4),
        unstack_blocks(dict(scanned_state)),
        dict(state),
    )
