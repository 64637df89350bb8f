"""Dropout, drop path and DropBlock where a published recipe of a family has them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import zoo
from zoo.layers.drop_path import DropPath
from zoo.models.cvt import CvT
from zoo.models.mobilenet_v3 import LARGE, MobileNetV3
from zoo.models.nasnet import NORMAL, REDUCTION, NASNet
from zoo.models.pnasnet import CELL
from zoo.models.resnet import BasicBlock, Bottleneck, ResNet
from zoo.models.resnet_cifar import ResNetCifar


@pytest.fixture
def rates(monkeypatch):
    """The rates of all drop paths in the order of their calls, while a model is traced."""
    noted, plain = [], DropPath.__call__

    def noting(self, x, *, train):
        noted.append(self.rate)
        return plain(self, x, train=train)

    monkeypatch.setattr(DropPath, "__call__", noting)
    return noted


def trace(model, size=32, **settings):
    images = jnp.zeros((2, size, size, 3))
    variables = jax.eval_shape(model.init, jax.random.key(0), images)
    apply = functools.partial(model.apply, train=True, mutable=["batch_stats"], **settings)
    rngs = {"dropout": jax.random.key(0)}
    return jax.eval_shape(lambda v: apply(v, images, rngs=rngs), variables)


def filled(model, images):
    """Variables without the time that their initial values take."""
    shapes = jax.eval_shape(model.init, jax.random.key(0), images)
    random = np.random.RandomState(0)
    return jax.tree.map(lambda leaf: random.uniform(0.1, 0.3, leaf.shape).astype("f"), shapes)


def traced_rates(rates, model, **settings):
    trace(model, **settings)
    return rates[len(rates) // 2 :]  # the first half is init's


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("stochastic_depth", [0.125, 0.25, 0.375, 0.5]),
        ("linear", [0.0, 0.5 / 3, 1 / 3, 0.5]),
    ],
)
def test_rules_of_resnet(rates, rule, expected):
    model = ResNet((1, 1, 1, 1), BasicBlock, drop_path=0.5, drop_path_rule=rule)
    assert traced_rates(rates, model) == pytest.approx(expected)


def test_mobilenet_v3_has_the_rule_of_efficientnet(rates):
    found = traced_rates(rates, MobileNetV3(LARGE, 64, drop_path=0.2))
    residual = [0.2 * i / 15 for i in (0, 2, 4, 5, 7, 8, 9, 11, 13, 14)]
    assert found == pytest.approx(residual)


def test_cvt_has_a_rate_for_each_stage(rates):
    settings = dict(depths=(1, 2, 3), dims=(8, 8, 8), num_heads=(1, 1, 1), num_classes=2)
    each = traced_rates(rates, CvT(**settings, drop_path=(0.3, 0.2, 0.1)))
    assert each[::2] == pytest.approx([0.0, 0.0, 0.2, 0.0, 0.05, 0.1])  # of either branch
    rates.clear()
    assert traced_rates(rates, CvT(**settings, drop_path=0.1))[::2] == pytest.approx(
        [0.0, 0.0, 0.0, 0.0, 0.05, 0.1]
    )


@pytest.mark.parametrize(
    ("model", "cells"),
    [
        (NASNet(1, 8, 4, NORMAL, REDUCTION, drop_path=0.7), 7),
        (NASNet(1, 8, 4, CELL, drop_path=0.7), 5),
    ],
)
def test_scheduled_drop_path_grows_with_depth_and_training(rates, model, cells):
    """NASNet: (c / n) r progress in cell c of n, of every operation that is no identity."""
    found = traced_rates(rates, model, progress=0.5)
    expected = [0.7 * (c + 1) / cells * 0.5 for c in range(cells)]
    assert sorted(set(np.round(found, 6))) == pytest.approx(expected, abs=1e-6)
    assert found == sorted(found)


@pytest.mark.full
@pytest.mark.parametrize("settings", [{}, {"scan": True, "remat": True}])
def test_drop_block_of_resnet(settings, quick_compilation):
    """It drops in the last two stages alone, the more the further training has come."""
    model = ResNet(
        (1, 1, 1, 3), Bottleneck, stem="cifar", num_classes=3, drop_block=0.5, **settings
    )
    images = np.random.RandomState(0).standard_normal((2, 16, 16, 3)).astype(np.float32)
    variables = filled(model, images)

    @jax.jit
    def stages(progress, seed):
        collections = ["batch_stats", "intermediates"]
        rngs = {"dropout": jax.random.key(seed)}
        settings = dict(train=True, rngs=rngs, mutable=collections)
        return model.apply(variables, images, progress=progress, **settings)[1]["intermediates"]

    def change(name, *arguments):
        one, other = (stages(*argument)[name][0] for argument in arguments)
        return float(jnp.abs(one - other).max())

    assert change("stage2", (1.0, 1), (1.0, 2)) == 0
    assert change("stage3", (1.0, 1), (1.0, 2)) > 0
    assert change("stage4", (0.0, 1), (0.0, 2)) == 0
    assert jax.tree.all(
        jax.tree.map(np.array_equal, filled(model.clone(drop_block=0.0), images), variables)
    )


def test_mini_batch_rule_multiplies_in_evaluation(quick_compilation):
    """The last block of rate 1: in evaluation its branch counts nothing."""
    images = np.ones((1, 8, 8, 3), np.float32)
    model = ResNetCifar(8, drop_path=1.0, drop_path_rule="mini_batch")
    variables, changed = filled(model, images), filled(model, images)
    changed["params"]["stage3_block1"]["norm2"]["bias"] += 1.0
    for rule, equal in ("mini_batch", True), ("stochastic_depth", False):
        apply = jax.jit(model.clone(drop_path_rule=rule).apply)
        assert np.array_equal(apply(variables, images), apply(changed, images)) == equal


def test_shufflenet_v2_has_dropout():
    model = zoo.create("shufflenet_v2_x0_5", dropout=0.5, num_classes=2)
    trace(model)
    assert zoo.create("shufflenet_v2_x0_5").dropout == 0.0
