"""PVT and PVT v2: fewer keys than queries, positions from the image's border."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import zoo
from zoo.layers.reduced_attention import ReducedAttention
from zoo.models.pvt import PVT
from zoo.models.pvt_v2 import PVTv2

IMAGES = np.random.RandomState(0).standard_normal((2, 64, 64, 3)).astype(np.float32)
SMALL = dict(depths=(1, 1, 1, 1), dims=(8, 16, 16, 16), mlp_ratios=(1, 1, 1, 1))
SMALL |= dict(num_heads=(1, 2, 2, 2), num_classes=5)


def variables_of(model, images=IMAGES):
    """Random everywhere."""
    shapes = jax.eval_shape(model.init, jax.random.key(0), images)
    random = np.random.RandomState(0)
    return jax.tree.map(lambda leaf: 0.3 * random.standard_normal(leaf.shape), shapes)


@pytest.mark.parametrize("network", [PVT, PVTv2])
def test_pyramid_with_fewer_keys_than_queries(network):
    """Stage 1 has 16x16 queries at 64 pixels, each patch of 8x8 tokens is one key, and so on."""
    model = network(**SMALL)
    variables = variables_of(model)
    features = jax.eval_shape(lambda: zoo.features(model, variables, IMAGES))
    assert [features[f"stage{i}"].shape[1:3] for i in range(1, 5)] == [
        (16, 16),
        (8, 8),
        (4, 4),
        (2, 2),
    ]
    maps = jax.eval_shape(lambda: zoo.features(model, variables, IMAGES, at="attention"))
    token = network is PVT  # in the last stage
    assert [maps[f"stage{i}_block1/attention"].shape[2:] for i in range(1, 5)] == [
        (256, 4),
        (64, 4),
        (16, 4),
        (4 + token, 4 + token),
    ]


@pytest.mark.parametrize("size", [32, 64, 96])
def test_linear_attention_has_as_many_keys_at_any_size(size):
    model = PVTv2(**SMALL, linear=True)
    images = np.zeros((1, size, size, 3), np.float32)
    maps = jax.eval_shape(lambda: zoo.features(model, variables_of(model), images, at="attention"))
    keys = {weights.shape[3] for weights in maps.values()}
    assert keys == {49}


def test_without_reduction_it_is_plain_attention():
    layer = ReducedAttention(2)
    x = jax.random.normal(jax.random.key(0), (1, 6, 8))
    params = layer.init(jax.random.key(1), x)["params"]
    dense = {name: x @ params[name]["kernel"] for name in ("q", "kv")}
    query, (key, value) = dense["q"], jnp.split(dense["kv"], 2, axis=-1)
    outputs = []
    for head in (slice(0, 4), slice(4, 8)):
        logits = query[0, :, head] @ key[0, :, head].T / 2
        outputs.append(jax.nn.softmax(logits) @ value[0, :, head])
    expected = jnp.concatenate(outputs, axis=-1) @ params["proj"]["kernel"]
    np.testing.assert_allclose(layer.apply({"params": params}, x)[0], expected, atol=1e-5)


def test_pvt_positions_are_those_of_one_size():
    model = PVT(**SMALL)
    variables = variables_of(model)
    assert [variables["params"][f"pos_embed{i}"].shape[1] for i in range(1, 5)] == [256, 64, 16, 5]
    with pytest.raises(ValueError, match="pos_embed1.*256 tokens.*576 "):
        model.apply(variables, np.zeros((1, 96, 96, 3)))


def test_pvt_positions_are_resampled_bilinearly_on_load():
    variables = variables_of(zoo.create("pvt_tiny"), np.zeros((1, 224, 224, 3)))
    tensors = zoo.to_torch("pvt_tiny", variables)
    row = np.arange(56, dtype=float)[None, :, None, None] * np.ones((1, 56, 56, 64))
    tensors["pos_embed1"] = row.reshape(1, 56 * 56, 64)
    positions = zoo.load_torch("pvt_tiny", tensors, image_size=448)["params"]
    rows = positions["pos_embed1"].reshape(112, 112, 64)[:, 5, 7]
    np.testing.assert_allclose(rows, np.clip((np.arange(112) - 0.5) / 2, 0, 55), atol=1e-5)
    assert positions["pos_embed4"].shape == (1, 1 + 14 * 14, 512)
    np.testing.assert_array_equal(positions["pos_embed4"][:, 0], tensors["pos_embed4"][:, 0])


def test_pvt_v2_knows_places_from_the_border_only():
    """Without position embeddings, tokens of a constant image differ near the border alone."""
    model = PVTv2(**SMALL)
    variables, images = variables_of(model), np.ones((1, 64, 64, 3), np.float32)
    tokens = jax.jit(lambda: zoo.features(model, variables, images, at="stage1"))()[0]
    inside = tokens[3:-3, 3:-3]
    np.testing.assert_allclose(inside, jnp.broadcast_to(inside[0, 0], inside.shape), atol=1e-5)
    assert np.abs(tokens[0, 0] - inside[0, 0]).max() > 1e-2


@pytest.mark.parametrize("network", [pytest.param(PVT, marks=pytest.mark.full), PVTv2])
def test_scanned_stages_are_the_same_function(network):
    from zoo.layers.blocks import stack_blocks

    settings = SMALL | dict(depths=(2, 1, 3, 1))
    model, scanned = network(**settings), network(**settings, scan=True, remat=True)
    variables = variables_of(model)
    shapes = jax.eval_shape(scanned.init, jax.random.key(0), IMAGES)
    stacked = stack_blocks(variables, shapes)
    logits = jax.jit(scanned.apply)(stacked, IMAGES)
    np.testing.assert_allclose(
        logits, jax.jit(model.apply)(variables, IMAGES), rtol=1e-4, atol=1e-4
    )


def test_authors_checkpoints_load():
    variables = variables_of(zoo.create("pvt_v2_b0"), np.zeros((1, 224, 224, 3)))
    tensors = zoo.to_torch("pvt_v2_b0", variables, source="whai362/PVT")
    assert {"patch_embed2.proj.weight", "block4.1.mlp.dwconv.dwconv.weight", "norm3.bias"} <= set(
        tensors
    )
    back = zoo.load_torch("pvt_v2_b0", tensors)
    jax.tree.map(np.testing.assert_array_equal, back, variables)


@pytest.mark.parametrize(("name", "side"), [("pvt_tiny", 32), ("pvt_v2_b0", 29)])
def test_the_smallest_images(name, side):
    model = zoo.create(name)
    shape = (1, side, side, 3)
    assert jax.eval_shape(model.init_with_output, jax.random.key(0), jnp.zeros(shape))[0].shape == (
        1,
        1000,
    )
    with pytest.raises(ValueError, match=f"at least {side}x{side} pixels, got 28x28"):
        jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 28, 28, 3)))
