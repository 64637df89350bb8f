"""`jax.export` of models: artifacts that run where the zoo is not installed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_models import DEFAULT, image_batch

import zoo
from train.build import init_eagerly

QUICK = {"lenet5", "vit_ti_16"}
MODELS = [
    pytest.param(name, marks=[] if name in QUICK else pytest.mark.full) for name in sorted(DEFAULT)
]


# Normalize by the deviation of a few numbers, which amplifies float32's rounding a hundredfold.
AMPLIFY = ("rest_lite",)


def weights(name: str, **overrides):
    model = zoo.create(name, **overrides)
    images = jnp.asarray(image_batch(name), model.dtype)
    return model, init_eagerly(lambda: model.init(jax.random.key(0), images)), images


@pytest.mark.parametrize("name", MODELS)
def test_artifacts_serialise_and_run(name, quick_compilation):
    with jax.enable_x64(name in AMPLIFY):
        check_artifacts(name, **({"dtype": "float64"} if name in AMPLIFY else {}))


def check_artifacts(name, **overrides):
    model, variables, images = weights(name, **overrides)
    variables = jax.tree.map(lambda x: x.astype(images.dtype), variables)
    apply = jax.jit(model.apply)
    expected = np.asarray(apply(variables, images))
    scale = expected.std()
    for platforms in [("cpu",), ("tpu",), ("cuda",), ("cpu", "cuda", "tpu")]:
        exported = jax.export.export(apply, platforms=platforms)(variables, images)
        assert "zoo_" not in exported.mlir_module()
        loaded = jax.export.deserialize(exported.serialize())
        assert loaded.platforms == platforms
        if "cpu" in platforms:
            logits = np.asarray(loaded.call(variables, images))
            np.testing.assert_allclose(logits, expected, atol=1e-4 * scale, rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("lenet5", {}),
        pytest.param("mobilenet_v2", {}, marks=pytest.mark.full),
        pytest.param("swin_t", {"depths": (2, 1, 1, 1)}, marks=pytest.mark.full),
    ],
)
def test_any_batch(name, overrides, quick_compilation):
    """A symbolic batch: one artifact for all sizes."""
    model, variables, images = weights(name, **overrides)
    (batch,) = jax.export.symbolic_shape("batch")
    shape = jax.ShapeDtypeStruct((batch, *images.shape[1:]), images.dtype)
    exported = jax.export.export(jax.jit(model.apply))(variables, shape)
    loaded = jax.export.deserialize(exported.serialize())
    expected = np.asarray(jax.jit(model.apply)(variables, images))
    for count in (1, 2):
        logits = np.asarray(loaded.call(variables, images[:count]))
        atol = 1e-4 * expected.std()
        np.testing.assert_allclose(logits, expected[:count], atol=atol, rtol=1e-4)


@pytest.mark.full
def test_gradients_of_an_artifact(quick_compilation):
    model, variables, images = weights("lenet5")
    exported = jax.export.export(jax.jit(model.apply))(variables, images)
    loaded = jax.export.deserialize(exported.serialize(vjp_order=1))
    ours = jax.grad(lambda x: loaded.call(variables, x).sum())(images)
    expected = jax.grad(lambda x: model.apply(variables, x).sum())(images)
    np.testing.assert_allclose(ours, expected, atol=1e-5)
