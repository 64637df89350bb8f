"""Token labels and mixed tokens."""

import goldens
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import zoo
from zoo.models.lvvit import Block, LVViT

IMAGES = np.random.RandomState(0).standard_normal((2, 32, 48, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def small():
    """A small net on 2x3 patches, and random variables for it."""
    model = LVViT(width=16, depth=2, num_heads=2, num_classes=5)
    shapes = jax.eval_shape(model.init, jax.random.key(0), IMAGES)
    random = np.random.RandomState(0)
    return model, jax.tree.map(lambda leaf: 0.3 * abs(random.standard_normal(leaf.shape)), shapes)


def test_evaluation_adds_the_tokens_largest_logits(small):
    model, variables = small
    collections = ["batch_stats", "intermediates"]
    logits, state = model.apply(variables, IMAGES, mutable=collections)
    tokens = state["intermediates"]["token_logits"][0]
    assert tokens.shape == (2, 2, 3, 5)
    kernel, bias = (variables["params"]["head"][name] for name in ("kernel", "bias"))
    of_class = state["intermediates"]["embedding"][0] @ kernel + bias[None]
    np.testing.assert_allclose(logits, of_class + 0.5 * tokens.max((1, 2)), rtol=1e-4, atol=1e-4)
    logits, state = model.apply(variables, IMAGES, train=True, mutable=collections)
    of_class = state["intermediates"]["embedding"][0] @ kernel + bias[None]
    np.testing.assert_allclose(logits, of_class, rtol=1e-4, atol=1e-4)


def test_token_logits_go_back_to_the_image_they_came_from(small):
    """All tokens exchanged are the batch in reverse order, but for the token logits."""
    model, variables = small
    plain, state = model.apply(variables, IMAGES, mutable=["intermediates"])
    mixed, other = model.apply(
        variables, IMAGES, mixed=jnp.ones((2, 3), bool), mutable=["intermediates"]
    )
    np.testing.assert_allclose(mixed, plain[::-1], rtol=1e-4, atol=1e-4)
    tokens, back = (s["intermediates"]["token_logits"][0] for s in (state, other))
    assert abs(tokens[0] - tokens[1]).max() > 0.01
    np.testing.assert_allclose(back, tokens, rtol=1e-4, atol=1e-4)


def test_branches_are_divided():
    tokens = np.random.RandomState(1).standard_normal((2, 5, 8)).astype(np.float32)
    block = Block(2, branch_scale=1e-6)
    variables = block.init(jax.random.key(0), tokens, train=False)
    np.testing.assert_allclose(block.apply(variables, tokens, train=False), tokens, atol=1e-4)
    whole = Block(2).apply(variables, tokens, train=False)
    assert abs(whole - tokens).max() > 1e-3


def test_a_size_that_patches_do_not_cover():
    with pytest.raises(ValueError, match="multiples of 16.*224x224.*got 50x50"):
        zoo.create("lvvit_t").init(jax.random.key(0), jnp.zeros((1, 50, 50, 3)))


@pytest.mark.full
@pytest.mark.parametrize("name", ["lvvit_t", "lvvit_s"])
def test_training_with_and_without_mixed_tokens(name):
    """In float64, against the reference: its classifier's and its tokens' logits."""
    golden = goldens.load(name)
    top, left, bottom, right = golden["train_mixtoken_bbox"]
    box = np.zeros((14, 14), bool)
    box[top:bottom, left:right] = True
    with jax.enable_x64(True):
        model = zoo.create(name, dtype=jnp.float64)
        variables = zoo.load_torch(name, goldens.state_dict(golden))

        @jax.jit
        def apply(images, mixed):
            collections = ["batch_stats", "intermediates"]
            return model.apply(variables, images, train=True, mixed=mixed, mutable=collections)

        for mixed, of_class, of_tokens in [
            (np.zeros_like(box), "train_batch_stats", "train_aux"),
            (box, "train_mixtoken_cls", "train_mixtoken_aux"),
        ]:
            logits, state = apply(goldens.images(golden, 4), mixed)
            tokens = state["intermediates"]["token_logits"][0].reshape(4, -1)
            for ours, key in [(logits, of_class), (tokens, of_tokens)]:
                error = abs(ours[:, :8] - np.array(golden[key]["first8"])).max()
                assert error <= 1e-6 * golden[key]["std"]
                np.testing.assert_allclose(abs(ours).mean(), golden[key]["l1"], rtol=1e-6)
