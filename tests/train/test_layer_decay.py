"""Learning rates by depth, against the authors' tables."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import zoo
from configs import base
from train.layer_decay import layer_factors
from train.optimizers import make_optimizer


def factors(name, decay, size=None, **options):
    model, info = zoo.create(name, **options), zoo.info(name)
    size = size or info.image_size
    images = jax.ShapeDtypeStruct((1, size, size, info.channels), jnp.float32)
    return layer_factors(model, images, decay)


def exponents(name, size=None, **options) -> dict[str, int]:
    """The exponent of the decay for each part of the model."""
    tree = factors(name, 0.5, size, **options)
    return {
        part: {round(-np.log2(np.max(leaf))) for leaf in jax.tree.leaves(below)}.pop()
        for part, below in tree.items()
    }


def convnext_part(name: str) -> str:
    """The part of our ConvNeXt that has a parameter of the authors'."""
    kind, stage, block, *_ = f"{name}...".split(".")
    if kind == "downsample_layers":
        if stage == "0":
            return "stem_conv" if block == "0" else "stem_norm"
        return f"stage{int(stage) + 1}_downsample"
    return f"stage{int(stage) + 1}_block{int(block) + 1}" if kind == "stages" else kind


def convnext(folder):
    path = folder / "policy_ops.json"
    goldens = json.loads(path.read_text()) if path.is_file() else {}
    return {"small": goldens["layer_decay"]} if "layer_decay" in goldens else {}


@pytest.mark.quick
@pytest.mark.recipe_goldens(case=convnext)
def test_convnext(case):
    tree = factors("convnext_small", case["decay"], 64)
    for name, expected in case["names"].items():
        for factor in jax.tree.leaves(tree[convnext_part(name)]):
            assert float(np.max(factor)) == pytest.approx(expected["scale"], rel=1e-6), name


@pytest.mark.quick
def test_vit():
    """BEiT, MAE: embedding 0, block i is layer i, final norm and head 13."""
    found = exponents("deit_ti")
    assert found["pos_embed"] == found["class_token"] == found["stem_conv"] == 13
    assert [found[f"block{i}"] for i in range(1, 13)] == list(range(12, 0, -1))
    assert found["norm"] == found["head"] == 0


def test_a_network_of_convolutions():
    found = exponents("googlenet")
    assert found["stem_conv1"] == found["stem_conv3"] == 10 and found["stage1_block1"] == 9
    assert found["stage3_block2"] == 1 and found["head"] == found["aux1_head"] == 0
    assert exponents("alexnet") == {
        **{f"conv{i}": 8 - i for i in range(1, 6)},
        **{"fc6": 2, "fc7": 1, "head": 0},
    }


def test_stacked_blocks_have_the_factors_of_each():
    stacked = factors("deit_ti", 0.5, scan=True)["blocks"]["block1"]["norm1"]["scale"]
    np.testing.assert_allclose(stacked[:, 0], 0.5 ** np.arange(12, 0, -1))


def test_updates_are_multiplied():
    model, info = zoo.create("lenet5"), zoo.info("lenet5")
    images = jax.ShapeDtypeStruct((1, info.image_size, info.image_size, 1), jnp.float32)
    params = jax.eval_shape(model.init, jax.random.key(0), images)["params"]
    ones = jax.tree.map(lambda x: np.ones(x.shape, np.float32), params)
    config = base.get_config().optimizer
    config.name = "sgd"
    schedule = optax.constant_schedule(1.0)
    optimizer = make_optimizer(config, schedule, factors("lenet5", 0.5))
    updates, _ = optimizer.update(ones, optimizer.init(ones))
    assert {k: float(v["bias"].max()) for k, v in updates.items()} == {
        **{"conv1": -(0.5**4), "conv2": -(0.5**3), "fc1": -0.25, "fc2": -0.5, "head": -1.0}
    }
