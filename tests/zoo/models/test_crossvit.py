"""CrossViT's two branches: the sizes they see, and that they meet in the class tokens alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import zoo
from zoo.models.crossvit import CrossViT, branch_inputs, cubic, resize_axis

IMAGES = np.random.RandomState(0).standard_normal((1, 48, 48, 3)).astype(np.float32)


def small():
    model = CrossViT((8, 12), 2, depths=(1, 1), stages=2, num_classes=5)
    random = np.random.RandomState(0)
    variables = jax.tree.map(
        lambda leaf: 0.3 * random.standard_normal(leaf.shape).astype(np.float32),
        jax.eval_shape(model.init, jax.random.key(0), IMAGES),
    )
    return model, variables


@pytest.mark.parametrize(("side", "smaller"), [(240, 224), (408, 384), (120, 112), (48, 48)])
def test_what_the_branches_see(side, smaller):
    images = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
    first, second = jax.eval_shape(branch_inputs, images)
    assert first.shape[1] == side and second.shape[1] == smaller


def test_interpolation_keeps_constants_and_lines():
    line = np.arange(30.0)[None, :, None, None] * np.ones((1, 30, 2, 1))
    shorter = np.asarray(resize_axis(jnp.asarray(line), 28, axis=1))[0, :, 0, 0]
    expected = (np.arange(28) + 0.5) * 30 / 28 - 0.5
    # Lines only nearly: with a = -0.75 the kernel is not exact for them.
    np.testing.assert_allclose(shorter[2:-2], expected[2:-2], atol=0.08)
    constant = np.asarray(resize_axis(jnp.ones((1, 30, 2, 1)), 28, axis=1))
    np.testing.assert_allclose(constant, 1, rtol=1e-6)
    np.testing.assert_allclose(cubic(np.array([0.0, 1.0, 2.0])), [1, 0, 0], atol=1e-12)


def test_patches_learn_of_the_other_branch_only_through_the_class_token():
    """A stage's fusion writes the class token, so the other's patches see it one stage later."""
    model, variables = small()
    features = jax.jit(lambda variables: zoo.features(model, variables, IMAGES))
    before = features(variables)
    changed = jax.tree.map(np.copy, variables)
    changed["params"]["branch1_class_token"][..., 0] += 1  # of all of C a LayerNorm knows nothing
    after = features(changed)
    np.testing.assert_array_equal(before["stage1"], after["stage1"])
    assert (before["stage2"] != after["stage2"]).any()
    assert (before["branch1_stage1"] != after["branch1_stage1"]).any()


def test_logits_are_the_mean_of_both_classifiers():
    model, variables = small()
    embedding = jax.jit(lambda: zoo.features(model, variables, IMAGES, at="embedding"))()
    heads = [variables["params"][f"branch{i}_head"] for i in (1, 2)]
    tokens = np.split(np.asarray(embedding), [8], axis=-1)
    logits = [t @ head["kernel"] + head["bias"] for t, head in zip(tokens, heads, strict=True)]
    expected = np.mean(logits, axis=0)
    np.testing.assert_allclose(
        jax.jit(model.apply)(variables, IMAGES), expected, rtol=1e-4, atol=1e-5
    )


def test_a_size_that_patches_do_not_cover():
    with pytest.raises(ValueError, match="multiples of 12.*240x240.*got 224x224"):
        zoo.create("crossvit_ti").init(jax.random.key(0), jnp.zeros((1, 224, 224, 3)))
