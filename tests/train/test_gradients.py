"""Gradients of a batch in parts, and SAM's."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import zoo
from train import step
from train.build import initial_state, state_shapes
from train.gradients import accumulated, ascent, sharpness_aware
from train.sharding import make_mesh

SMALL = {
    "mlp": {},
    "lenet5": {},
    "squeezenet1_1": {"dropout": 0.0},
    "deit_ti": {"depth": 2},
    "convnext_tiny": {"depths": (1, 1, 1, 1)},
}
QUICK = ("mlp",)  # the others compile for up to half a minute


def make_task(name, devices=1, **settings):
    model, info = zoo.create(name, num_classes=10), zoo.info(name)
    model = model.clone(**SMALL[name])
    size = info.image_size if info.channels == 1 else 32
    schedule = optax.constant_schedule(0.1)
    return step.Task(
        model=model,
        optimizer=optax.sgd(schedule),
        schedule=schedule,
        augment=lambda key, images: images.astype(jnp.float32) / 255 - 0.5,
        normalize=lambda images: images.astype(jnp.float32) / 255 - 0.5,
        image_shape=(size, size, info.channels),
        mesh=make_mesh(devices, 1),
        **settings,
    )


def batch_of(task, size=16):
    random = np.random.RandomState(3)
    images = random.randint(0, 256, (size, *task.image_shape), dtype=np.uint8)
    return {"image": images, "label": random.randint(0, 10, size).astype(np.int32)}


@pytest.mark.parametrize(
    "name", [pytest.param(x, marks=[] if x in QUICK else pytest.mark.full) for x in SMALL]
)
@pytest.mark.usefixtures("quick_compilation")
def test_parts_have_the_gradient_of_the_batch(name):
    task = make_task(name)
    params = initial_state(task, state_shapes(task)).params
    batch = batch_of(task)
    images, key = task.normalize(jnp.asarray(batch["image"])), jax.random.key(0)

    def gradient(parts):
        compute = accumulated(partial(step.gradients_and_metrics, task), parts)
        found, stats, metrics = jax.jit(compute)(params, {}, images, batch["label"], None, key)
        assert not stats
        return found, metrics

    (whole, metrics), (parts, metrics_of_parts) = gradient(1), gradient(4)
    error = optax.tree.norm(jax.tree.map(jnp.subtract, parts, whole)) / optax.tree.norm(whole)
    assert error < 1e-6
    for figure, value in metrics.items():
        assert metrics_of_parts[figure] == pytest.approx(float(value), rel=1e-5), figure


def one_step(task):
    state = initial_state(task, state_shapes(task))
    return jax.jit(partial(step.train_step, task))(state, batch_of(task))


def test_a_step_in_parts_is_one_step_on_any_devices():
    whole, _ = one_step(make_task("mlp"))
    many, metrics = one_step(make_task("mlp", devices=4, accumulate=4))
    alone, _ = one_step(make_task("mlp", devices=2, accumulate=4, batch_norm="per_device"))
    assert int(many.step) == 1 and metrics["examples"] == 16
    for state in (many, alone):
        for a, b in zip(*map(jax.tree.leaves, (whole.params, state.params)), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


@pytest.mark.quick
def test_sam_takes_the_gradient_above():
    """On p^2 / 2 at p = (3, 4): the gradient there is p + radius p / 5."""

    def compute(params, stats, key):
        return params, stats + 1, params.sum()

    p = jnp.array([3.0, 4.0])
    gradient, stats, metric = sharpness_aware(compute, 0.5)(p, 0, None)
    np.testing.assert_allclose(gradient, p * 1.1, rtol=1e-6)
    assert stats == 1 and metric == 7  # those of the first pass
    np.testing.assert_allclose(ascent(p, p, 0.5, adaptive=True), 0.5 * p**3 / np.sqrt(81 + 256))


def test_a_step_with_sam():
    task, plain = make_task("mlp", sam_radius=0.05), make_task("mlp")
    start = initial_state(plain, state_shapes(plain))
    batch = batch_of(plain)
    images = plain.normalize(jnp.asarray(batch["image"]))
    key = jax.random.split(jax.random.fold_in(jax.random.key(0), 0))[1]
    compute = jax.jit(partial(step.gradients_and_metrics, plain))
    first = compute(start.params, {}, images, batch["label"], None, key)[0]
    factor = 0.05 / optax.tree.norm(first)
    above = jax.tree.map(lambda p, g: p + factor * g, start.params, first)
    second = compute(above, {}, images, batch["label"], None, key)[0]
    state, _ = one_step(task)
    for p, g, new in zip(*map(jax.tree.leaves, (start.params, second, state.params)), strict=True):
        np.testing.assert_allclose(new, p - 0.1 * g, rtol=1e-5, atol=1e-6)
