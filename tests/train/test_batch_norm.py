"""Statistics of BatchNorm estimated anew, by themselves and in runs."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import zoo
from configs import base
from train import step
from train.averages import Average
from train.batch_norm import batches_of, reestimated
from train.build import initial_state, make_runner, make_task, state_shapes
from train.data import open_data
from train.durations import Intervals
from train.sharding import make_mesh
from zoo import registry


class Net(nn.Module):
    num_classes: int = 10

    @nn.compact
    def __call__(self, images, *, train=False):
        x = images
        for i, momentum in ((1, 0.9), (2, 0.99)):
            x = nn.Dense(4, name=f"fc{i}")(x)
            x = nn.BatchNorm(use_running_average=not train, momentum=momentum, name=f"norm{i}")(x)
        return nn.Dense(self.num_classes, name="head")(x.mean((1, 2)))


def task_of(**settings):
    schedule = optax.constant_schedule(0.1)
    return step.Task(
        model=Net(),
        optimizer=optax.sgd(schedule),
        schedule=schedule,
        augment=lambda key, images: images / 255,
        normalize=lambda images: images / 255,
        image_shape=(2, 2, 3),
        mesh=make_mesh(1, 1),
        **settings,
    )


def batches(count=3):
    random = np.random.RandomState(0)
    return [{"image": random.randint(0, 256, (8, 2, 2, 3), dtype=np.uint8)} for _ in range(count)]


def statistics_of_first_norm(params, batch):
    x = batch["image"] / np.float32(255) @ np.asarray(params["fc1"]["kernel"])
    return x.mean((0, 1, 2)), x.var((0, 1, 2))


@pytest.mark.quick
def test_they_are_plain_averages_over_batches():
    task = task_of()
    state = initial_state(task, state_shapes(task))
    found = reestimated(task, state, batches()).eval_batch_stats["norm1"]
    expected = [statistics_of_first_norm(state.params, batch) for batch in batches()]
    np.testing.assert_allclose(
        found["mean"], np.mean([m for m, _ in expected], 0), rtol=1e-4, atol=1e-6
    )
    np.testing.assert_allclose(found["var"], np.mean([v for _, v in expected], 0), rtol=1e-4)


def test_frozen_ones_are_kept():
    task = task_of(freeze="norm1")
    state = initial_state(task, state_shapes(task))
    found = reestimated(task, state, batches()).batch_stats
    jax.tree.map(np.testing.assert_array_equal, found["norm1"], state.batch_stats["norm1"])
    assert np.abs(found["norm2"]["mean"]).max() > 0


def test_an_average_has_statistics_of_its_own_from_its_first_step_on():
    task = task_of(average=Average(convention="swa", every=1, start=2, batch_stats=True))
    state = initial_state(task, state_shapes(task))
    assert reestimated(task, state, batches()) is state  # there is no average yet
    update = jax.jit(partial(step.train_step, task))
    history = []
    for batch in batches():
        state, _ = update(state, batch | {"label": np.arange(8, dtype=np.int32)})
        history.append(state.params)
        expected = history[-1] if len(history) < 2 else mean(history[1:])
        jax.tree.map(
            partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-7), state.eval_params, expected
        )
    found = reestimated(task, state, batches())
    jax.tree.map(np.testing.assert_array_equal, found.batch_stats, state.batch_stats)
    stats = [statistics_of_first_norm(state.eval_params, batch)[1] for batch in batches()]
    np.testing.assert_allclose(found.eval_batch_stats["norm1"]["var"], np.mean(stats, 0), rtol=1e-4)


def mean(trees):
    return jax.tree.map(lambda *leaves: np.mean(leaves, 0), *trees)


@pytest.mark.quick
def test_how_many_batches():
    assert batches_of(8192, 256, 1_281_167) == 32
    assert batches_of(8192, 100, 1000) == 10
    assert batches_of(10, 32, 1000) == 1


@pytest.fixture
def own_model(monkeypatch):
    zoo.list_models()
    monkeypatch.setattr(registry, "_models", dict(registry._models))
    registry._all_models.cache_clear()
    build = lambda **attributes: Net(**attributes)  # noqa: E731
    build.__name__ = "net_with_norms"
    zoo.register(image_size=28, channels=1, mean=(0.5,), std=(0.5,))(build)
    yield build.__name__
    registry._all_models.cache_clear()


def test_both_runners_give_them(own_model, mnist_dir):
    config = base.get_config()
    config.model.name = own_model
    config.data.dir, config.data.train_split = str(mnist_dir), "train[:20]"
    config.data.eval_split = "test[:5]"
    config.data.workers, config.batch_size, config.batch_norm_images = 0, 4, 8
    config.duration = "5 steps"
    found = []
    for on_device in ("yes", "no"):
        config.data.on_device = on_device
        data = open_data(config)
        intervals = Intervals.from_config(config, len(data.train))
        task = make_task(config, data, intervals, make_mesh(1, 1))
        shapes = state_shapes(task)
        state = initial_state(task, shapes)
        runner = make_runner(config, task, shapes, intervals, data)
        state = runner.evaluated(state)
        assert runner.evaluate(state, lambda: None)["examples"] > 0
        found.append(jax.device_get(state.eval_batch_stats))
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5), *found)
    assert jnp.abs(found[0]["norm1"]["mean"]).max() > 0
