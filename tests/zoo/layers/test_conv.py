import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from zoo import macs
from zoo.layers.conv import Conv

# channels, features, size, strides, padding, groups
CASES = {
    "few channels": (3, 8, (7, 7), 2, 3, 1),
    "few channels, asymmetric SAME": (1, 6, (5, 5), 2, "SAME", 1),
    "few channels, VALID": (6, 16, (5, 5), 1, "VALID", 1),
    "oblong": (4, 8, (1, 7), 1, "SAME", 1),
    "pointwise": (32, 24, (1, 1), 1, 0, 1),
    "pointwise, strided": (32, 24, (1, 1), 2, 0, 1),
    "depthwise": (24, 24, (3, 3), 1, 1, 24),
    "depthwise, strided": (24, 24, (3, 3), 2, 1, 24),
    "depthwise, SAME": (24, 24, (5, 5), 2, "SAME", 24),
    "depthwise with multiplier": (8, 16, (3, 3), 1, 1, 8),
    "two groups": (48, 64, (5, 5), 1, 2, 2),
    "many groups": (64, 32, (3, 3), 2, 1, 16),
    "groups that do not merge evenly": (36, 36, (3, 3), 1, 1, 9),
    "dense": (32, 32, (3, 3), 1, 1, 1),
}


@pytest.mark.parametrize("case", CASES)
def test_equals_the_native_convolution(case):
    """Same parameters, output and gradients as nn.Conv, and the same count of multiply-adds."""
    channels, features, size, strides, padding, groups = CASES[case]
    settings = dict(
        features=features,
        kernel_size=size,
        strides=strides,
        padding=padding,
        feature_group_count=groups,
    )
    ours, native = Conv(**settings), nn.Conv(**settings)
    images = np.random.RandomState(0).standard_normal((2, 13, 11, channels)).astype(np.float32)
    variables = native.init(jax.random.key(0), images)
    assert jax.tree.map(jnp.shape, ours.init(jax.random.key(0), images)) == jax.tree.map(
        jnp.shape, variables
    )

    def value_and_gradients(layer):
        def loss(variables, images):
            out = layer.apply(variables, images)
            return jnp.sum(jnp.sin(out)), out

        return jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))(variables, images)

    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4),
        value_and_gradients(ours),
        value_and_gradients(native),
    )
    assert macs.count(ours.apply, variables, images) == macs.count(native.apply, variables, images)


def test_bfloat16():
    images = np.random.RandomState(0).standard_normal((2, 8, 8, 16)).astype(np.float32)
    for groups in (1, 4, 16):
        layer = Conv(16, (3, 3), feature_group_count=groups, dtype=jnp.bfloat16)
        variables = layer.init(jax.random.key(0), images)
        out = jax.jit(layer.apply)(variables, images)
        native = nn.Conv(16, (3, 3), feature_group_count=groups).apply(variables, images)
        assert out.dtype == jnp.bfloat16
        np.testing.assert_allclose(out.astype(np.float32), native, atol=0.05)


def test_dilated_convolutions_stay_native():
    images = np.random.RandomState(0).standard_normal((1, 9, 9, 4)).astype(np.float32)
    settings = dict(features=4, kernel_size=(3, 3), kernel_dilation=2, feature_group_count=4)
    variables = nn.Conv(**settings).init(jax.random.key(0), images)
    np.testing.assert_allclose(
        Conv(**settings).apply(variables, images),
        nn.Conv(**settings).apply(variables, images),
        rtol=1e-5,
    )


@pytest.mark.parametrize("platform", ["tpu", "cuda"])
def test_accelerators_keep_the_native_convolution(platform):
    """Lowered for an accelerator the program holds one grouped convolution and no other product."""
    layer = Conv(64, (3, 3), feature_group_count=64)
    images = jnp.zeros((1, 8, 8, 64))
    variables = layer.init(jax.random.key(0), images)
    text = (
        jax.jit(layer.apply)
        .trace(variables, images)
        .lower(lowering_platforms=(platform,))
        .as_text()
    )
    assert text.count("stablehlo.convolution") == 1
    assert "feature_group_count = 64" in text
    text = (
        jax.jit(layer.apply).trace(variables, images).lower(lowering_platforms=("cpu",)).as_text()
    )
    assert "stablehlo.convolution" not in text
