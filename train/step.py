"""The pure functions of training: one step, one evaluation step, and stretches of them.

A batch is {"image": uint8 [B, H, W, C], "label": int32 [B]}; an evaluation batch has also
"mask" [B], 0 where the batch is padded. What a step counts is a dictionary of sums over
its examples, so that stretches of steps, batches of an evaluation and devices add up.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax.sharding import Mesh, NamedSharding

from train import losses
from train.errors import TrainError
from train.sharding import BATCH, WHOLE

Batch = dict[str, jax.Array]
Sums = dict[str, jax.Array]


@struct.dataclass
class TrainState:
    """All that a run has to remember.

    Random numbers are a function of (seed, step), and the order of the data too, so neither is in
    here.

    Attributes:
      step: int32 [], steps done.
      params, batch_stats: the model's collections.
      opt_state: the optimizer's.
      ema_params: moving average of the parameters; {} where the recipe has none.
    """

    step: jax.Array
    params: dict
    batch_stats: dict
    opt_state: optax.OptState
    ema_params: dict


@dataclass(frozen=True)
class Task:
    """What a step needs beside the state and the batch. All of it is fixed for a run.

    Attributes:
      model: called as model(images, train=...) -> logits [B, K].
      optimizer, schedule: from optax; the schedule is for the report.
      augment: (key, uint8 images) -> the model's input in training.
      normalize: uint8 images -> the model's input in evaluation.
      image_shape: (H, W, C) of a batch's images.
      auxiliary_weights: one for each auxiliary head, by the order of their names.
      batch_norm: "global" or "per_device".
    """

    model: nn.Module
    optimizer: optax.GradientTransformation
    schedule: optax.Schedule
    augment: Callable[[jax.Array, jax.Array], jax.Array]
    normalize: Callable[[jax.Array], jax.Array]
    image_shape: tuple[int, int, int]
    mesh: Mesh
    seed: int = 0
    label_smoothing: float = 0.0
    rubbish_logit: float | None = None
    auxiliary_weights: tuple[float, ...] = ()
    batch_norm: str = "global"
    ema_decay: float = 0.0

    def __post_init__(self):
        if self.batch_norm not in ("global", "per_device"):
            raise TrainError(
                f'batch_norm={self.batch_norm!r} is not known: choose "global" or "per_device".'
            )


def init_state(task: Task) -> TrainState:
    """The state at step 0, a function of the seed."""
    keys = {"params": jax.random.key(task.seed)}
    images = jnp.zeros((1, *task.image_shape), jnp.uint8)
    variables = task.model.init(keys, task.normalize(images), train=False)
    params = variables["params"]
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        batch_stats=variables.get("batch_stats", {}),
        opt_state=task.optimizer.init(params),
        ema_params=jax.tree.map(jnp.copy, params) if task.ema_decay else {},
    )


def train_step(task: Task, state: TrainState, batch: Batch) -> tuple[TrainState, Sums]:
    """One update of the parameters, and what it counted."""
    augment_key, dropout_key = jax.random.split(
        jax.random.fold_in(jax.random.key(task.seed), state.step)
    )
    images = task.augment(augment_key, batch["image"])
    gradients, batch_stats, sums = _gradients_over_mesh(
        task, state, images, batch["label"], dropout_key
    )
    updates, opt_state = task.optimizer.update(gradients, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    state = TrainState(
        step=state.step + 1,
        params=params,
        batch_stats=batch_stats,
        opt_state=opt_state,
        ema_params=_moving_average(task.ema_decay, state, params),
    )
    learning_rate = jnp.asarray(task.schedule(state.step - 1), jnp.float32)
    bad_step = jnp.where(jnp.isfinite(sums["loss"]), -1, state.step)
    return state, sums | {"learning_rate": learning_rate, "bad_step": bad_step}


def _gradients_over_mesh(task: Task, state: TrainState, images, labels, key):
    """(gradients, batch_stats, sums) of the whole batch.

    "global": the compiler splits one program over the mesh, and BatchNorm sees the whole batch.
    "per_device": each device runs the same program on its part; the results are averaged once.
    """
    # Split parameters are gathered for their use, and their gradients scattered again after it.
    params = jax.lax.with_sharding_constraint(state.params, NamedSharding(task.mesh, WHOLE))
    local = partial(_gradients, task)
    if task.batch_norm == "global":
        return local(params, state.batch_stats, images, labels, key)

    def on_device(params, batch_stats, images, labels, key):
        key = jax.random.fold_in(key, jax.lax.axis_index(("data", "fsdp")))
        gradients, batch_stats, sums = local(params, batch_stats, images, labels, key)
        axes = ("data", "fsdp")
        gradients, batch_stats = jax.lax.pmean((gradients, batch_stats), axes)
        return gradients, batch_stats, jax.lax.psum(sums, axes)

    return jax.shard_map(
        on_device,
        mesh=task.mesh,
        in_specs=(WHOLE, WHOLE, BATCH, BATCH, WHOLE),
        out_specs=WHOLE,
        check_vma=False,  # the averages above are written out, so none may be added
    )(params, state.batch_stats, images, labels, key)


def _gradients(task: Task, params, batch_stats, images, labels, key):
    def loss_fn(params):
        logits, collections = task.model.apply(
            {"params": params, "batch_stats": batch_stats},
            images,
            train=True,
            rngs={"dropout": key},
            mutable=["batch_stats", *(["intermediates"] if task.auxiliary_weights else [])],
        )
        main = _losses(task, logits, labels)
        weights = task.auxiliary_weights
        auxiliary = [_losses(task, aux, labels) for aux in _auxiliary_logits(task, collections)]
        total = main + sum(w * loss for w, loss in zip(weights, auxiliary, strict=True))
        sums = _count(logits, labels, main)
        return total.mean(), (collections.get("batch_stats", {}), sums)

    gradients, (batch_stats, sums) = jax.grad(loss_fn, has_aux=True)(params)
    return gradients, batch_stats, sums


def _losses(task: Task, logits: jax.Array, labels: jax.Array) -> jax.Array:
    return losses.cross_entropy(
        logits,
        labels,
        label_smoothing=task.label_smoothing,
        rubbish_logit=task.rubbish_logit,
    )


def _auxiliary_logits(task: Task, collections: dict) -> list[jax.Array]:
    heads = collections.get("intermediates", {})
    names = sorted(name for name in heads if name.startswith("aux"))
    if len(names) != len(task.auxiliary_weights):
        raise TrainError(
            f"loss.auxiliary_weights has {len(task.auxiliary_weights)} entries and the model has "
            f"{len(names)} auxiliary heads ({', '.join(names) or 'none'}): there must be one "
            "weight for each head."
        )
    return [heads[name][0] for name in names]


def _count(logits, labels, example_losses, mask=None) -> Sums:
    mask = jnp.ones(labels.shape, bool) if mask is None else mask.astype(bool)

    def total(values):
        return jnp.where(mask, values, 0).sum(dtype=jnp.float32)

    return {
        "loss": total(example_losses),
        "top1": total(losses.in_top(logits, labels, 1)),
        "top5": total(losses.in_top(logits, labels, 5)),
        "examples": total(1),
    }


def _moving_average(decay: float, state: TrainState, params: dict) -> dict:
    """The next average. Early on it follows faster, as TensorFlow's with `num_updates`."""
    if not decay:
        return {}
    decay = jnp.minimum(decay, (1 + state.step) / (10 + state.step))
    return jax.tree.map(lambda old, new: decay * old + (1 - decay) * new, state.ema_params, params)


def eval_step(task: Task, state: TrainState, batch: Batch) -> Sums:
    """What one batch counts: plain cross entropy, without smoothing; padding counts nothing."""
    params = state.ema_params if task.ema_decay else state.params
    params = jax.lax.with_sharding_constraint(params, NamedSharding(task.mesh, WHOLE))
    logits = task.model.apply(
        {"params": params, "batch_stats": state.batch_stats},
        task.normalize(batch["image"]),
        train=False,
    )
    example_losses = losses.cross_entropy(logits, batch["label"], rubbish_logit=task.rubbish_logit)
    return _count(logits, batch["label"], example_losses, batch["mask"])


def no_sums() -> Sums:
    """The sums of no step."""
    zero = jnp.zeros((), jnp.float32)
    return {
        "loss": zero,
        "top1": zero,
        "top5": zero,
        "examples": zero,
        "learning_rate": zero,
        "bad_step": jnp.full((), -1, jnp.int32),
    }


def add(sums: Sums, more: Sums) -> Sums:
    """The sums of both: the last learning rate and the first step whose loss was not finite."""
    added = {name: sums[name] + more[name] for name in ("loss", "top1", "top5", "examples")}
    return added | {
        "learning_rate": more.get("learning_rate", sums["learning_rate"]),
        "bad_step": jnp.where(
            sums["bad_step"] < 0, more.get("bad_step", sums["bad_step"]), sums["bad_step"]
        ),
    }


def counted_train_step(task: Task, state: TrainState, sums: Sums, batch: Batch):
    """`train_step`, its sums added to `sums`."""
    state, more = train_step(task, state, batch)
    return state, add(sums, more)


def counted_eval_step(task: Task, state: TrainState, sums: Sums, batch: Batch) -> Sums:
    """`eval_step`, its sums added to `sums`."""
    return add(sums, eval_step(task, state, batch))


def take(data: Batch, indices: jax.Array) -> Batch:
    """The batch of `indices` [B] out of data that lies on the device whole."""
    return {name: jnp.take(array, indices, axis=0, mode="clip") for name, array in data.items()}


def train_stretch(task: Task, state: TrainState, data: Batch, indices: jax.Array, count):
    """The first `count` of the steps whose examples are the rows of `indices` [K, B].

    One call, in which the device never waits for Python. `count` is an argument and not a shape,
    so that stretches of all lengths are the same program.

    Returns:
      (state, sums over the stretch).
    """

    def body(row, carry):
        return counted_train_step(task, *carry, take(data, indices[row]))

    return jax.lax.fori_loop(0, count, body, (state, no_sums()))


def eval_stretch(task: Task, state: TrainState, sums: Sums, data: Batch, indices, masks, count):
    """The sums, and those of the first `count` rows of `indices` and `masks`, both [K, B]."""

    def body(row, sums):
        batch = take(data, indices[row]) | {"mask": masks[row]}
        return counted_eval_step(task, state, sums, batch)

    return jax.lax.fori_loop(0, count, body, sums)
