"""Attention through all blocks equals the references, in float64: goldens."""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import looking
import numpy as np
import pytest

import zoo
from zoo.look import attention, attribution
from zoo.look.program import Program


def cases(folder: Path) -> dict[str, dict]:
    return looking.records(folder, "attention")


@pytest.mark.full
@pytest.mark.look_goldens(record=cases)
def test_equals_the_reference(record):
    with jax.enable_x64(True):
        model, variables = looking.network(record["model"])
        images, targets = looking.images(record["image_size"]), jnp.asarray(record["targets"])
        found = {
            "logits_at_targets": attribution.logit(model.apply(variables, images), targets),
            "gradient": attribution.gradient(model, variables, images, targets),
            "chefer_relevance": attention.relevance(model, variables, images, targets).map,
        }
        for fuse in ("mean", "max"):
            rolled = attention.rollout(model, variables, images, fuse)
            found[f"rollout_{fuse}"] = rolled.map
            found[f"rollout_{fuse}_row_to_own_class_token"] = rolled.tokens[:, 0, 0]
        last = attention.attention_maps(model, variables, images)[-1]
        before, (height, width) = record["tokens_before_patches"], rolled.map.shape[1:]
        patches = last[:, :, 0, before:].reshape(*last.shape[:2], height, width)
        found["last_attention_of_class_token"] = patches
    assert record["results"] and not record["results"].keys() - found.keys()
    for key, golden in record["results"].items():
        looking.assert_equals(found[key], golden)


@pytest.fixture(scope="module")
def small():
    model = zoo.create("deit_ti_distilled", depth=2)
    images = jnp.asarray(np.random.RandomState(3).standard_normal((2, 64, 64, 3)), jnp.float32)
    return model, jax.jit(model.init)(jax.random.key(0), images), images


def test_rows_of_a_rollout_are_shares(small, quick_compilation):
    model, *case = small
    for fuse in ("mean", "max"):
        rolled = jax.jit(functools.partial(attention.rollout, model, fuse=fuse))(*case)
        assert rolled.map.shape == (2, 4, 4) and rolled.tokens.shape == (2, 18, 18)
        np.testing.assert_allclose(rolled.tokens.sum(-1), 1, rtol=1e-5)


def test_relevance_is_that_of_a_class(small, quick_compilation):
    model, *case = small
    relevance = jax.jit(functools.partial(attention.relevance, model))
    found = relevance(*case, jnp.array([3, 5]))
    assert (found.tokens >= 0).all() and (found.tokens[:, 1:].diagonal(0, 1, 2) >= 0).all()
    other = relevance(*case, jnp.array([5, 3]))
    assert not np.allclose(found.map, other.map)


@pytest.mark.full
def test_patches_can_be_changed_among_the_tokens(small, quick_compilation):
    """Patches are sown without the class token: the network goes on from all tokens."""
    model, variables, images = small
    program = Program(model, variables, images, ["stage2"])
    added = np.random.RandomState(4).standard_normal(program.shapes["stage2"].shape)
    run = jax.jit(lambda added: program(variables, images, {"stage2": added}))
    plain, changed = (run(jnp.asarray(scale * added, jnp.float32)) for scale in (0, 1))
    np.testing.assert_allclose(changed[1]["stage2"] - plain[1]["stage2"], added, atol=1e-5)
    assert abs(changed[0] - plain[0]).max() > 1e-3
    targets = jnp.array([3, 5])
    grad_cam = jax.jit(functools.partial(attribution.grad_cam, model, at="stage2"))
    assert grad_cam(variables, images, targets).any(axis=(1, 2)).all()
    with pytest.raises(ValueError, match="The logits do not depend on stage4: DistilledViT reads"):
        attribution.layer_cam(*small, targets, "stage4")


@pytest.mark.parametrize(
    "name, size, why",
    [
        ("resnet18_cifar", 32, "has no attention"),
        ("swin_t", 448, "within windows"),  # four of them in the last stage
        ("cait_xxs24", 224, "ends with 1 tokens that attend to 197"),
    ],
)
def test_refusals_say_why(name, size, why):
    model, images = zoo.create(name), jnp.zeros((2, size, size, 3))
    variables = jax.eval_shape(model.init, jax.random.key(0), images)
    with pytest.raises(ValueError, match=why):
        attention._program(model, variables, images)
