import jax
import jax.numpy as jnp
import numpy as np
import pytest

import zoo
from zoo.layers.conv import Conv
from zoo.models.squeezenet import Fire


def test_fifty_times_fewer_parameters_than_alexnet():
    ratio = zoo.info("alexnet").num_params / zoo.info("squeezenet1_0").num_params
    assert round(ratio, -1) == 50


def test_version_1_1_costs_2_4_times_less():
    ratio = zoo.info("squeezenet1_0").gmacs / zoo.info("squeezenet1_1").gmacs
    assert ratio == pytest.approx(2.4, abs=0.1)


def test_stage_sizes():
    """Poolings in ceil mode: 109 -> 54 -> 27 -> 13 pixels."""
    model, images = zoo.create("squeezenet1_0"), jax.ShapeDtypeStruct((1, 224, 224, 3), "f4")
    variables = jax.eval_shape(model.init, jax.random.key(0), images)
    features = jax.eval_shape(lambda v, x: zoo.features(model, v, x), variables, images)
    assert {key: value.shape[1:] for key, value in features.items()} == {
        "stem": (54, 54, 96),
        "stage1": (54, 54, 256),
        "stage2": (27, 27, 512),
        "stage3": (13, 13, 512),
        "head_map": (13, 13, 1000),
        "embedding": (512,),
    }


def fire(bypass: str, channels: int):
    """A fire module of 16 features: input, parameters, output, and output without bypass."""
    x = np.random.RandomState(0).standard_normal((2, 5, 5, channels)).astype(np.float32)
    params = Fire(2, bypass, Conv).init(jax.random.key(0), x)["params"]
    plain = {key: value for key, value in params.items() if key != "bypass"}
    without = Fire(2, "", Conv).apply({"params": plain}, x)
    return x, params, Fire(2, bypass, Conv).apply({"params": params}, x), without


@pytest.mark.parametrize("bypass", ["simple", "complex"])
def test_bypass_is_the_identity_where_shapes_allow(bypass):
    x, params, with_bypass, without = fire(bypass, channels=16)
    assert "bypass" not in params
    np.testing.assert_allclose(with_bypass, x + without, rtol=1e-5, atol=1e-6)


def test_simple_bypass_leaves_out_modules_that_widen():
    _, params, with_bypass, without = fire("simple", channels=8)
    assert "bypass" not in params
    np.testing.assert_array_equal(with_bypass, without)


def test_complex_bypass_is_a_convolution_there():
    x, params, with_bypass, without = fire("complex", channels=8)
    projected = x @ np.asarray(params["bypass"]["kernel"])[0, 0]  # the bias starts at 0
    np.testing.assert_allclose(with_bypass, projected + without, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("name", "smallest"), [("squeezenet1_0", 21), ("squeezenet1_1", 17)])
def test_too_small_an_image_is_an_error(name, smallest):
    model, images = zoo.create(name), jax.ShapeDtypeStruct((1, smallest, smallest, 3), "f4")
    variables = jax.eval_shape(model.init, jax.random.key(0), images)
    features = jax.eval_shape(lambda v, x: zoo.features(model, v, x), variables, images)
    assert features["stage3"].shape == (1, 1, 1, 512)
    with pytest.raises(ValueError, match=f"at least {smallest}x{smallest} pixels, got"):
        images = jnp.zeros((1, smallest - 1, smallest, 3))
        jax.eval_shape(model.init, jax.random.key(0), images)


def test_unknown_bypass_names_those_there_are():
    model = zoo.create("squeezenet1_0", bypass="residual")
    with pytest.raises(ValueError, match="'simple', 'complex'.*got '1.0' and 'residual'"):
        jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 64, 64, 3)))
