"""What every model must do, whatever its family."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import zoo

# The smallest of each family, at the smallest image that all its layers take.
SIZES = {"alexnet": 227, "lenet": 32, "mlp": 28}
DEFAULT = {"alexnet_owt", "lenet5", "lenet5_1998", "mlp", "resnet18", "vgg11_bn"} | {
    *("densenet_40_12_cifar", "squeezenet1_1", "xception"),
    *("mobilenet_v1", "mobilenet_v2", "mobilenet_v3_small"),
    *("shufflenet_v1_g3_0_5x", "shufflenet_v2_x0_5"),
SIZES = {
    **{"alexnet": 227, "inception_resnet": 75, "inception_v3": 75, "inception_v4": 75},
    **{"lenet": 32, "mlp": 28, "polynet": 75, "zfnet": 224},
}
DEFAULT = {
    *("alexnet_owt", "googlenet_bn", "lenet5", "lenet5_1998", "mlp", "nin_cifar"),
    *("resnet18", "vgg11_bn"),
DEFAULT = {
    *("alexnet_owt", "lenet5", "lenet5_1998", "mlp", "resnet18", "vgg11_bn"),
    *("preresnet18", "resnet20_cifar", "resnext50_32x4d", "seresnet18", "wrn_16_8_cifar"),
DEFAULT = {
    *("alexnet_owt", "lenet5", "lenet5_1998", "mlp", "resnet18", "vgg11_bn"),
    *("efficientnet_b0", "regnet_y_400mf"),
}
MODELS = [
    pytest.param(name, marks=[] if name in DEFAULT else pytest.mark.full)
    for name in zoo.list_models()
]


def image_batch(name: str, batch: int = 2, channels: int | None = None) -> np.ndarray:
    info = zoo.info(name)
    size = SIZES.get(info.family, min(64, info.image_size))
    size = (
        info.image_size if name == "alexnet" else SIZES.get(info.family, min(64, info.image_size))
    )
    size = 227 if name == "alexnet_one_gpu" else 64 if name == "alexnet_owt" else size
    shape = (batch, size, size, channels or info.channels)
    return np.random.RandomState(0).standard_normal(shape).astype(np.float32)


@functools.lru_cache(maxsize=1)
def init(name: str):
    """The model as it is by default, its first variables and images for it."""
    model, images = zoo.create(name), image_batch(name)
    return model, jax.jit(model.init)(jax.random.key(0), images), images


@pytest.mark.parametrize("name", MODELS)
def test_training_step(name):
    """Gradients are finite and reach every parameter; only batch_stats change."""
    model, variables, images = init(name)
    assert set(variables) <= {"params", "batch_stats"}

    @jax.jit
    def gradients(params):
        def loss(params):
            logits, updates = model.apply(
                {**variables, "params": params},
                images,
                train=True,
                mutable=["batch_stats", "intermediates"],
                rngs={"dropout": jax.random.key(1)},
            )
            heads = updates.pop("intermediates")
            auxiliary = sum(heads[name][0] for name in heads if name in ("aux", "aux1", "aux2"))
            return -jax.nn.log_softmax(logits + auxiliary)[:, 3].mean(), updates

        return jax.grad(loss, has_aux=True)(params)

    grads, updates = gradients(variables["params"])
    for path, gradient in jax.tree_util.tree_leaves_with_path(grads):
        assert jnp.isfinite(gradient).all(), jax.tree_util.keystr(path)
        assert (gradient != 0).any(), f"no gradient reaches {jax.tree_util.keystr(path)}"
    before, after = variables.get("batch_stats", {}), updates.get("batch_stats", {})
    assert jax.tree.structure(before) == jax.tree.structure(after)
    changed = jax.tree.map(lambda a, b: bool((a != b).any()), before, after)
    assert all(jax.tree.leaves(changed))


@pytest.mark.parametrize("name", MODELS)
def test_features_and_embedding(name):
    model, variables, images = init(name)
    features = jax.jit(lambda v, x: zoo.features(model, v, x))(variables, images)
    assert {"stage1", "stage2", "embedding"} <= set(features)
    headless = zoo.create(name, num_classes=0)
    params = {k: v for k, v in variables["params"].items() if k != "head"}
    embedding = jax.jit(headless.apply)({**variables, "params": params}, images)
    np.testing.assert_allclose(embedding, features["embedding"], rtol=1e-5, atol=1e-5)


def test_features_by_name():
    model, variables, images = init("lenet5")
    stages = zoo.features(model, variables, images, at=["stage2", "stage1"])
    assert {name: value.shape for name, value in stages.items()} == {
        "stage1": (2, 14, 14, 6),
        "stage2": (2, 5, 5, 16),
    }
    one = zoo.features(model, variables, images, at="stage2")
    np.testing.assert_array_equal(one, stages["stage2"])
    with pytest.raises(ValueError, match="no output stage99.*stage1"):
        zoo.features(model, variables, images, at=["stage1", "stage99"])


@pytest.mark.parametrize("name", MODELS)
def test_bfloat16_keeps_parameters_and_logits_in_float32(name):
    exact_model, variables, images = init(name)
    model = zoo.create(name, dtype=jnp.bfloat16)
    shapes = jax.eval_shape(model.init, jax.random.key(0), images)
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {jnp.dtype("float32")}
    logits = jax.jit(model.apply)(variables, images)
    exact = jax.jit(exact_model.apply)(variables, images)
    assert logits.dtype == jnp.float32
    scale = max(1e-3, float(jnp.abs(exact).max()))
    assert float(jnp.abs(logits - exact).max()) < 0.1 * scale
    assert float(jnp.abs(logits - exact).max()) > 0  # it did compute in another precision


@pytest.mark.parametrize("name", MODELS)
def test_other_channels_and_classes(name):
    channels = 4 - zoo.info(name).channels  # 1 for colour models, 3 for grey ones
    images = image_batch(name, channels=channels)
    model = zoo.create(name, num_classes=7)
    assert jax.eval_shape(
        model.apply, jax.eval_shape(model.init, jax.random.key(0), images), images
    ).shape == (2, 7)


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        *(("lenet5", "32x32"), ("lenet5_1998", "32x32"), ("alexnet", "227x227")),
        *(
            ("inception_v2", "224x224"),
            ("inception_v3", "75x75"),
            ("polynet", "75x75"),
            ("zfnet", "224x224"),
        ),
    ],
)
def test_wrong_size_names_the_sizes_that_work(name, sizes):
    model = zoo.create(name)
    with pytest.raises(ValueError, match=f"{sizes} pixels.*, got 50x50"):
        jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 50, 50, 3)))


@pytest.mark.parametrize(
    "name", ["alexnet_owt", "googlenet", "inception_v3", "nin", "resnet18", "vgg11"]
)
@pytest.mark.parametrize("name", ["resnet18", "vgg11", "alexnet_owt", "efficientnet_lite0"])
def test_other_image_sizes(name):
    """The same parameters take any size, also one that is not square."""
    model = zoo.create(name)
    variables = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 224, 224, 3)))
    for size in [(96, 96), (288, 200)]:
        images = jax.ShapeDtypeStruct((1, *size, 3), jnp.float32)
        assert jax.eval_shape(model.apply, variables, images).shape == (1, 1000)
