import platform
import sys
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from zoo import macs
from zoo.kernels import extension, onednn
from zoo.kernels.conv import conv
from zoo.layers.conv import Conv


@pytest.fixture(params=["oneDNN", "oneDNN in parts", "XLA alone"])
def form(request, monkeypatch):
    """The ways in which CPU runs convolutions."""
    if request.param == "XLA alone":
        monkeypatch.setattr(onednn, "available", lambda: False)
    elif onednn.available():
        cores = 4 if "parts" in request.param else 3  # no batch here can be cut in three
        monkeypatch.setattr(onednn, "cores", lambda: cores)
        monkeypatch.setattr(onednn, "FEWEST_PRODUCTS", 0)
    jax.clear_caches()
    yield request.param
    jax.clear_caches()


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
    "depthwise, seven columns": (24, 24, (7, 7), 1, 3, 24),
    "depthwise, six columns, SAME": (24, 24, (3, 6), 1, "SAME", 24),
    "depthwise, five columns, VALID": (24, 24, (2, 5), 1, "VALID", 24),
    "depthwise, five columns, strided": (24, 24, (5, 5), 2, 2, 24),
    "depthwise, more columns than the image": (8, 8, (3, 19), 1, 9, 8),
    "two groups": (48, 64, (5, 5), 1, 2, 2),
    "many groups": (64, 32, (3, 3), 2, 1, 16),
    "groups that do not merge evenly": (36, 36, (3, 3), 1, 1, 9),
    "dense": (32, 32, (3, 3), 1, 1, 1),
}


def layer_of(case: str, kind: type[nn.Module]) -> nn.Module:
    _, features, size, strides, padding, groups = CASES[case]
    settings = dict(strides=strides, padding=padding, feature_group_count=groups)
    return kind(features=features, kernel_size=size, **settings)


def value_and_gradients(layer, variables, images):
    def loss(variables, images):
        out = layer.apply(variables, images)
        return jnp.sum(jnp.sin(out)), out

    gradients = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)
    return jax.tree.map(np.asarray, jax.jit(gradients)(variables, images))


@cache
def by_flax(case: str):
    """Images and parameters of a case, and what Flax's own layer makes of them."""
    shape = (4, 13, 11, CASES[case][0])
    images = np.random.RandomState(0).standard_normal(shape).astype(np.float32)
    layer = layer_of(case, nn.Conv)
    variables = layer.init(jax.random.key(0), images)
    count = macs.count(layer.apply, variables, images)
    return images, variables, value_and_gradients(layer, variables, images), count


@pytest.mark.parametrize("case", CASES)
def test_equals_the_native_convolution(case, form, quick_compilation):
    """Same parameters, output and gradients as nn.Conv, and the same count of multiply-adds."""
    images, variables, expected, count = by_flax(case)
    layer = layer_of(case, Conv)
    shapes = jax.eval_shape(layer.init, jax.random.key(0), images)
    assert jax.tree.map(jnp.shape, shapes) == jax.tree.map(jnp.shape, variables)
    close = partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-4)
    jax.tree.map(close, value_and_gradients(layer, variables, images), expected)
    assert macs.count(layer.apply, variables, images) == count


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


@pytest.mark.quick
def test_onednn_is_used_where_its_package_exists(form):
    """On Linux and x86-64 it is a requirement of the project; elsewhere XLA does the work."""
    text = jax.jit(three).lower(IMAGES, KERNEL).as_text()
    is_there = sys.platform == "linux" and platform.machine() == "x86_64"
    assert (extension.ONEDNN in text) == (is_there and form != "XLA alone")


IMAGES = np.random.RandomState(0).standard_normal((16, 9, 9, 8)).astype(np.float32)
KERNEL = np.random.RandomState(1).standard_normal((3, 3, 4, 8)).astype(np.float32) / 6


def three(images, kernel, form=conv):
    """Two groups, stride 2; three of them, so that second derivatives are not zero."""
    for _ in range(3):
        settings = dict(feature_group_count=2, dimension_numbers=("NHWC", "HWIO", "NHWC"))
        images = jnp.sin(form(images, kernel, (2, 2), ((1, 1), (1, 1)), **settings))
    return images


native = partial(three, form=jax.lax.conv_general_dilated)


def test_derivatives_of_second_order(form):
    def hessian_product(function):
        def gradient(kernel):
            return jax.grad(lambda k: function(IMAGES, k).sum())(kernel)

        return jax.jit(lambda: jax.jvp(gradient, (KERNEL,), (KERNEL,)))()

    for ours, expected in zip(hessian_product(three), hessian_product(native), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.quick
def test_vmap_and_scan(form):
    stacked = np.stack([KERNEL, 2 * KERNEL])
    ours = jax.jit(jax.vmap(three, (None, 0)))(IMAGES, stacked)
    expected = jax.vmap(native, (None, 0))(IMAGES, stacked)
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)
    _, scanned = jax.jit(lambda k: jax.lax.scan(lambda c, k: (c, three(IMAGES, k)), 0, k))(stacked)
    np.testing.assert_allclose(scanned, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("check", [True, False])
def test_one_program_a_device_under_shard_map(form, check):
    mesh = Mesh(np.array(jax.devices()[:4]), ("data",))
    spec = PartitionSpec("data")
    sharded = jax.shard_map(
        three, mesh=mesh, in_specs=(spec, PartitionSpec()), out_specs=spec, check_vma=check
    )
    np.testing.assert_allclose(
        jax.jit(sharded)(IMAGES, KERNEL), native(IMAGES, KERNEL), rtol=1e-4, atol=1e-5
    )
    if check:
        gradient = jax.jit(jax.grad(lambda k: sharded(IMAGES, k).sum()))(KERNEL)
        expected = jax.grad(lambda k: native(IMAGES, k).sum())(KERNEL)
        np.testing.assert_allclose(gradient, expected, rtol=1e-3, atol=1e-4)


def test_split_over_devices_by_the_compiler(form):
    """There XLA's own operations are used, which it knows how to split."""
    mesh = Mesh(np.array(jax.devices()[:4]), ("data",))
    images = jax.device_put(IMAGES, NamedSharding(mesh, PartitionSpec("data")))
    compiled = jax.jit(three).lower(images, KERNEL).compile()
    assert extension.ONEDNN not in compiled.as_text()
    assert "all-gather" not in compiled.as_text()
    np.testing.assert_allclose(
        compiled(images, KERNEL), native(IMAGES, KERNEL), rtol=1e-4, atol=1e-5
    )


def test_float64_is_exact(form):
    with jax.enable_x64(True):
        ours = jax.jit(three)(IMAGES.astype(np.float64), KERNEL.astype(np.float64))
        expected = native(IMAGES.astype(np.float64), KERNEL.astype(np.float64))
    assert ours.dtype == np.float64
    np.testing.assert_allclose(ours, expected, rtol=1e-12)


def test_from_several_threads_at_once(form):
    """The results are, to the bit, those of one after the other."""
    from concurrent.futures import ThreadPoolExecutor

    inputs = [IMAGES * scale for scale in range(1, 9)]
    compiled = jax.jit(jax.grad(lambda images, kernel: three(images, kernel).sum(), argnums=1))
    expected = [np.asarray(compiled(images, KERNEL)) for images in inputs]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(20):
            results = pool.map(lambda images: np.asarray(compiled(images, KERNEL)), inputs)
            for ours, wanted in zip(results, expected, strict=True):
                np.testing.assert_array_equal(ours, wanted)


def test_channels_that_do_not_fit_are_an_error():
    with pytest.raises(ValueError, match="does not fit images of 8 channels"):
        conv(IMAGES, KERNEL, (1, 1), "SAME")
