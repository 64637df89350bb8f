"""Overlapping windows as tokens, and attention in linear time."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import zoo
from zoo.models.t2t_vit import T2TViT, TokenPerformer, TokenTransformer, sinusoids, soft_split


def test_soft_split_is_windows_that_overlap():
    x = np.random.RandomState(0).standard_normal((1, 4, 6, 2)).astype(np.float32)
    windows = soft_split(jnp.asarray(x), 3, 2, padding=1)
    assert windows.shape == (1, 2, 3, 18)
    # Channel 0 of the window first, then channel 1. Window (1, 1) has its centre at (2, 2).
    expected = np.concatenate([x[0, 1:4, 1:4, 0].ravel(), x[0, 1:4, 1:4, 1].ravel()])
    np.testing.assert_array_equal(windows[0, 1, 1], expected)
    assert (windows[0, 0, 0].reshape(2, 3, 3)[:, 0] == 0).all()  # padding above


def test_performers_attention_is_nearly_the_softmax():
    """With very many random vectors, on keys and queries of few channels that are not zero."""
    features, tokens = 4096, np.random.RandomState(0).standard_normal((1, 6, 8)).astype(np.float32)
    random = np.random.RandomState(2)
    key, query, value = weights = np.zeros((3, 8, features), np.float32)
    key[:, :4], query[:, :4] = 0.1 * random.standard_normal((2, 8, 4))
    value[:, :4] = random.standard_normal((8, 4))
    params = {
        "kqv": {"kernel": np.concatenate(weights, axis=-1), "bias": np.zeros(3 * features)},
        "random_vectors": random.standard_normal((features // 2, features)),
        "proj": {"kernel": np.eye(features), "bias": np.zeros(features)},
    }
    params = jax.tree.map(lambda leaf: leaf.astype(np.float32), params)
    key, query, value = (tokens @ kernel[:, :4] for kernel in weights)
    exact = jax.nn.softmax(np.einsum("bnc,bmc->bnm", query, key)) @ value
    output = TokenPerformer(features).apply({"params": params}, tokens, train=False)
    error = abs(output[..., :4] - value - exact).max()
    assert error < 0.2 * abs(exact - value.mean(1, keepdims=True)).max()  # of a plain mean


def test_random_vectors_are_orthogonal():
    tokens = np.zeros((1, 6, 8), np.float32)
    params = TokenPerformer(16).init(jax.random.key(0), tokens, train=False)["params"]
    products = params["random_vectors"] @ params["random_vectors"].T
    np.testing.assert_allclose(products, 8 * np.eye(8), atol=1e-4)


def test_token_transformer_scales_by_the_input_width():
    tokens = np.random.RandomState(0).standard_normal((2, 5, 9)).astype(np.float32)
    module = TokenTransformer(4)
    params = module.init(jax.random.key(0), tokens, train=False)["params"]
    params["qkv"]["kernel"] = np.random.RandomState(1).standard_normal((9, 12)).astype(np.float32)
    query, key, value = np.split(tokens @ params["qkv"]["kernel"], 3, axis=-1)
    weights = jax.nn.softmax(np.einsum("bnc,bmc->bnm", query, key) / 3)  # sqrt(9), not sqrt(4)
    expected = value + (weights @ value) @ params["proj"]["kernel"]
    ours = module.apply({"params": params}, tokens, train=False)
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)


def test_positions_are_sines_and_cosines():
    table = np.asarray(sinusoids(jax.random.key(0), (1, 5, 8)))[0]
    np.testing.assert_allclose(table[3, 0], np.sin(3), rtol=1e-6)
    np.testing.assert_allclose(table[3, 1], np.cos(3), rtol=1e-6)
    np.testing.assert_allclose(table[3, 4], np.sin(3 / 10000 ** (4 / 8)), rtol=1e-6)
    np.testing.assert_allclose(table[3, 5], np.cos(3 / 10000 ** (4 / 8)), rtol=1e-6)


@pytest.mark.parametrize(("attention", "maps"), [(TokenPerformer, 0), (TokenTransformer, 2)])
def test_images_that_are_not_square(attention, maps):
    images = np.random.RandomState(0).standard_normal((1, 32, 64, 3)).astype(np.float32)
    model = T2TViT(16, 2, 2, attention=attention, num_classes=5)
    variables = jax.eval_shape(model.init, jax.random.key(0), images)
    names = ["stem", "stage4", "attention"]
    outputs = jax.eval_shape(partial(zoo.features, model, at=names), variables, images)
    assert outputs["stem"].shape == outputs["stage4"].shape == (1, 2, 4, 16)
    assert len(outputs["attention"]) == 2 + maps
