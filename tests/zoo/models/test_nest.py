"""NesT's blocks of the image: attention stays inside, positions follow, padding of the pooling."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import zoo
from zoo.models.nest import NesT, resample_blocks

IMAGES = np.random.RandomState(0).standard_normal((1, 32, 32, 3)).astype(np.float32)


def variables_of(model, images=IMAGES):
    shapes = jax.eval_shape(model.init, jax.random.key(0), images)
    random = np.random.RandomState(0)
    return jax.tree.map(
        lambda leaf: 0.3 * random.standard_normal(leaf.shape).astype(np.float32), shapes
    )


def test_blocks_of_the_image_do_not_see_each_other_until_they_merge():
    model = NesT((1, 1), 8, 2, num_classes=5)
    variables = variables_of(model)
    features = jax.jit(lambda images: zoo.features(model, variables, images))
    changed = IMAGES.copy()
    changed[0, 3, 3] += 1  # in the first of 2x2 blocks
    before, after = features(IMAGES), features(changed)
    differs = np.abs(np.asarray(after["stage1"] - before["stage1"])[0]).max(-1) > 1e-6
    assert differs[:4, :4].all() and differs.sum() == 16
    differs = np.abs(np.asarray(after["stage2"] - before["stage2"])[0]).max(-1) > 1e-6
    assert differs.all()


def test_positions_of_blocks_are_resampled_as_a_whole_image():
    rows = np.arange(8.0)[:, None] * np.ones((1, 8))
    # 2x2 blocks of 4x4 tokens, and of 8x8
    blocks = rows.reshape(2, 4, 2, 4).swapaxes(1, 2).reshape(1, 4, 16, 1)
    larger = resample_blocks(blocks, (1, 4, 64, 1))[0, :, :, 0].reshape(2, 2, 8, 8)
    grid = larger.swapaxes(1, 2).reshape(16, 16)
    np.testing.assert_allclose(grid[4:-4, 5], (np.arange(4, 12) + 0.5) / 2 - 0.5, atol=0.02)
    np.testing.assert_array_equal(resample_blocks(blocks, blocks.shape), blocks)


def test_sizes():
    model = zoo.create("nest_tiny")
    with pytest.raises(ValueError, match="multiples of 16.*224x224.*got 100x100"):
        model.init(jax.random.key(0), jnp.zeros((1, 100, 100, 3)))
    with pytest.raises(ValueError, match="square"):
        model.init(jax.random.key(0), jnp.zeros((1, 64, 32, 3)))
    variables = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 64, 64, 3)))
    variables = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), variables)
    with pytest.raises(ValueError, match="256 tokens of width 96, these images make 1024"):
        model.apply(variables, jnp.zeros((1, 128, 128, 3)))


def test_same_padding_pools_to_the_right():
    logits = []
    for same in (False, True):
        model = NesT((1, 1), 8, 2, num_classes=5, same_padding=same)
        logits.append(jax.jit(model.apply)(variables_of(model), IMAGES))
    assert logits[0].shape == logits[1].shape
    assert np.abs(np.asarray(logits[0] - logits[1])).max() > 1e-3
