"""What a model consists of in a program, by the platform that the program is for."""

import os
import subprocess
import sys
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax.extend.core import jaxprs_in_params

import zoo
from zoo.kernels import extension, platform

OURS = {"conv2d", "conv2d_input_gradient", "conv2d_kernel_gradient", "einsum", "materialize"}
OURS |= {"draw"}
MODELS = [
    *("lenet5", "resnet18", "mobilenet_v2", "vit_ti_16"),
    *(pytest.param(name, marks=pytest.mark.full) for name in ("densenet_40_12_cifar", "swin_t")),
]


def primitives(function, *args) -> Counter:
    """How often each primitive stands in the jaxpr of `function(*args)`."""
    counts = Counter()

    def count(jaxpr):
        for equation in jaxpr.eqns:
            counts[equation.primitive.name] += 1
            for inner in jaxprs_in_params(equation.params):
                count(inner)

    count(jax.make_jaxpr(function)(*args).jaxpr)
    return counts


def shapes(name: str, batch: int = 2):
    info = zoo.info(name)
    images = jax.ShapeDtypeStruct((batch, *[info.image_size] * 2, info.channels), jnp.float32)
    return zoo.create(name), zoo.registry.abstract_variables(name), images


def training_loss(model):
    def loss(params, rest, images):
        rngs = {"dropout": jax.random.key(0)}
        mutable = ["batch_stats", "intermediates"]
        variables = {**rest, "params": params}
        logits, _ = model.apply(variables, images, train=True, rngs=rngs, mutable=mutable)
        return jnp.sum(logits**2)

    return loss


@pytest.mark.parametrize("name", MODELS)
def test_on_accelerators_a_model_is_a_plain_flax_model(name):
    model, variables, images = shapes(name)
    rest = {key: value for key, value in variables.items() if key != "params"}
    with platform.tracing(platform.NATIVE):
        for counts in (
            primitives(model.apply, variables, images),
            primitives(model.init, jax.random.key(0), images),
            primitives(jax.grad(training_loss(model)), variables["params"], rest, images),
        ):
            assert not OURS & counts.keys()
            assert counts["dot_general"] and counts["conv_general_dilated"]
            assert not counts["platform_index"]


@pytest.mark.parametrize("backend", ["tpu", "cuda", "METAL"])
def test_the_default_backend_tells_the_platform(monkeypatch, backend):
    model, variables, images = shapes("lenet5")
    assert OURS & primitives(model.apply, variables, images).keys()
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    jax.clear_caches()
    assert not OURS & primitives(model.apply, variables, images).keys()


def test_a_default_device_on_cpu_counts_as_cpu(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    model, variables, images = shapes("lenet5")
    with jax.default_device(jax.devices("cpu")[0]):
        assert OURS & primitives(model.apply, variables, images).keys()


class PlainLeNet(nn.Module):
    """zoo's lenet5 on Flax's own layers."""

    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Conv(6, (5, 5), padding="VALID", name="conv1")(x))
        x = nn.max_pool(x, (2, 2), (2, 2))
        x = nn.relu(nn.Conv(16, (5, 5), padding="VALID", name="conv2")(x))
        x = nn.max_pool(x, (2, 2), (2, 2))
        x = x.reshape(x.shape[0], -1)
        x = nn.relu(nn.Dense(120, name="fc1")(x))
        x = nn.relu(nn.Dense(84, name="fc2")(x))
        return nn.Dense(10, name="head")(x)


def plain_and_ours():
    ours, variables, images = shapes("lenet5", batch=8)
    plain = PlainLeNet()
    return [(plain, jax.eval_shape(plain.init, jax.random.key(0), images), images)] + [
        (ours, variables, images)
    ]


def test_checkpoint_policies_save_what_they_save_of_a_plain_model():
    from jax._src.ad_checkpoint import saved_residuals

    saved = []
    for model, variables, images in plain_and_ours():
        policy = jax.checkpoint_policies.dots_saveable
        loss = jax.checkpoint(lambda v, x, m=model: m.apply(v, x).sum(), policy=policy)
        with platform.tracing(platform.NATIVE):
            residuals = saved_residuals(loss, variables, images)
        computed = [aval.shape for aval, source in residuals if "argument" not in source]
        saved.append(sorted(computed))
    plain, ours = saved
    assert ours == plain and (8, 120) in ours


def test_flops_are_those_of_a_plain_model():
    flops = []
    for model, variables, images in plain_and_ours():
        with platform.tracing(platform.NATIVE):
            lowered = jax.jit(jax.grad(lambda v, x, m=model: m.apply(v, x).sum()))
            flops.append(lowered.lower(variables, images).compile().cost_analysis()["flops"])
    assert flops[1] == pytest.approx(flops[0], rel=0.01)


@pytest.mark.parametrize("name", ["lenet5", "mobilenet_v2", "swin_t"])
def test_the_portable_form_has_nothing_of_ours(name):
    model, variables, images = shapes(name, batch=8)
    with zoo.portable():
        assert not OURS & primitives(model.apply, variables, images).keys()
        text = jax.jit(model.apply).lower(variables, images).as_text()
    assert extension.ONEDNN not in text and extension.MATERIALIZE not in text


def test_functions_are_traced_anew_in_another_form():
    model = zoo.create("lenet5")
    images = jnp.asarray(np.random.RandomState(0).randn(64, 32, 32, 1), jnp.float32)
    variables = model.init(jax.random.key(0), images)
    apply = jax.jit(model.apply)
    ours = apply(variables, images)
    with zoo.portable():
        assert not OURS & primitives(apply, variables, images).keys()
        np.testing.assert_allclose(apply(variables, images), ours, rtol=1e-4, atol=1e-5)
    assert OURS & primitives(apply, variables, images).keys()


@pytest.mark.parametrize("value, expected", [("1", True), ("0", False), ("", False)])
def test_the_environment_variable(monkeypatch, value, expected):
    monkeypatch.setenv("ZOO_PORTABLE", value)
    assert (platform.form(jnp.zeros(1)) == platform.PORTABLE) == expected


def test_importing_the_zoo_changes_nothing():
    """Neither JAX's caches and configuration, nor threads, signals, warnings, the environment."""
    program = """
import os, signal, sys, threading, warnings
import jax, flax, flax.linen, numpy
traced = []
f = jax.jit(lambda x: traced.append(1) or x + 1)
f(1.0)
def state():
    return (
        dict(os.environ), threading.active_count(), list(warnings.filters), list(sys.path),
        {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)},
        dict(jax.config.values), sys.getrecursionlimit(),
        numpy.random.get_state()[1].tolist(), sys.excepthook, sys.stdout,
    )
before = state()
import zoo
zoo.create("resnet18"), zoo.list_models(), zoo.info("lenet5")
assert state() == before
f(1.0)
assert len(traced) == 1, traced
"""
    done = subprocess.run(
        [sys.executable, "-c", program], env=dict(os.environ), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_importing_the_zoo_starts_no_backend():
    program = """
import zoo
from jax._src import xla_bridge
zoo.list_models()
assert not xla_bridge._backends
"""
    done = subprocess.run(
        [sys.executable, "-c", program], env=dict(os.environ), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
