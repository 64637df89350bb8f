"""The steps on a tiny network with everything: BatchNorm, dropout and an auxiliary head."""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import NamedSharding

from train import losses, step
from train.averages import Average
from train.build import initial_state, state_shapes
from train.errors import TrainError
from train.sharding import BATCH, make_mesh, state_shardings

CLASSES = 7
RANDOM = np.random.RandomState(0)
BATCH_OF_16 = {
    "image": RANDOM.randint(0, 256, (16, 8, 8, 3), dtype=np.uint8),
    "label": RANDOM.randint(0, CLASSES, 16).astype(np.int32),
}


class Tiny(nn.Module):
    dropout: float = 0.0

    @nn.compact
    def __call__(self, images, *, train=False):
        x = nn.Conv(16, (3, 3), name="conv")(images)
        x = nn.relu(nn.BatchNorm(use_running_average=not train, momentum=0.9, name="norm")(x))
        x = x.mean((1, 2))
        self.sow("intermediates", "aux1", nn.Dense(CLASSES, name="aux_head")(x))
        x = nn.relu(nn.Dense(128, name="fc")(x))
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return nn.Dense(CLASSES, name="head")(x)


def to_float(images):
    return images.astype(jnp.float32) / 255 - 0.5


def make_task(mesh=None, dropout=0.0, learning_rate=0.1, **settings):
    schedule = optax.constant_schedule(learning_rate)
    return step.Task(
        model=Tiny(dropout),
        optimizer=optax.sgd(schedule, momentum=0.9),
        schedule=schedule,
        normalize=to_float,
        image_shape=(8, 8, 3),
        mesh=mesh or make_mesh(1, 1),
        **{"augment": lambda key, images: to_float(images)} | settings,
    )


def run(task, steps=3, batch=BATCH_OF_16):
    """The state and the sums of each step."""
    state = initial_state(task, state_shapes(task))
    states = state_shardings(state, task.mesh)
    batches = NamedSharding(task.mesh, BATCH)
    train = jax.jit(
        functools.partial(step.train_step, task),
        in_shardings=(states, batches),
        out_shardings=(states, None),
    )
    history = []
    for _ in range(steps):
        state, sums = train(state, batch)
        history.append(jax.device_get(sums))
    return state, history


def evaluated(task, state, batch):
    return jax.jit(functools.partial(step.eval_step, task))(state, batch)


def assert_close(tree, other, rtol=1e-5, atol=1e-6):
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=rtol, atol=atol), tree, other)


def test_a_step_counts_and_learns():
    state, history = run(make_task(), steps=20)
    assert history[-1]["loss"] < 0.8 * history[0]["loss"]
    assert history[0]["examples"] == 16 and int(state.step) == 20
    assert history[0]["learning_rate"] == np.float32(0.1) and history[0]["nonfinite_step"] == -1


def test_training_is_a_function_of_the_seed():
    first, again, other = (run(make_task(dropout=0.5, seed=seed))[0] for seed in (1, 1, 2))
    jax.tree.map(np.testing.assert_array_equal, first, again)
    assert not np.allclose(first.params["head"]["kernel"], other.params["head"]["kernel"])


def test_dropout_differs_from_step_to_step():
    task = make_task(dropout=0.5, learning_rate=0.0)
    _, history = run(task, steps=2)
    assert history[0]["loss"] != history[1]["loss"]


@pytest.mark.parametrize(
    "data, fsdp",
    [
        pytest.param(8, 1, marks=pytest.mark.full),
        pytest.param(1, 8, marks=pytest.mark.full),
        (4, 2),
    ],
)
def test_eight_devices_take_the_steps_of_one(data, fsdp):
    one, history_of_one = run(make_task(dropout=0.5))
    many, history = run(make_task(make_mesh(data, fsdp), dropout=0.5))
    assert_close(history, history_of_one)
    assert_close(jax.device_get(many), jax.device_get(one))


def test_fsdp_splits_parameters_and_optimizer_state():
    state, _ = run(make_task(make_mesh(2, 4)))
    for tree in (state.params, state.opt_state[0].trace):
        kernel = tree["fc"]["kernel"]
        assert kernel.shape == (16, 128)
        assert {shard.data.shape for shard in kernel.addressable_shards} == {(16, 32)}


def test_statistics_per_device_are_those_of_each_part():
    mesh = make_mesh(2, 1)
    images, labels = BATCH_OF_16["image"], BATCH_OF_16["label"]
    halves = [
        run(make_task(), 1, {"image": images[part], "label": labels[part]})
        for part in (slice(0, 8), slice(8, 16))
    ]
    state, history = run(make_task(mesh, batch_norm="per_device"), 1)
    for name in ("loss", "top1", "examples"):
        assert history[0][name] == pytest.approx(sum(h[0][name] for _, h in halves), rel=1e-5)
    for collection in ("params", "batch_stats"):
        trees = [jax.device_get(getattr(half, collection)) for half, _ in halves]
        mean = jax.tree.map(lambda a, b: (a + b) / 2, *trees)
        assert_close(jax.device_get(getattr(state, collection)), mean)
    whole, _ = run(make_task(mesh), 1)
    kernel = whole.params["conv"]["kernel"]
    assert np.abs(kernel - state.params["conv"]["kernel"]).max() > 1e-5


def test_per_device_works_with_split_parameters():
    expected, _ = run(make_task(make_mesh(8, 1), batch_norm="per_device"))
    state, _ = run(make_task(make_mesh(1, 8), batch_norm="per_device"))
    assert_close(jax.device_get(state), jax.device_get(expected))


def test_a_state_starts_alike_in_one_program_and_one_by_one():
    task = make_task(make_mesh(1, 1, jax.devices()[:1]), average=Average(0.9))
    eager = initial_state(task, state_shapes(task))
    together = jax.jit(functools.partial(step.init_state, task))()
    for a, b in zip(*map(jax.tree.leaves, (eager, together)), strict=True):
        assert (a.shape, a.dtype, a.weak_type) == (b.shape, b.dtype, b.weak_type)
    assert_close(jax.device_get(eager), jax.device_get(together))


def test_auxiliary_heads_learn_by_their_weight():
    without, _ = run(make_task(), 1)
    light, _ = run(make_task(auxiliary_weights=(0.3,)), 1)
    heavy, _ = run(make_task(auxiliary_weights=(0.6,)), 1)
    start = jax.device_get(initial_state(make_task(), state_shapes(make_task())).params)
    moved = [s.params["aux_head"]["kernel"] - start["aux_head"]["kernel"] for s in (light, heavy)]
    np.testing.assert_allclose(moved[1], 2 * moved[0], rtol=1e-3, atol=1e-7)
    assert np.abs(moved[0]).max() > 0
    np.testing.assert_array_equal(without.params["aux_head"]["kernel"], start["aux_head"]["kernel"])


def test_a_wrong_number_of_auxiliary_weights_is_refused():
    with pytest.raises(TrainError, match=r"2 entries and the model has 1 auxiliary heads \(aux1\)"):
        run(make_task(auxiliary_weights=(0.3, 0.3)), 1)


def test_unknown_batch_norm_is_refused():
    with pytest.raises(TrainError, match="batch_norm='local'"):
        make_task(batch_norm="local")


def test_the_average_of_the_parameters_is_evaluated():
    task = make_task(average=Average(0.9))
    state = initial_state(task, state_shapes(task))
    expected = jax.device_get(state.params)
    train = jax.jit(functools.partial(step.train_step, task))
    for i in range(3):
        state, _ = train(state, BATCH_OF_16)
        decay = min(0.9, (1 + i) / (10 + i))
        expected = jax.tree.map(
            lambda old, new, d=decay: d * old + (1 - d) * np.asarray(new), expected, state.params
        )
    assert_close(jax.device_get(state.ema_params), expected)
    batch = BATCH_OF_16 | {"mask": np.ones(16, np.float32)}
    sums = evaluated(task, state, batch)
    plain = evaluated(make_task(), state.replace(params=state.ema_params), batch)
    assert sums["loss"] == plain["loss"]


def test_averages_of_statistics_and_the_wait_for_the_first():
    rule = Average(0.5, "torchvision", every=2, batch_stats=True)
    task = make_task(average=rule)
    state = initial_state(task, state_shapes(task))
    train = jax.jit(functools.partial(step.train_step, task))
    states = []
    for _ in range(4):
        state, _ = train(state, BATCH_OF_16)
        states.append(state)
    for name in ("params", "batch_stats"):
        evaluated = [getattr(each, f"eval_{name}") for each in states]
        raw = [getattr(each, name) for each in states]
        assert_close(evaluated[0], raw[0])  # there is no average yet
        assert_close(evaluated[1], raw[1])  # a copy
        assert_close(evaluated[2], raw[1])
        assert_close(evaluated[3], jax.tree.map(lambda a, b: (a + b) / 2, raw[1], raw[3]))


def test_padding_counts_nothing():
    smooth = functools.partial(losses.cross_entropy, label_smoothing=0.1)
    task = make_task(loss=smooth)
    state = initial_state(task, state_shapes(task))
    mask = np.arange(16) < 11
    sums = evaluated(task, state, BATCH_OF_16 | {"mask": mask.astype(np.float32)})
    part = {name: array[:11] for name, array in BATCH_OF_16.items()}
    expected = evaluated(task, state, part | {"mask": np.ones(11, bool)})
    assert sums["examples"] == 11
    assert_close(jax.device_get(sums), jax.device_get(expected))
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    logits = task.model.apply(variables, to_float(part["image"]))
    plain = losses.cross_entropy(logits, part["label"]).sum()  # without smoothing
    assert sums["loss"] == pytest.approx(float(plain), rel=1e-5)


def test_the_first_step_that_is_not_finite_is_told():
    task = make_task(learning_rate=1e38)
    data, rows = BATCH_OF_16, jnp.tile(jnp.arange(16), (6, 1))
    state = initial_state(task, state_shapes(task))
    _, sums = jax.jit(functools.partial(step.train_steps, task))(state, data, rows, 6)
    losses_by_step = [history["loss"] for history in run(task, 6)[1]]
    first = next(i for i, loss in enumerate(losses_by_step) if not np.isfinite(loss))
    assert sums["nonfinite_step"] == first + 1


def test_many_steps_in_one_call_are_the_same_as_one_by_one():
    task = make_task(dropout=0.5)
    rows = jnp.asarray(RANDOM.randint(0, 16, (5, 8)))
    state = initial_state(task, state_shapes(task))
    many = jax.jit(functools.partial(step.train_steps, task))
    together, sums = many(state, BATCH_OF_16, rows, 3)  # not all rows
    total = step.empty_metrics()
    one_step = jax.jit(functools.partial(step.train_step_accumulating, task))
    for row in np.asarray(rows[:3]):
        batch = {name: array[row] for name, array in BATCH_OF_16.items()}
        state, total = one_step(state, total, batch)
    assert_close(jax.device_get(together), jax.device_get(state))
    assert_close(jax.device_get(sums), jax.device_get(total))


def test_mixed_targets_reach_the_loss_and_their_larger_share_is_counted():
    """What the loss is given are targets [B, K], also where each device has a part of the batch."""
    first = jnp.asarray(BATCH_OF_16["label"])
    targets = 0.7 * jax.nn.one_hot(first, CLASSES) + 0.3 * jax.nn.one_hot(first[::-1], CLASSES)

    def mix(key, images, labels, number):
        return images, targets

    def soft(logits, targets):
        return optax.softmax_cross_entropy(logits, targets)

    mixed = make_task(mix=mix, loss=soft)
    _, history = run(mixed)
    _, plain = run(make_task())
    assert history[0]["loss"] != pytest.approx(plain[0]["loss"], rel=1e-3)
    assert history[0]["top1"] == plain[0]["top1"]  # of the same weights, before the first step
    mesh = make_mesh(4, 2)
    _, sharded = run(make_task(mesh, mix=mix, loss=soft, batch_norm="global"))
    assert sharded[2]["loss"] == pytest.approx(history[2]["loss"], rel=1e-4)


def test_views_reach_the_loss_one_after_the_other():
    """Two views that are equal have equal logits; the metrics are those of the first."""

    def augment(key, images):
        return jnp.stack([to_float(images), 0 * to_float(images)], axis=1)

    def loss(logits, labels):
        assert logits.shape == (32, CLASSES)
        second = logits[16:]
        return losses.cross_entropy(logits[:16], labels) + jnp.abs(second - second[:1]).sum(1)

    task = make_task(augment=augment, loss=loss)
    _, history = run(task, steps=1)
    assert history[0]["examples"] == 16
    assert 1.5 < history[0]["loss"] / 16 < 2.5  # the second views are all zeros


class Scheduled(nn.Module):
    """A model that is told the progress of the run; its logits are only that."""

    @nn.compact
    def __call__(self, images, *, train=False, progress=1.0):
        bias = self.param("bias", nn.initializers.zeros, (CLASSES,))
        return jnp.broadcast_to(progress * jnp.eye(CLASSES)[0] + bias, (len(images), CLASSES))


@pytest.mark.parametrize("batch_norm", ["global", "per_device"])
def test_a_model_is_told_how_much_of_the_run_is_done(batch_norm):
    """0 in the first step, (steps - 1) / steps in the last, and 1 if the run has become longer."""
    task = make_task(make_mesh(2, 1), learning_rate=0.0, batch_norm=batch_norm, total_steps=4)
    task = dataclasses.replace(task, model=Scheduled())
    _, lines = run(task, steps=6)
    of_class_0 = (BATCH_OF_16["label"] == 0).mean()
    for number, line in enumerate(lines):
        progress = min(number / 4, 1.0)
        expected = np.log(np.exp(progress) + CLASSES - 1) - of_class_0 * progress
        assert line["loss"] / line["examples"] == pytest.approx(expected, rel=1e-5)
