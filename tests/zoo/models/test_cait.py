"""Layer scale, talking heads, and a class token that comes late."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import zoo
from zoo.layers.attention import SelfAttention
from zoo.models.cait import Block, CaiT, ClassAttention, TalkingHeads

IMAGES = np.random.RandomState(0).standard_normal((2, 32, 32, 3)).astype(np.float32)
TOKENS = np.random.RandomState(1).standard_normal((2, 5, 8)).astype(np.float32)


def random_variables(module, inputs, **settings):
    shapes = jax.eval_shape(partial(module.init, **settings), jax.random.key(0), inputs)
    random = np.random.RandomState(0)
    return jax.tree.map(lambda leaf: 0.3 * random.standard_normal(leaf.shape), shapes)


def test_layer_scale_starts_each_block_as_the_identity():
    change = {}
    for scale in (1e-5, 1.0):
        block = Block(TalkingHeads, 2, scale)
        variables = block.init(jax.random.key(0), TOKENS, train=False)
        change[scale] = abs(block.apply(variables, TOKENS, train=False) - TOKENS).max()
    assert 0 < change[1e-5] < 1e-5
    assert change[1.0] > 1e-3


def test_heads_that_do_not_talk_are_self_attention():
    talking, plain = TalkingHeads(2), SelfAttention(2)
    variables = random_variables(talking, TOKENS)
    silent = {"kernel": jnp.eye(2), "bias": jnp.zeros(2)}
    params = dict(variables["params"], mix_logits=silent, mix_weights=silent)
    expected = plain.apply({"params": {key: params[key] for key in ("qkv", "proj")}}, TOKENS)
    ours = talking.apply({"params": params}, TOKENS)
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)
    assert abs(talking.apply(variables, TOKENS) - expected).max() > 0.01


def test_the_class_token_gathers_and_the_patches_stay():
    block = Block(ClassAttention, 2, 1.0)
    variables = random_variables(block, TOKENS, train=False)
    tokens = block.apply(variables, TOKENS, train=False)
    np.testing.assert_array_equal(tokens[:, 1:], TOKENS[:, 1:])
    assert abs(tokens[:, 0] - TOKENS[:, 0]).max() > 0.1
    maps = block.apply(variables, TOKENS, train=False, mutable=["attention"])[1]["attention"]
    assert maps["attention"]["map"][0].shape == (2, 2, 1, 5)


@pytest.mark.parametrize("scan", [pytest.param(False, marks=pytest.mark.full), True])
def test_the_first_block_is_dropped_as_often_as_the_last(scan):
    model = CaiT(16, 4, 2, layer_scale=1.0, num_classes=5, drop_path=0.99, scan=scan)
    variables = random_variables(model, IMAGES)
    apply = partial(model.apply, mutable=["intermediates"], rngs={"dropout": jax.random.key(0)})
    sown = apply(variables, IMAGES, train=True)[1]["intermediates"]
    np.testing.assert_array_equal(sown["stage1"][0], sown["stage4"][0])
    sown = apply(variables, IMAGES, train=False)[1]["intermediates"]
    assert abs(sown["stage1"][0] - sown["stage4"][0]).max() > 0.1


def test_attention_maps():
    model = CaiT(16, 4, 2, num_classes=5)
    maps = zoo.features(model, random_variables(model, IMAGES), IMAGES, at="attention")
    shapes = {f"block{i}/attention": (2, 2, 4, 4) for i in range(1, 5)}
    shapes |= {f"class_block{i}/attention": (2, 2, 1, 5) for i in (1, 2)}
    assert {path: weights.shape for path, weights in maps.items()} == shapes
    for weights in maps.values():
        np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-5)
