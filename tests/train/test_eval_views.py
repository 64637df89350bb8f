"""The evaluation of a run in several views and at another size than training."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import input_pipeline
import zoo
from configs import base, lenet
from input_pipeline import arrays
from train import losses, step
from train.build import initial_state, state_shapes
from train.check import check_model
from train.data import make_data, open_data
from train.errors import TrainError
from train.loop import train_and_evaluate
from train.model_file import eval_preprocessing
from train.sharding import make_mesh
from train.use import views
from train.use.evaluation import Classifier, Protocol, evaluate


class Pooled(nn.Module):
    @nn.compact
    def __call__(self, images, *, train=False):
        return nn.Dense(5)(nn.relu(nn.Conv(4, (3, 3))(images)).mean((1, 2)))


def to_float(images):
    return images.astype(jnp.float32) / 255


@pytest.mark.parametrize(
    "average",
    [
        x if x == "probabilities" else pytest.param(x, marks=pytest.mark.full)
        for x in views.AVERAGES
    ],
)
def test_views_are_averaged(average):
    schedule = optax.constant_schedule(0.1)
    task = step.Task(
        model=Pooled(),
        optimizer=optax.sgd(schedule),
        schedule=schedule,
        augment=lambda key, images: to_float(images),
        normalize=to_float,
        image_shape=(6, 6, 1),
        mesh=make_mesh(1, 1),
        average_views=average,
    )
    state = initial_state(task, state_shapes(task))
    random = np.random.RandomState(0)
    shown = random.randint(0, 256, (3, 2, 8, 8, 1), np.uint8)  # two views, larger than in training
    labels = np.array([0, 3, 1], np.int32)
    batch = {"image": shown, "label": labels, "mask": np.array([1, 1, 0])}
    found = step.eval_step(task, state, batch)
    logits = [task.model.apply({"params": state.params}, to_float(shown[:, i])) for i in (0, 1)]
    logits = np.stack(logits, 1).astype(np.float64)
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    expected = {
        "probabilities": np.log(p.mean(1)),
        "logits": logits.mean(1),
        "log_probabilities": np.log(p).mean(1),
    }[average]
    loss = losses.cross_entropy(jnp.asarray(expected), labels)[:2].sum()
    assert found["loss"] == pytest.approx(float(loss), rel=1e-5) and found["examples"] == 2


@pytest.fixture
def recipe(mnist_dir):
    config = lenet.get_config()
    config.model.name = "mlp"
    config.data.dir, config.data.train_split = str(mnist_dir), "train[:80]"
    config.data.eval_split, config.compile_cache = "test[:30]", ""
    config.batch_size, config.duration, config.mesh.data = 20, "1 epoch", 1
    config.data.workers = 0
    return config


def test_a_run_evaluates_as_the_program_does(recipe, tmp_path, mnist_dir):
    recipe.eval.views, recipe.eval.average = "flip", "logits"
    line = train_and_evaluate(recipe, tmp_path)
    source = input_pipeline.open("mnist", "test[:30]", mnist_dir)
    member = Classifier(zoo.load(tmp_path), Protocol("flip", average="logits"))
    scores = evaluate([(member, 1.0)], source)
    assert line["loss"] == pytest.approx(scores.loss, rel=1e-5)
    assert line["top1"] == pytest.approx(scores.top1)
    alone = evaluate([(Classifier(zoo.load(tmp_path), Protocol()), 1.0)], source)
    assert alone.loss != pytest.approx(scores.loss, rel=1e-5)


def photographs(**settings):
    """The data of a recipe for resnet18 on 3 images of 50 x 40 pixels."""
    config = base.get_config()
    config.model.name, config.augment.crop = "resnet18", "random_resized"
    config.data.image_size = 32
    config.update_from_flattened_dict(settings)
    images = np.random.RandomState(0).randint(0, 256, (3, 50, 40, 3), np.uint8)
    source = arrays.from_arrays(images, np.arange(3), list("abc"))
    return make_data(config, source, source), source


@pytest.mark.parametrize("name, number", [("flip", 2), ("ten_crop", 10), ("googlenet_144", 144)])
def test_views_have_the_shape_that_is_told(name, number):
    data, source = photographs(**{"eval.views": name, "eval.image_size": 40})
    assert data.image_shape == (32, 32, 3) and data.eval_shape == (number, 40, 40, 3)
    shown = data.eval_transform(source[0])
    assert shown.shape == data.eval_shape and shown.dtype == np.uint8
    preprocessing = eval_preprocessing(data)
    assert (preprocessing.image_size, preprocessing.crop) == (40, 0.875)
    single, _ = photographs(**{"eval.image_size": 40})
    assert preprocessing == eval_preprocessing(single)
    views_ = views.shown(source[0].image, preprocessing, name)
    np.testing.assert_array_equal(shown, views_)


def test_the_whole_image_becomes_a_square():
    data, source = photographs(**{"eval.crop": 0.0})
    preprocessing = eval_preprocessing(data)
    assert preprocessing.crop is None
    found = data.eval_transform(source[0], None)
    full = dataclasses.replace(preprocessing, reduced=False)
    assert abs(found.astype(int) - full.resize(source[0].image)).max() <= 1


def test_a_size_that_the_model_does_not_take(recipe):
    config = base.get_config()
    config.model.name, config.eval.image_size = "resnet18", 256
    check_model(config)
    config.model.name = "vit_ti_16"
    with pytest.raises(TrainError, match="eval.image_size=256: "):
        check_model(config)


def test_views_and_data_on_the_device(recipe):
    assert open_data(recipe).on_device
    recipe.eval.views = "flip"
    assert not open_data(recipe).on_device
    recipe.data.on_device = "yes"
    with pytest.raises(TrainError, match="or shown in several views"):
        open_data(recipe)


def test_keys_and_names_agree():
    """The command line and the rules have the names of views without importing them."""
    from train import evaluate as program
    from train.check import RULES

    assert (program.VIEWS, program.AVERAGES) == (views.VIEWS, views.AVERAGES)
    known = [name for name in views.VIEWS if RULES["eval.views"][0](name)]
    assert known == [name for name in views.VIEWS if name != "dense"]
    counts = [views.count(name) for name in known]
    assert counts == [1, 2, 10, 10, 144]
    assert jax.eval_shape(views.average, jnp.zeros((4, 2, 3))).shape == (4, 3)
