"""What every network says to images that it cannot take; `test_models.py` asks all of them."""

import jax
import jax.numpy as jnp
import pytest
from flax import linen as nn

from zoo.layers.image_input import takes_images


class Net(nn.Module):
    """A convolution and a mean."""

    @takes_images(at_least=8)
    @nn.compact
    def __call__(self, images, *, train=False):
        x = nn.Conv(4, (3, 3), name="stem")(images)
        return nn.Dense(2, name="head")(jnp.mean(x, axis=(1, 2)))


def shape_of_output(shape, dtype=jnp.float32, variables=None):
    images = jax.ShapeDtypeStruct(shape, dtype)
    if variables is None:
        variables = jax.eval_shape(Net().init, jax.random.key(0), images)
    return jax.eval_shape(Net().apply, variables, images).shape


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
def test_floating_point_images_of_any_channels(dtype):
    for channels in (1, 3, 13):
        assert shape_of_output((2, 8, 9, channels), dtype) == (2, 2)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((224, 224, 3), r"\[batch, height, width, channels\].*\[224, 224, 3\].*images\[None\]"),
        ((224, 224), r"got 2 axes: \[224, 224\]"),
        ((2, 3, 224, 224), r"looks like channels first\. images\.transpose\(0, 2, 3, 1\)"),
        ((2, 1, 28, 28), "channels first"),
        ((2, 7, 8, 3), "Net takes images of at least 8x8 pixels, got 7x8"),
    ],
)
def test_shapes(shape, message):
    with pytest.raises(ValueError, match=message):
        shape_of_output(shape)


@pytest.mark.parametrize("dtype", [jnp.uint8, jnp.int32, jnp.bool_, jnp.complex64])
def test_types(dtype):
    with pytest.raises(ValueError, match=f"got {jnp.dtype(dtype)}. Normalise.*zoo.info"):
        shape_of_output((2, 8, 8, 3), dtype)


@pytest.mark.parametrize(("made_for", "got"), [(3, 1), (1, 3), (13, 4)])
def test_parameters_are_for_a_number_of_channels(made_for, got):
    images = jnp.zeros((1, 8, 8, made_for))
    variables = jax.eval_shape(Net().init, jax.random.key(0), images)
    message = f"parameters of Net are for images of {made_for} channel.*got .2, 8, 8, {got}."
    with pytest.raises(ValueError, match=message):
        shape_of_output((2, 8, 8, got), variables=variables)


def test_other_parameters_that_do_not_fit_keep_the_error_of_flax():
    variables = jax.eval_shape(Net().init, jax.random.key(0), jnp.zeros((1, 8, 8, 3)))
    variables["params"]["head"]["kernel"] = jax.ShapeDtypeStruct((4, 5), jnp.float32)
    with pytest.raises(nn.module.errors.ScopeParamShapeError, match="head"):
        shape_of_output((2, 8, 8, 3), variables=variables)


def test_inside_of_another_module():
    class Outer(nn.Module):
        @nn.compact
        def __call__(self, images):
            return Net(name="backbone")(images)

    images = jnp.zeros((1, 8, 8, 3))
    variables = Outer().init(jax.random.key(0), images)
    with pytest.raises(ValueError, match="for images of 3 channels.*images of 1 channel"):
        Outer().apply(variables, images[..., :1])
