"""Distillation: the teacher's predictions of the same images are learnt, and it stays as it is."""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import NamedSharding

import zoo
from configs import lenet
from train import losses, step
from train.build import initial_state, make_task, state_shapes
from train.data import open_data
from train.durations import Intervals
from train.errors import TrainError
from train.loop import train_and_evaluate
from train.sharding import BATCH, make_mesh
from train.teacher import Teacher, renormalize

CLASSES = 4
RANDOM = np.random.RandomState(0)
BATCH_OF_8 = {
    "image": RANDOM.randint(0, 256, (8, 4, 4, 1), np.uint8),
    "label": RANDOM.randint(0, CLASSES, 8).astype(np.int32),
}


class Linear(nn.Module):
    @nn.compact
    def __call__(self, images, *, train=False):
        return nn.Dense(CLASSES)(images.reshape(len(images), -1))


class TwoHeads(nn.Module):
    """As DeiT's distilled networks: the mean of two heads, whose logits are sown."""

    @nn.compact
    def __call__(self, images, *, train=False):
        x = images.reshape(len(images), -1)
        of_class, distilled = nn.Dense(CLASSES, name="a")(x), nn.Dense(CLASSES, name="b")(x)
        self.sow("intermediates", "class_logits", of_class)
        self.sow("intermediates", "distilled_logits", distilled)
        return (of_class + distilled) / 2


def to_float(images):
    return images.astype(jnp.float32) / 255


def teacher_of(**settings) -> Teacher:
    images = to_float(BATCH_OF_8["image"])
    variables = Linear().init(jax.random.key(7), images)
    variables = jax.tree.map(np.asarray, variables)
    loss = functools.partial(losses.distill, **settings)
    return Teacher(Linear(), variables, lambda images: 2 * images, loss)


def make(model, teacher, mesh=None, augment=None, **settings):
    schedule = optax.constant_schedule(0.1)
    return step.Task(
        model=model,
        optimizer=optax.sgd(schedule),
        schedule=schedule,
        augment=augment or (lambda key, images: to_float(images)),
        normalize=to_float,
        image_shape=(4, 4, 1),
        mesh=mesh or make_mesh(1, 1),
        teacher=teacher,
        **settings,
    )


def one_step(task):
    state = initial_state(task, state_shapes(task))
    before = jax.device_get(state.params)
    batch = jax.device_put(BATCH_OF_8, NamedSharding(task.mesh, BATCH))
    train = jax.jit(functools.partial(step.train_step, task))
    state, metrics = train(state, batch, task.teacher and task.teacher.variables)
    return before, jax.device_get(state.params), jax.device_get(metrics)


@pytest.mark.parametrize(
    "kind", [*(pytest.param(x, marks=pytest.mark.full) for x in ("soft", "soft_deit")), "hard"]
)
@pytest.mark.parametrize("model", [Linear(), TwoHeads()])
def test_a_step_is_that_of_the_sum_of_both_losses(kind, model):
    settings = dict(kind=kind, alpha=0.3, temperature=2.0)
    teacher = teacher_of(**settings)
    before, after, metrics = one_step(make(model, teacher))
    images, labels = to_float(BATCH_OF_8["image"]), BATCH_OF_8["label"]
    taught = Linear().apply(teacher.variables, 2 * images)

    def loss(params):
        logits, sown = model.apply({"params": params}, images, mutable=["intermediates"])
        heads = {name: value[0] for name, value in sown.get("intermediates", {}).items()}
        base = losses.cross_entropy(heads.get("class_logits", logits), labels)
        student = heads.get("distilled_logits", logits)
        return losses.distill(base, student, taught, **settings).mean()

    value, gradient = jax.value_and_grad(loss)(before)
    expected = jax.tree.map(lambda x, g: x - 0.1 * g, before, gradient)
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-7), after, expected
    )
    assert metrics["loss"] / 8 == pytest.approx(float(value), rel=1e-5)


@pytest.mark.parametrize("batch_norm", ["global", "per_device"])
def test_eight_devices_take_the_step_of_one(batch_norm):
    teacher = teacher_of(kind="hard")
    _, one, _ = one_step(make(TwoHeads(), teacher))
    _, many, _ = one_step(make(TwoHeads(), teacher, make_mesh(8, 1), batch_norm=batch_norm))
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-7), many, one)


@pytest.mark.parametrize("devices, batch_norm", [(1, "global"), (4, "per_device")])
def test_of_several_views_the_first_is_taught(devices, batch_norm):
    def three(key, images):
        return jnp.stack([to_float(images) * factor for factor in (1, 0.5, 0.2)], axis=1)

    jsd = functools.partial(losses.jensen_shannon, alpha=0.0)  # the clean images alone
    teacher = teacher_of(alpha=0.4)
    mesh, settings = make_mesh(devices, 1), dict(batch_norm=batch_norm, augment=three, loss=jsd)
    _, views, metrics = one_step(make(Linear(), teacher, mesh, **settings))
    _, plain, expected = one_step(make(Linear(), teacher))
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-7), views, plain)
    assert metrics["examples"] == 8 and metrics["top1"] == expected["top1"]


def test_targets_of_mixed_images_are_learnt():
    targets = optax.smooth_labels(jax.nn.one_hot(BATCH_OF_8["label"], CLASSES), 0.3)
    task = make(Linear(), None)
    state = initial_state(task, state_shapes(task))
    new, metrics = step.train_step(task, state, BATCH_OF_8 | {"label": targets})
    smooth = dataclasses.replace(
        task, loss=functools.partial(losses.cross_entropy, label_smoothing=0.3)
    )
    expected, of_labels = step.train_step(smooth, state, BATCH_OF_8)
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-6, atol=1e-7),
        (new.params, metrics["loss"], metrics["top1"]),
        (expected.params, of_labels["loss"], of_labels["top1"]),
    )


class Sows(nn.Module):
    @nn.compact
    def __call__(self, images, *, train=False):
        tokens = nn.Dense(CLASSES)(images.reshape(len(images), 4, -1))
        self.sow("intermediates", "token_logits", tokens)
        return tokens.mean(1)


def test_a_loss_of_what_a_model_sows():
    task = make(Sows(), None, loss=losses.token_labelling, loss_outputs=("token_logits",))
    assert np.isfinite(one_step(task)[2]["loss"])
    with pytest.raises(TrainError, match="takes token_logits, which the model does not sow"):
        one_step(dataclasses.replace(task, model=Linear()))


def test_the_teacher_sees_the_same_pixels():
    old, new = zoo.preprocess("resnet18"), zoo.preprocess("googlenet")
    assert new.channel_order == "BGR"
    pixels = RANDOM.randint(0, 256, (2, 3, 3, 3), np.uint8)
    seen = renormalize(old, new, jnp.asarray(old.normalize(pixels)))
    np.testing.assert_allclose(seen, new.normalize(pixels), atol=1e-4)  # of 255
    back = renormalize(new, old, seen)
    np.testing.assert_allclose(back, old.normalize(pixels), atol=1e-5)


@pytest.fixture
def recipe(mnist_dir):
    config = lenet.get_config()
    config.model.name, config.data.image_size = "mlp", 32  # the teacher's
    config.data.dir, config.data.train_split = str(mnist_dir), "train[:80]"
    config.data.eval_split, config.compile_cache = "test[:20]", ""
    config.batch_size, config.duration, config.mesh.data = 20, "2 epochs", 1
    config.distillation.teacher = "zoo/lenet5.mnist"
    config.distillation.temperature, config.distillation.alpha = 4.0, 1.0
    return config


@pytest.mark.parametrize("on_device", [pytest.param("yes", marks=pytest.mark.full), "no"])
def test_a_run_with_a_teacher(recipe, tmp_path, on_device):
    recipe.data.on_device, recipe.data.workers = on_device, 0
    recipe.eval.metrics, recipe.eval.confusion = ("precision", "auc_weighted", "top3"), True
    line = train_and_evaluate(recipe, tmp_path)
    assert {"precision", "auc_weighted", "top3"} <= line.keys() and line["examples"] == 20
    assert (tmp_path / "confusion.png").read_bytes().startswith(b"\x89PNG")


INTERVALS = Intervals(total=8, log=8, evaluate=8, checkpoint=8, steps_per_epoch=4.0)


@pytest.mark.parametrize(
    "key, value, message",
    [
        ("distillation.teacher", "zoo/nothing", "distillation.teacher: No weights .nothing. "),
        ("model.num_classes", 12, "tells 10 classes apart, and the data have 12"),
    ],
)
def test_teachers_that_cannot_be(recipe, key, value, message):
    recipe.update_from_flattened_dict({key: value})
    with pytest.raises(TrainError, match=message):
        make_task(recipe, open_data(recipe), INTERVALS, make_mesh(1, 1))
