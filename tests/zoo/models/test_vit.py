"""What is common to the transformers: attention maps, scanned blocks, images of other sizes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import zoo
from zoo.layers.position import resample_tokens
from zoo.models.vit import ViT

IMAGES = np.random.RandomState(0).standard_normal((2, 32, 32, 3)).astype(np.float32)
SMALL = dict(patch=8, width=16, depth=4, num_heads=2, num_classes=5)


def variables_of(model, images=IMAGES):
    """Random everywhere, as the classifier starts at zero."""
    shapes = jax.eval_shape(model.init, jax.random.key(0), images)
    random = np.random.RandomState(0)
    return jax.tree.map(lambda leaf: 0.3 * random.standard_normal(leaf.shape), shapes)


def test_mean_pooling_has_no_class_token():
    model = ViT(**SMALL, pooling="mean")
    variables = variables_of(model)
    assert "class_token" not in variables["params"]
    assert variables["params"]["pos_embed"].shape == (1, 16, 16)
    assert model.apply(variables, IMAGES).shape == (2, 5)


def test_attention_maps_leave_on_request_only():
    model = ViT(**SMALL)
    variables = variables_of(model)
    assert "attention" not in zoo.features(model, variables, IMAGES)
    maps = zoo.features(model, variables, IMAGES, at="attention")
    assert set(maps) == {f"block{i}/attention" for i in range(1, 5)}
    for weights in maps.values():
        assert weights.shape == (2, 2, 17, 17)
        np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-5)
    logits, _ = model.apply(variables, IMAGES, mutable=["attention"])
    np.testing.assert_allclose(logits, model.apply(variables, IMAGES), rtol=1e-4, atol=1e-4)


@pytest.mark.full
@pytest.mark.parametrize("remat", [pytest.param(False, marks=pytest.mark.full), True])
def test_scanned_blocks_are_the_same_function(remat):
    from zoo.layers.blocks import stack_blocks, unstack_blocks

    model, scanned = ViT(**SMALL), ViT(**SMALL, scan=True, remat=remat)
    variables = variables_of(model)
    shapes = jax.eval_shape(scanned.init, jax.random.key(0), IMAGES)
    stacked = stack_blocks(variables, shapes)
    assert jax.tree.map(np.shape, stacked) == jax.tree.map(lambda leaf: leaf.shape, shapes)
    jax.tree.map(np.testing.assert_array_equal, unstack_blocks(stacked), variables)

    def loss(params, model):
        return jnp.square(model.apply({"params": params}, IMAGES)).mean()

    expected, gradients = jax.value_and_grad(loss)(variables["params"], model)
    value, stacked_gradients = jax.value_and_grad(loss)(stacked["params"], scanned)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    for ours, theirs in zip(
        jax.tree.leaves(unstack_blocks({"params": stacked_gradients})["params"]),
        jax.tree.leaves(gradients),
        strict=True,
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)
    for name in ("stage1", "stage4"):
        ours, theirs = (
            zoo.features(scanned, stacked, IMAGES),
            zoo.features(model, variables, IMAGES),
        )
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-4, atol=1e-4)


def test_scanned_weights_load_and_go_back():
    tensors = zoo.to_torch(
        "vit_ti_16", variables_of(zoo.create("vit_ti_16"), np.zeros((1, 224, 224, 3)))
    )
    stacked = zoo.load_torch("vit_ti_16", tensors, scan=True)
    assert stacked["params"]["blocks"]["block1"]["mlp"]["fc1"]["kernel"].shape == (12, 192, 768)
    back = zoo.to_torch("vit_ti_16", stacked, scan=True)
    jax.tree.map(np.testing.assert_array_equal, back, tensors)


def test_drop_path_draws_for_each_block_and_example():
    model = ViT(**SMALL, drop_path=0.9, scan=True)
    variables = variables_of(model)
    images = np.repeat(IMAGES[:1], 8, axis=0)
    rngs = {"dropout": jax.random.key(3)}
    logits = model.apply(variables, images, train=True, rngs=rngs)
    assert len(np.unique(np.asarray(logits[:, 0]))) > 2


def test_positions_are_resampled_on_load():
    tensors = zoo.to_torch(
        "vit_ti_16", variables_of(zoo.create("vit_ti_16"), np.zeros((1, 224, 224, 3)))
    )
    variables = zoo.load_torch("vit_ti_16", tensors, image_size=96)
    positions = variables["params"]["pos_embed"]
    assert positions.shape == (1, 1 + 36, 192)
    np.testing.assert_array_equal(positions[:, 0], tensors["pos_embed"][:, 0])
    logits = jax.eval_shape(zoo.create("vit_ti_16").apply, variables, jnp.zeros((1, 96, 96, 3)))
    assert logits.shape == (1, 1000)
    with pytest.raises(ValueError, match="37 tokens.*197 .*image_size"):
        zoo.create("vit_ti_16").apply(variables, jnp.zeros((1, 224, 224, 3)))


def test_resampling_keeps_what_a_plane_is():
    """Bicubic interpolation reproduces a linear function away from the edges."""
    grid = np.linspace(0, 1, 8)[None, :, None, None] * np.ones((1, 8, 8, 1))
    tokens = np.concatenate([np.full((1, 1, 1), 7.0), grid.reshape(1, 64, 1)], axis=1)
    larger = resample_tokens(tokens, (1, 257, 1))
    assert larger[0, 0, 0] == 7
    rows = larger[0, 1:, 0].reshape(16, 16)[4:-4, 8]
    np.testing.assert_allclose(rows, (np.arange(4, 12) + 0.5) / 14 - 0.5 / 7, atol=2e-3)


def test_a_size_that_patches_do_not_cover():
    with pytest.raises(ValueError, match="16x16 patches.*multiples of 16.*224x224.*got 50x50"):
        zoo.create("vit_b_16").init(jax.random.key(0), jnp.zeros((1, 50, 50, 3)))
