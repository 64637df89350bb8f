"""What every model must do, whatever its family."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import zoo
from train.build import init_eagerly

# The smallest image that a model or all of a family take, where that is not 64 or the model's own.
SIZES = {
    "crossvit": 48,
    "inception_resnet": 75,
    "inception_v3": 75,
    "inception_v4": 75,
    "polynet": 75,
    "vit_h_14": 56,
    "zfnet": 224,
}
# One small variant of each family, for what shapes alone tell; all others behind `-m full`.
DEFAULT = {
    "alexnet_owt",
    "cait_xxs24",
    "convnext_tiny",
    "crossvit_ti",
    "cvt_13",
    "deit_ti_distilled",
    "densenet_40_12_cifar",
    "efficientnet_b0",
    "efficientnet_lite0",
    "googlenet_bn",
    "inception_v2",
    "inception_v3",
    "lenet5",
    "lenet5_1998",
    "localvit_t",
    "lvvit_t",
    "mlp",
    "mobilenet_v1",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "nasnet_mobile",
    "nest_tiny",
    "nin_cifar",
    "preresnet18",
    "pvt_tiny",
    "pvt_v2_b0",
    "regionvit_tiny",
    "regnet_y_400mf",
    "resnet18",
    "resnet20_cifar",
    "resnext50_32x4d",
    "rest_lite",
    "seresnet18",
    "shufflenet_v1_g3_0_5x",
    "shufflenet_v2_x0_5",
    "squeezenet1_1",
    "swin_t",
    "swin_v2_t",
    "t2t_vit_7",
    "tnt_s",
    "twins_svt_s",
    "vgg11_bn",
    "vit_ti_16",
    "wrn_16_8_cifar",
    "xception",
    "zfnet",
}
# Parameters without a gradient, by family: patterns of their paths. Either the reference keeps them
# in its state dict and does not train them, or they are of last blocks that the tokens which are
# classified pass by.
UNTRAINED = {
    "cvt": r"stage3_block(10|16)/attention/q_(conv|norm)/",
    "localvit": r"(block12|stage4_block2)/feed_forward/",
    "regionvit": r"stage4_block2/attention/bias_table$",
    "t2t_vit": r"(.*/|)(pos_embed|random_vectors)$",
}
# Families that end in tokens or vectors; all others end in a map, which is pooled or flattened.
WITHOUT_HEAD_MAP = {
    *(
        "cait",
        "crossvit",
        "cvt",
        "deit",
        "localvit",
        "lvvit",
        "mlp",
        "pvt",
        "t2t_vit",
        "tnt",
        "vit",
    ),
}
# Of these the quick ones to compile, for what has to be computed. (The goldens compile one model of
# every family.)
COMPUTED = {
    "lenet5",
    "mlp",
    "resnet20_cifar",
    "shufflenet_v2_x0_5",
    "vit_ti_16",
}
# Of kinds that differ, and quick to trace.
TRACED = COMPUTED | {"convnext_tiny", "densenet_40_12_cifar", "mobilenet_v2", "swin_t", "vgg11_bn"}


def models(default: set[str]) -> list:
    """All models, those that are not in `default` behind `-m full`."""
    return [
        pytest.param(name, marks=[] if name in default else pytest.mark.full)
        for name in zoo.list_models()
    ]


def image_batch(name: str, batch: int = 2, channels: int | None = None) -> np.ndarray:
    info = zoo.info(name)
    native = name in ("alexnet", "alexnet_one_gpu")
    size = (
        info.image_size
        if native
        else SIZES.get(name, SIZES.get(info.family, min(64, info.image_size)))
    )
    shape = (batch, size, size, channels or info.channels)
    return np.random.RandomState(0).standard_normal(shape).astype(np.float32)


def init(name: str):
    """The model as it is by default, its first variables and images for it."""
    model, images = zoo.create(name), image_batch(name)
    # Few programs serve all models; one for each model would take longer to compile than the rest.
    return model, init_eagerly(lambda: model.init(jax.random.key(0), images)), images


@pytest.fixture(
    scope="module",
    params=[case for case in models(COMPUTED) if case.values[0] in DEFAULT | COMPUTED],
)
def variables_and_images(request):
    """The name and `init` of each model, made at full optimization: much data, few programs."""
    return request.param, *init(request.param)


@pytest.fixture
def initialised(variables_and_images, quick_compilation):
    """The same for programs that run once."""
    return variables_and_images


def gradient_function(name: str, model, images):
    """(variables) -> the gradients of the loss by the parameters, and the collections after it."""

    def gradients(variables):
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
            if "token_logits" in heads:
                auxiliary = jnp.mean(heads["token_logits"][0], axis=(1, 2))
            return -jax.nn.log_softmax(logits + auxiliary)[:, 3].mean(), updates

        return jax.grad(loss, has_aux=True)(variables["params"])

    return gradients


def is_untrained(name: str, path) -> bool:
    key = "/".join(part.key for part in path)
    return bool(re.match(UNTRAINED.get(zoo.info(name).family, "$"), key))


def test_training_step(initialised):
    """Gradients are finite and reach every parameter; only batch_stats change."""
    name, model, variables, images = initialised
    assert set(variables) <= {"params", "batch_stats"}

    gradients = jax.jit(gradient_function(name, model, images))
    grads, updates = gradients(variables)
    for path, gradient in jax.tree_util.tree_leaves_with_path(grads):
        assert jnp.isfinite(gradient).all(), jax.tree_util.keystr(path)
        reached = bool((gradient != 0).any())
        assert reached != is_untrained(name, path), jax.tree_util.keystr(path)
    before, after = variables.get("batch_stats", {}), updates.get("batch_stats", {})
    assert jax.tree.structure(before) == jax.tree.structure(after)
    changed = jax.tree.map(lambda a, b: bool((a != b).any()), before, after)
    assert all(jax.tree.leaves(changed))


def test_features_and_embedding(initialised):
    name, model, variables, images = initialised
    headless = zoo.create(name, num_classes=0)
    wanted = jax.eval_shape(headless.init, jax.random.key(0), images)["params"]

    @jax.jit
    def outputs(variables, images):
        params = {key: variables["params"][key] for key in wanted}
        embedding = headless.apply({**variables, "params": params}, images)
        return zoo.features(model, variables, images), embedding

    features, embedding = outputs(variables, images)
    assert {"stage1", "stage2", "embedding"} <= set(features)
    assert_head_map(name, features)
    np.testing.assert_allclose(embedding, features["embedding"], rtol=1e-5, atol=1e-5)


def assert_head_map(name: str, features: dict) -> None:
    """Every convolutional network has the last map before pooling, and what pools any map too."""
    if zoo.info(name).family not in WITHOUT_HEAD_MAP:
        assert features["head_map"].ndim == 4 and features["head_map"].shape[0] == 2
    else:
        assert "head_map" not in features


OTHERS = [name for name in zoo.list_models() if name not in DEFAULT | COMPUTED]


@pytest.mark.full
@pytest.mark.parametrize("name", OTHERS)
def test_the_program_of_a_training_step(name):
    """As of one variant of the family, but nothing is computed: a gradient that does not reach a
    parameter is a constant of the program. (The goldens compute these variants.)"""
    model, images = zoo.create(name), image_batch(name)
    variables = jax.eval_shape(model.init, jax.random.key(0), images)
    assert set(variables) <= {"params", "batch_stats"}
    step = gradient_function(name, model, images)
    traced, (grads, updates) = jax.make_jaxpr(step, return_shape=True)(variables)
    reached = dependent(traced.jaxpr)
    paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(grads)]
    for path, variable in zip(paths, traced.jaxpr.outvars, strict=False):
        assert variable in reached or is_untrained(name, path), jax.tree_util.keystr(path)
    before, after = variables.get("batch_stats", {}), updates.get("batch_stats", {})
    assert jax.tree.structure(before) == jax.tree.structure(after)
    statistics = traced.jaxpr.outvars[len(paths) :]
    assert not set(statistics) & set(traced.jaxpr.invars) and set(statistics) <= reached


def dependent(jaxpr) -> set:
    """The variables of a program that depend on its inputs."""
    found = set(jaxpr.invars)
    for equation in jaxpr.eqns:
        if found & {x for x in equation.invars if not hasattr(x, "val")}:
            found |= set(equation.outvars)
    return found


@pytest.mark.full
@pytest.mark.parametrize("name", OTHERS)
def test_the_shapes_of_features(name):
    model, images = zoo.create(name), image_batch(name)
    variables = jax.eval_shape(model.init, jax.random.key(0), images)
    features = jax.eval_shape(functools.partial(zoo.features, model), variables, images)
    assert {"stage1", "stage2", "embedding"} <= set(features)
    assert_head_map(name, features)
    headless = zoo.create(name, num_classes=0)
    embedding, wanted = jax.eval_shape(headless.init_with_output, jax.random.key(0), images)
    assert embedding.shape == features["embedding"].shape
    paths = [jax.tree_util.tree_leaves_with_path(x["params"]) for x in (wanted, variables)]
    assert {str(p) for p, _ in paths[0]} < {str(p) for p, _ in paths[1]}


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


@pytest.mark.parametrize("name", models(TRACED))
def test_another_type_other_channels_other_classes(name):
    """In bfloat16 parameters and logits stay float32; parameters are of one count of channels."""
    native = zoo.info(name).channels
    channels = 4 - native  # 1 for colour models, 3 for grey ones
    model = zoo.create(name, dtype=jnp.bfloat16, num_classes=7)
    images = image_batch(name, channels=channels)
    logits, variables = jax.eval_shape(model.init_with_output, jax.random.key(0), images)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    assert logits.shape == (2, 7) and logits.dtype == jnp.float32
    with pytest.raises(ValueError, match=f"are for images of {channels} channel"):
        jax.eval_shape(model.apply, variables, image_batch(name, channels=native))


@pytest.mark.parametrize(
    "name", ["lenet5", "lenet5_1998", pytest.param("resnet18", marks=pytest.mark.full)]
)
def test_bfloat16_is_near(name):
    exact_model, variables, images = init(name)
    model = zoo.create(name, dtype=jnp.bfloat16)
    logits, exact = (jax.jit(m.apply)(variables, images) for m in (model, exact_model))
    error = float(jnp.abs(logits - exact).max())
    assert 0 < error < 0.1 * float(jnp.abs(exact).max())


@pytest.mark.parametrize("name", models(COMPUTED))
def test_a_batch_without_images_has_no_logits(name):
    model, images = zoo.create(name), image_batch(name, batch=1)
    variables = jax.eval_shape(model.init, jax.random.key(0), images)
    logits = jax.eval_shape(model.apply, variables, images[:0])
    assert logits.shape == (0, model.num_classes)
    with pytest.raises(ValueError, match="cannot train on a batch without images"):
        jax.eval_shape(functools.partial(model.apply, train=True), variables, images[:0])


def init_error(name: str, shape: tuple[int, ...], dtype=jnp.float32) -> str:
    images = jax.ShapeDtypeStruct(shape, dtype)
    with pytest.raises(ValueError) as error:
        jax.eval_shape(zoo.create(name).init, jax.random.key(0), images)
    return str(error.value)


@pytest.mark.parametrize("name", models(DEFAULT))
def test_images_that_no_model_takes(name):
    """Integers, one image alone, channels first."""
    size, channels = zoo.info(name).image_size, zoo.info(name).channels
    integers = init_error(name, (2, size, size, channels), jnp.uint8)
    assert re.search("takes floating-point images, got uint8. Normalise", integers)
    assert "images[None]" in init_error(name, (size, size, channels))
    assert "channels first" in init_error(name, (2, channels, size, size))


@pytest.mark.parametrize(("name", "size"), [("vgg11", 32), ("nasnet_mobile", 32)])
def test_images_too_small(name, size):
    assert f"takes images of at least {size}x{size} pixels" in init_error(name, (1, 16, 16, 3))


@pytest.mark.parametrize("name", models(DEFAULT))
def test_the_smallest_image_is_taken_or_refused_with_a_reason(name):
    """Never a riddle, nor an empty array, whose mean is not a number."""
    model, channels = zoo.create(name), zoo.info(name).channels

    def outputs(key, images):
        logits, state = model.init_with_output(key, images, mutable=True)
        return logits, state["intermediates"]

    image = jax.ShapeDtypeStruct((1, 1, 1, channels), jnp.float32)
    try:
        shapes = jax.eval_shape(outputs, jax.random.key(0), image)
    except ValueError as error:
        assert re.search("takes (square )?images .* got 1x1", str(error))
    else:
        assert all(leaf.size for leaf in jax.tree.leaves(shapes))


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("lenet5", "32x32"),
        ("lenet5_1998", "32x32"),
        ("alexnet", "227x227"),
        ("inception_v2", "224x224"),
        ("inception_v3", "75x75"),
        ("polynet", "75x75"),
        ("zfnet", "224x224"),
    ],
)
def test_wrong_size_names_the_sizes_that_work(name, sizes):
    model = zoo.create(name)
    with pytest.raises(ValueError, match=f"{sizes} pixels.*, got 50x50"):
        jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 50, 50, 3)))


@pytest.mark.parametrize(
    "name",
    ["alexnet_owt", "efficientnet_lite0", "googlenet", "inception_v3", "nin", "resnet18", "vgg11"],
)
def test_other_image_sizes(name):
    """The same parameters take any size, also one that is not square."""
    model = zoo.create(name)
    variables = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 224, 224, 3)))
    for size in [(96, 96), (288, 200)]:
        images = jax.ShapeDtypeStruct((1, *size, 3), jnp.float32)
        assert jax.eval_shape(model.apply, variables, images).shape == (1, 1000)
