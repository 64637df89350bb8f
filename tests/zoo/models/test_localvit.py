"""LocalViT: convolutions for patches, which the class token passes by."""

from functools import partial

import jax
import numpy as np
import pytest

import zoo
from zoo.models.localvit import Block

TOKENS = jax.random.normal(jax.random.key(0), (1, 1 + 25, 8))


def outputs_of(block, tokens):
    variables = jax.jit(partial(block.init, train=False))(jax.random.key(1), TOKENS)
    silent = jax.tree.map(np.zeros_like, variables["params"]["attention"]["proj"])
    variables["params"]["attention"]["proj"] = silent  # no attention: only the convolutions act
    return jax.jit(partial(block.apply, train=False))(variables, tokens)


def test_the_class_token_passes_the_convolutions_by():
    outputs = outputs_of(Block(2, 4, 0, (5, 5)), TOKENS)
    np.testing.assert_array_equal(outputs[:, 0], TOKENS[:, 0])
    assert np.abs(outputs[:, 1:] - TOKENS[:, 1:]).min() > 0


def test_locality():
    """Without the gate of all channels' means a token reaches its 3x3 neighbours alone."""
    block = Block(2, 4, 0, (5, 5))
    variables = jax.jit(partial(block.init, train=False))(jax.random.key(1), TOKENS)
    params = variables["params"]
    for layer in (params["attention"]["proj"], params["feed_forward"]["squeeze"]):
        layer["kernel"] = np.zeros_like(layer["kernel"])

    def outputs(value):
        return block.apply(variables, TOKENS.at[0, 1 + 12, 0].set(value), train=False)

    tangent = jax.jit(lambda: jax.jvp(outputs, (0.5,), (1.0,))[1])()
    grid = np.abs(tangent[0, 1:].reshape(5, 5, 8)).max(-1) > 0
    assert grid[1:4, 1:4].all() and grid.sum() == 9


def test_pvt_with_locality_takes_the_reference_layers():
    shapes = zoo.create("localvit_pvt_t")
    params = jax.eval_shape(shapes.init, jax.random.key(0), np.zeros((1, 32, 32, 3)))["params"]
    block = params["stage1_block1"]
    assert "norm2" not in block and "mlp" not in block
    assert block["feed_forward"]["depthwise_conv"]["kernel"].shape == (3, 3, 1, 8 * 64)
    assert block["feed_forward"]["squeeze"]["kernel"].shape == (512, 8)
    assert block["attention"]["reduce_conv"]["kernel"].shape == (8, 8, 64, 64)


@pytest.mark.full
def test_positions_are_resampled_on_load():
    for name, path in (("localvit_t", "pos_embed"), ("localvit_pvt_t", "pos_embed4")):
        shapes = jax.eval_shape(
            zoo.create(name).init, jax.random.key(0), np.zeros((1, 224, 224, 3))
        )
        variables = jax.tree.map(lambda leaf: np.ones(leaf.shape, leaf.dtype), shapes)
        tensors = zoo.to_torch(name, variables)
        loaded = zoo.load_torch(name, tensors, image_size=96)["params"]
        tokens = {"localvit_t": 1 + 6 * 6, "localvit_pvt_t": 1 + 3 * 3}[name]
        assert loaded[path].shape[1] == tokens
