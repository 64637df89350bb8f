"""The layer table that every course shows, and why the filters are small."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

import zoo
from zoo import registry, summary

# Configuration D: pixels, features, parameters of each convolution.
TABLE = [
    (224, 64, 1_792),
    (224, 64, 36_928),
    (112, 128, 73_856),
    (112, 128, 147_584),
    (56, 256, 295_168),
    (56, 256, 590_080),
    (56, 256, 590_080),
    (28, 512, 1_180_160),
    (28, 512, 2_359_808),
    (28, 512, 2_359_808),
    (14, 512, 2_359_808),
    (14, 512, 2_359_808),
    (14, 512, 2_359_808),
]


def test_layers_of_vgg_16():
    layers = summary.layers("vgg16")
    convolutions, dense = layers[:13], layers[13:]
    assert [(conv.shape[0], conv.shape[2], conv.num_params) for conv in convolutions] == TABLE
    assert [layer.num_params for layer in dense] == [102_764_544, 16_781_312, 4_097_000]
    assert dense[0].macs == 7 * 7 * 512 * 4096 == 102_760_448  # without biases
    assert sum(layer.num_params for layer in layers) == 138_357_544


def test_activations_of_vgg_16():
    """15.2 M values, 61 MB in float32, for one image. (Courses print 24 M, 96 MB, over the same
    rows; the rows add up to 15.2 M.)"""
    model, image = zoo.create("vgg16"), jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
    variables = registry.abstract_variables("vgg16")
    features = jax.eval_shape(partial(zoo.features, model), variables, image)
    pooled = sum(math.prod(features[f"stage{i}"].shape) for i in range(1, 6))
    layers = sum(math.prod(layer.shape) for layer in summary.layers("vgg16"))
    assert image.size + layers + pooled == 15_237_608


def test_three_3x3_convolutions_see_what_one_7x7_sees():
    """The same 7x7 pixels, for 27 C^2 weights instead of 49 C^2."""
    channels = 4
    ones = jnp.ones((3, 3, channels, channels))

    def three(image):
        for _ in range(3):
            image = jax.lax.conv_general_dilated(
                image, ones, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
            )
        return image[0, 8, 8, 0]

    seen = jax.grad(three)(jnp.ones((1, 17, 17, channels)))[0, :, :, 0] != 0
    window = np.zeros((17, 17), bool)
    window[5:12, 5:12] = True
    np.testing.assert_array_equal(seen, window)
    weights = summary.layers("vgg16")[5:7]  # two of stage 3: 256 -> 256
    assert sum(layer.num_params - 256 for layer in weights) * 3 // 2 == 27 * 256**2 < 49 * 256**2


def test_a_sliding_head_has_the_same_parameters():
    shapes = [
        jax.eval_shape(
            zoo.create("vgg11", fully_convolutional=sliding).init,
            jax.eval_shape(lambda: jax.random.key(0)),
            jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32),
        )
        for sliding in (False, True)
    ]
    assert shapes[0] == shapes[1]
    images = jax.ShapeDtypeStruct((2, 256, 288, 3), jnp.float32)
    model = zoo.create("vgg11", fully_convolutional=True)
    assert jax.eval_shape(model.apply, shapes[0], images).shape == (2, 2, 3, 1000)
