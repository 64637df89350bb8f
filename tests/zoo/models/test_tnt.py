"""Pixels within patches."""

import jax
import numpy as np
import pytest

import zoo
from zoo.models.tnt import TNT

IMAGES = np.random.RandomState(0).standard_normal((2, 32, 48, 3)).astype(np.float32)


def small(**settings):
    """A small net on 2x3 patches, and random variables for it."""
    model = TNT(16, 2, 2, pixel_width=8, num_classes=5, **settings)
    shapes = jax.eval_shape(model.init, jax.random.key(0), IMAGES)
    random = np.random.RandomState(0)
    return model, jax.tree.map(lambda leaf: 0.3 * random.standard_normal(leaf.shape), shapes)


@pytest.mark.full
def test_maps_of_pixels_and_of_patches():
    model, variables = small()
    maps = zoo.features(model, variables, IMAGES, at="attention")
    assert {path: weights.shape for path, weights in maps.items()} == {
        f"block{i}/{kind}attention": shape
        for i in (1, 2)
        for kind, shape in [("pixel_", (2 * 6, 4, 16, 16)), ("", (2, 2, 7, 7))]
    }


@pytest.mark.parametrize("legacy", [False, True])
def test_pixels_of_a_patch_see_beyond_it_in_the_first_version_only(legacy):
    model, variables = small(legacy=legacy)
    changed = IMAGES.copy()
    changed[:, :, 15] += 1  # the last column of the first patch from the left
    stem, other = (zoo.features(model, variables, x, at="stem") for x in (IMAGES, changed))
    difference = abs(stem - other).max((0, 1, 3))  # of the patches from left to right
    assert difference[0] > 1e-3
    assert (difference[1] > 1e-3) == legacy
    assert difference[2] == 0


@pytest.mark.parametrize("legacy", [False, True])
def test_scanned_blocks_are_the_same_function(legacy):
    from zoo.layers.blocks import stack_blocks

    model, variables = small(legacy=legacy)
    scanned = model.clone(scan=True)
    shapes = jax.eval_shape(scanned.init, jax.random.key(0), IMAGES)
    logits = scanned.apply(stack_blocks(variables, shapes), IMAGES)
    np.testing.assert_allclose(logits, model.apply(variables, IMAGES), rtol=1e-4, atol=1e-4)


def test_both_versions_of_the_small_one():
    """timm's tnt_s_patch16_224 has 23,768,584 parameters."""
    params = zoo.registry.abstract_variables("tnt_s", legacy=False)
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 23_768_584
