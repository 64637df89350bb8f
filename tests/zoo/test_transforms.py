"""Every family under JAX's transformations: the table of what works, in somebody's own program.

Each case runs a model at inference and checks its logits against those of a plain call. What takes
a model of full depth only longer runs on a shallow one. All families are behind `-m soak`: it is
over half an hour, and goes on where it was stopped.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from test_models import DEFAULT, image_batch

import zoo

MODELS = [
    pytest.param(name, marks=[] if name == "lenet5" else pytest.mark.soak)
    for name in sorted(DEFAULT)
]
BATCH = 8
DATA = PartitionSpec("data")
DEVICES = np.array(jax.devices()[:4])


def shallow(name: str, **overrides):
    """The model with one block a stage where its depth is an attribute."""
    depths = getattr(zoo.create(name), "depths", None)
    if depths is not None and name.split("_")[0] in ("resnet18", "swin", "cvt", "convnext", "pvt"):
        overrides["depths"] = (1,) * len(depths)
    return zoo.create(name, **overrides)


@pytest.fixture(scope="module")
def cases():
    """The model, its variables, images and logits, by name; made once."""
    made = {}

    def make(name: str):
        if name not in made:
            model, images = shallow(name), jnp.asarray(image_batch(name, BATCH))
            variables = jax.jit(model.init)(jax.random.key(0), images[:1])
            logits = np.asarray(jax.jit(model.apply)(variables, images))
            made[name] = model, variables, images, logits
        return made[name]

    return make


@pytest.fixture(autouse=True)
def few_optimizations(quick_compilation):
    pass


def shard_map(model, variables, images):
    mapped = jax.shard_map(
        model.apply, mesh=Mesh(DEVICES, "data"), in_specs=(PartitionSpec(), DATA), out_specs=DATA
    )
    return jax.jit(mapped)(variables, images)


def pmap(model, variables, images):
    shards = images.reshape(4, -1, *images.shape[1:])
    return jax.pmap(model.apply, in_axes=(None, 0))(variables, shards).reshape(BATCH, -1)


def automatic_mesh(model, variables, images):
    images = jax.device_put(images, NamedSharding(Mesh(DEVICES, "data"), DATA))
    return jax.jit(model.apply)(variables, images)


def explicit_mesh(model, variables, images):
    mesh = jax.make_mesh((4,), ("data",), (AxisType.Explicit,), devices=list(DEVICES))
    with jax.set_mesh(mesh):
        variables = jax.device_put(variables, NamedSharding(mesh, PartitionSpec()))
        images = jax.device_put(images, NamedSharding(mesh, DATA))
        logits = jax.jit(model.apply)(variables, images)
        assert jax.typeof(logits).sharding.spec[0] == "data"
        return np.asarray(logits)


def automatic_axes_on_an_explicit_mesh(model, variables, images):
    """What works for everything on such a mesh, training with dropout too."""
    mesh = jax.make_mesh((4,), ("data",), (AxisType.Explicit,), devices=list(DEVICES))
    with jax.set_mesh(mesh):
        variables = jax.device_put(variables, NamedSharding(mesh, PartitionSpec()))
        images = jax.device_put(images, NamedSharding(mesh, DATA))
        apply = jax.sharding.auto_axes(model.apply, axes="data", out_sharding=DATA)
        return np.asarray(jax.jit(apply)(variables, images))


def vmap(model, variables, images):
    shards = images.reshape(2, -1, *images.shape[1:])
    return jax.jit(jax.vmap(model.apply, (None, 0)))(variables, shards).reshape(BATCH, -1)


def vmap_over_variables(model, variables, images):
    pair = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), variables)
    return jax.jit(jax.vmap(model.apply, (0, None)))(pair, images)[1]


def scan(model, variables, images):
    shards = images.reshape(2, -1, *images.shape[1:])
    body = jax.jit(lambda v, x: jax.lax.scan(lambda _, x: (None, model.apply(v, x)), None, x)[1])
    return body(variables, shards).reshape(BATCH, -1)


def checkpoint(model, variables, images):
    return jax.jit(jax.checkpoint(model.apply))(variables, images)


def jvp(model, variables, images):
    logits, _ = jax.jit(lambda x: jax.jvp(lambda x: model.apply(variables, x), (x,), (x,)))(images)
    return logits


TRANSFORMS = [
    *(shard_map, pmap, automatic_mesh, explicit_mesh, automatic_axes_on_an_explicit_mesh),
    *(vmap, vmap_over_variables, scan, checkpoint, jvp),
]


# Windows, masks and tables of biases; by default under the transformations that differ in kind.
QUICK = {("lenet5", transform) for transform in TRANSFORMS}
QUICK |= {("swin_t", checkpoint)}


@pytest.mark.parametrize(
    ("name", "transform"),
    [
        pytest.param(
            *case,
            marks=[] if case in QUICK else pytest.mark.soak,
            id=f"{case[0]}-{case[1].__name__}",
        )
        for case in itertools.product(sorted(DEFAULT), TRANSFORMS)
    ],
)
def test_logits_stay_the_same(name, transform, cases):
    model, variables, images, expected = cases(name)
    logits = np.asarray(transform(model, variables, images))
    np.testing.assert_allclose(logits, expected, atol=1e-4 * expected.std(), rtol=1e-4)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name in ("lenet5", "vit_ti_16") else pytest.mark.soak)
        for name in sorted({*DEFAULT, "vit_ti_16"})
    ],
)
def test_gradients_on_an_explicit_mesh(name):
    """Shapes and shardings alone, which is where such a mesh fails; no `jax.set_mesh` around it."""
    mesh = jax.make_mesh((4,), ("data",), (AxisType.Explicit,), devices=list(DEVICES))
    model = shallow(name)
    images = jax.ShapeDtypeStruct(image_batch(name, BATCH).shape, jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), images)

    def put(tree, spec):
        sharding = NamedSharding(mesh, spec)
        return jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree
        )

    def total(variables, images):
        key = jax.random.key(1)
        collections = ["batch_stats"]
        out, _ = model.apply(
            variables, images, train=True, mutable=collections, rngs={"dropout": key}
        )
        return sum(x.sum() for x in jax.tree.leaves(out))

    arguments = put(variables, PartitionSpec()), put(images, DATA)
    gradients = jax.eval_shape(jax.grad(total, allow_int=True), *arguments)
    assert jax.tree.map(jnp.shape, gradients) == jax.tree.map(jnp.shape, variables)


@pytest.mark.full
def test_without_jit(cases):
    """Each operation by itself, as a debugger wants it."""
    model, variables, images, expected = cases("lenet5")
    with jax.disable_jit():
        logits = np.asarray(model.apply(variables, images))
        gradient = jax.grad(lambda x: model.apply(variables, x).sum())(images)
    np.testing.assert_allclose(logits, expected, atol=1e-5)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("name", MODELS)
def test_hessian_vector_products(name, cases):
    """Second derivatives agree with the difference of first ones."""
    with jax.enable_x64(True):
        model = shallow(name, dtype=jnp.float64)
        _, variables, images, _ = cases(name)
        variables = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), variables)
        images = np.asarray(images[:1], np.float64)

        def gradient(x):
            return jax.grad(lambda x: jnp.sum(jnp.tanh(model.apply(variables, x))))(x)

        direction = np.random.RandomState(0).standard_normal(images.shape)
        product = jax.jit(lambda x, v: jax.jvp(gradient, (x,), (v,))[1])(images, direction)
        step = 1e-6
        up, down = (jax.jit(gradient)(images + sign * step * direction) for sign in (1, -1))
        expected = np.asarray(up - down) / (2 * step)
        scale = np.abs(expected).max()
        # ReLU's and maxima's kinks, where a difference and a derivative differ, are few.
        differs = np.abs(np.asarray(product) - expected) > 1e-3 * scale
        assert scale > 0 and differs.mean() < 0.02


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64"])
@pytest.mark.parametrize("name", MODELS)
def test_dtypes(name, dtype, cases):
    """Forward and backward in each; logits stay float32 or wider."""
    _, variables, images, expected = cases(name)
    with jax.enable_x64(dtype == "float64"):
        model = shallow(name, dtype=jnp.dtype(dtype))
        images = jnp.asarray(images, dtype)

        @jax.jit
        def both(images):
            def total(images):
                logits = model.apply(variables, images)
                return logits.sum(), logits

            return jax.value_and_grad(total, has_aux=True)(images)

        (_, logits), gradient = both(images)
    assert logits.dtype == ("float64" if dtype == "float64" else "float32")
    assert gradient.dtype == dtype
    assert np.isfinite(np.asarray(gradient, np.float32)).all()
    error = np.abs(np.asarray(logits, np.float64) - expected).max() / expected.std()
    assert error < {"bfloat16": 0.5, "float16": 0.1, "float64": 1e-3}[dtype]
