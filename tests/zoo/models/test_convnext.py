"""ConvNeXt's blocks start as the identity; its checkpoints come under three names."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import zoo
from zoo.layers.blocks import stack_blocks
from zoo.models.convnext import Block, ConvNeXt

IMAGES = np.random.RandomState(0).standard_normal((2, 32, 32, 3)).astype(np.float32)


def test_layer_scale_starts_blocks_near_the_identity():
    x = IMAGES[..., :1] * np.ones(8, np.float32)
    for start, near in [(1e-6, True), (1.0, False)]:
        start_block = jax.jit(partial(Block(start).init_with_output, train=False))
        y, _ = start_block(jax.random.key(0), x)
        assert (np.abs(y - x).max() < 1e-4) == near
        assert (y != x).any()


def test_scanned_stages_are_the_same_function():
    small = dict(depths=(1, 2), dims=(4, 8), layer_scale=1.0, num_classes=5)
    model, scanned = ConvNeXt(**small), ConvNeXt(**small, scan=True, remat=True)
    variables = jax.jit(model.init)(jax.random.key(0), IMAGES)
    shapes = jax.eval_shape(scanned.init, jax.random.key(0), IMAGES)
    stacked = stack_blocks(variables, shapes)
    assert stacked["params"]["stage2_blocks"]["block1"]["layer_scale"].shape == (2, 8)
    logits = jax.jit(scanned.apply)(stacked, IMAGES)
    expected = jax.jit(model.apply)(variables, IMAGES)
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.full
def test_three_namings_of_one_checkpoint():
    shapes = zoo.registry.abstract_variables("convnext_tiny")
    random = np.random.RandomState(0)
    variables = jax.tree.map(
        lambda leaf: random.standard_normal(leaf.shape).astype(np.float32), shapes
    )
    for source, name, shape in [
        ("torchvision", "features.5.8.layer_scale", (384, 1, 1)),
        ("timm", "stages.2.blocks.8.gamma", (384,)),
        ("facebookresearch", "stages.2.8.gamma", (384,)),
    ]:
        tensors = zoo.to_torch("convnext_tiny", variables, source=source)
        assert tensors[name].shape == shape
        back = zoo.load_torch("convnext_tiny", tensors)
        jax.tree.map(np.testing.assert_array_equal, back, variables)


def test_downsampling_halves_each_stage():
    model = zoo.create("convnext_tiny")
    images = jax.ShapeDtypeStruct((1, 64, 96, 3), jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), images)
    stages = jax.eval_shape(lambda *args: zoo.features(model, *args), variables, images)
    assert [stages[f"stage{i}"].shape for i in range(1, 5)] == [
        (1, 16, 24, 96),
        (1, 8, 12, 192),
        (1, 4, 6, 384),
        (1, 2, 3, 768),
    ]
