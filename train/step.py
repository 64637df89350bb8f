"""The pure functions of training: one training step, one evaluation step, and loops of them.

A batch is {"image": uint8 [B, H, W, C], "label": int32 [B]}; an evaluation batch also has
"mask" [B], 0 where the batch is padded. Metrics are a dictionary of sums over examples, so those
of several steps, batches or devices can be added.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax.sharding import Mesh, NamedSharding

from train import losses
from train.averages import Average
from train.errors import TrainError
from train.freeze import frozen_statistics
from train.gradients import accumulated, sharpness_aware
from train.plateau import learning_rate
from train.schedule_free import averaged_parameters
from train.sharding import BATCH, REPLICATED

Batch = dict[str, jax.Array]
Metrics = dict[str, jax.Array]
Loss = Callable[[jax.Array, jax.Array], jax.Array]

RAW = "raw_"  # begins the names of metrics of parameters that are not averaged
NOT_SUMS = ("learning_rate", "nonfinite_step")  # of metrics; all others are sums over examples


class TrainState(struct.PyTreeNode):
    """Everything that changes during a run.

    Random numbers and the order of the data are functions of (seed, step), so neither is in here.

    Attributes:
      step: int32 [], number of steps done.
      params, batch_stats: the model's collections.
      opt_state: state of the optimizer.
      ema_params: average of the parameters, or of {"params": ..., "batch_stats": ...} if
        `average.batch_stats`; {} if the recipe has none.
      average: rule of the average, constant; None if the recipe has none.
    """

    step: jax.Array
    params: dict
    batch_stats: dict
    opt_state: optax.OptState
    ema_params: dict
    average: Average | None = struct.field(pytree_node=False, default=None)

    @property
    def eval_params(self) -> dict:
        """The parameters that are evaluated and exported: the average if there is one."""
        if self.average is None:
            averaged: Any = averaged_parameters(self.opt_state, self.params)
            return self.params if averaged is None else averaged
        average = self.ema_params["params"] if self.average.batch_stats else self.ema_params
        return self._from_first_average(average, self.params)

    @property
    def eval_batch_stats(self) -> dict:
        """The statistics of BatchNorm with which `eval_params` are evaluated."""
        if self.average is None or not self.average.batch_stats:
            return self.batch_stats
        return self._from_first_average(self.ema_params["batch_stats"], self.batch_stats)

    def with_eval_statistics(self, batch_stats: dict) -> "TrainState":
        """Returns the state with other `eval_batch_stats`."""
        if self.average is None or not self.average.batch_stats:
            return self.replace(batch_stats=batch_stats)
        return self.replace(ema_params=self.ema_params | {"batch_stats": batch_stats})

    def _from_first_average(self, average: dict, current: dict) -> dict:
        if not self.average or not self.average.first:
            return average
        ready = self.step >= self.average.first
        return jax.tree.map(lambda a, b: jnp.where(ready, a, b), average, current)


@dataclass(frozen=True)
class Task:
    """Everything that a step needs besides the state and the batch; constant during a run.

    Attributes:
      model: called as model(images, train=...) -> logits [B, K].
      optimizer, schedule: from optax; the schedule is used for the report only.
      augment: (key, uint8 [B, H, W, C]) -> the model's input in training.
      normalize: uint8 [B, H, W, C] -> the model's input in evaluation.
      image_shape: (H, W, C) of a batch's images.
      mesh: from `sharding.make_mesh`.
      seed: determines initial parameters, augmentation and dropout.
      loss: (logits [B, K], labels int32 [B]) -> the loss of each example in training, float [B].
      eval_loss: the same in evaluation.
      metrics: what evaluation reports besides loss, top1 and top5: {name: function}, the mean of a
        (logits [B, K], labels int32 [B]) -> [B] over all examples.
      auxiliary_weights: weight of each auxiliary head's loss, in the order of the heads' names.
      batch_norm: BatchNorm statistics over the "global" batch, or "per_device".
      average: of the parameters; None for none.
      accumulate: parts in which the gradient of a batch is computed, see `train.gradients`.
      sam_radius, sam_adaptive: of sharpness-aware minimization, see `train.gradients`; 0 for none.
      batch_norm_images: images from which statistics of BatchNorm are estimated before each
        evaluation, see `train.batch_norm`; 0 for the running ones.
      freeze: expression for what is not trained, see `train.freeze`.
    """

    model: nn.Module
    optimizer: optax.GradientTransformation
    schedule: optax.Schedule
    augment: Callable[[jax.Array, jax.Array], jax.Array]
    normalize: Callable[[jax.Array], jax.Array]
    image_shape: tuple[int, int, int]
    mesh: Mesh
    seed: int = 0
    loss: Loss = losses.cross_entropy
    eval_loss: Loss = losses.cross_entropy
    metrics: Mapping[str, Loss] = field(default_factory=dict)
    auxiliary_weights: tuple[float, ...] = ()
    batch_norm: str = "global"
    average: Average | None = None
    accumulate: int = 1
    sam_radius: float = 0.0
    sam_adaptive: bool = False
    batch_norm_images: int = 0
    freeze: str = ""

    def __post_init__(self):
        if self.batch_norm not in ("global", "per_device"):
            raise TrainError(
                f'batch_norm={self.batch_norm!r} is not known: choose "global" or "per_device".'
            )


def init_state(task: Task, weights: dict | None = None) -> TrainState:
    """Returns the state at step 0, which depends on the seed and the weights alone.

    Args:
      task: what is trained.
      weights: {"params": ..., "batch_stats": ...}, or a part of them, instead of random ones.
    """
    keys = {"params": jax.random.key(task.seed)}
    images = jnp.zeros((1, *task.image_shape), jnp.uint8)
    variables: Any = task.model.init(keys, task.normalize(images), train=False)
    variables = _merged(variables, weights or {})
    params, batch_stats = variables["params"], variables.get("batch_stats", {})
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        batch_stats=batch_stats,
        opt_state=task.optimizer.init(params),
        ema_params=task.average.init(params, batch_stats) if task.average else {},
        average=task.average,
    )


def _merged(variables: Any, weights: Any) -> Any:
    """The variables, with the weights in place of those that they have."""
    if not isinstance(variables, Mapping):
        return jnp.asarray(weights)
    return {
        name: _merged(value, weights[name]) if name in weights else value
        for name, value in variables.items()
    }


def train_step(task: Task, state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
    """Updates the parameters once; returns the new state and the metrics of the batch."""
    augment_key, dropout_key = jax.random.split(
        jax.random.fold_in(jax.random.key(task.seed), state.step)
    )
    images = task.augment(augment_key, batch["image"])
    # Sharded parameters are gathered here, and their gradients scattered again by the update.
    params = jax.lax.with_sharding_constraint(state.params, NamedSharding(task.mesh, REPLICATED))
    compute = accumulated(partial(gradients_and_metrics, task), task.accumulate)
    if task.batch_norm == "per_device":
        compute = _average_over_devices(compute, task.mesh)
    compute = sharpness_aware(compute, task.sam_radius, task.sam_adaptive, task.freeze)
    gradients, batch_stats, metrics = compute(
        params, state.batch_stats, images, batch["label"], dropout_key
    )
    updates, opt_state = task.optimizer.update(gradients, state.opt_state, state.params)
    params: Any = optax.apply_updates(state.params, updates)
    rate = jnp.asarray(learning_rate(task.schedule, state.opt_state, state.step), jnp.float32)
    state = state.replace(
        step=state.step + 1,
        params=params,
        batch_stats=batch_stats,
        opt_state=opt_state,
        ema_params=_next_average(state, params, batch_stats),
    )
    nonfinite_step = jnp.where(jnp.isfinite(metrics["loss"]), -1, state.step)
    return state, metrics | {"learning_rate": rate, "nonfinite_step": nonfinite_step}


def gradients_and_metrics(
    task: Task,
    params: dict,
    batch_stats: dict,
    images: jax.Array,
    labels: jax.Array,
    dropout_key: jax.Array,
) -> tuple[dict, dict, Metrics]:
    """Returns (gradients of the mean loss, new batch_stats, metrics) of a batch."""

    def loss_fn(params):
        logits: jax.Array
        collections: Any
        with frozen_statistics(task.freeze):
            logits, collections = task.model.apply(
                {"params": params, "batch_stats": batch_stats},
                images,
                train=True,
                rngs={"dropout": dropout_key},
                mutable=["batch_stats", *(["intermediates"] if task.auxiliary_weights else [])],
            )
        main = task.loss(logits, labels)
        if main.shape != labels.shape:
            raise TrainError(
                f"loss.name: the loss of each example is [B], {list(labels.shape)} here, and this "
                f"loss gives {list(main.shape)}."
            )
        auxiliary = [task.loss(head, labels) for head in _auxiliary_logits(task, collections)]
        weighted = zip(task.auxiliary_weights, auxiliary, strict=True)
        total = main + sum(weight * loss for weight, loss in weighted)
        metrics = _sum_metrics(logits, labels, main)
        return total.mean(), (collections.get("batch_stats", {}), metrics)

    gradients, (batch_stats, metrics) = jax.grad(loss_fn, has_aux=True)(params)
    return gradients, batch_stats, metrics


def _average_over_devices(compute: Callable, mesh: Mesh) -> Callable:
    """`gradients_and_metrics`, run by each device on its part of the batch, then averaged once.

    Without it the compiler splits one program over the mesh, and BatchNorm sees the whole batch.
    """
    axes = ("data", "fsdp")

    def on_device(params, batch_stats, images, labels, dropout_key):
        dropout_key = jax.random.fold_in(dropout_key, jax.lax.axis_index(axes))
        gradients, batch_stats, metrics = compute(params, batch_stats, images, labels, dropout_key)
        gradients, batch_stats = jax.lax.pmean((gradients, batch_stats), axes)
        return gradients, batch_stats, jax.lax.psum(metrics, axes)

    return jax.shard_map(
        on_device,
        mesh=mesh,
        in_specs=(REPLICATED, REPLICATED, BATCH, BATCH, REPLICATED),
        out_specs=REPLICATED,
        check_vma=False,  # the averages are written out above, so JAX must not add any
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


def _sum_metrics(
    logits: jax.Array,
    labels: jax.Array,
    losses_: jax.Array,
    mask: jax.Array | None = None,
    more: Mapping[str, Loss] | None = None,
) -> Metrics:
    """Sums over the examples of a batch whose mask is not 0."""
    mask = jnp.ones(labels.shape, bool) if mask is None else mask.astype(bool)

    def total(values):
        return jnp.where(mask, values, 0).sum(dtype=jnp.float32)

    own = {name: metric(logits, labels) for name, metric in (more or {}).items()}
    for name, values in own.items():
        if values.shape != labels.shape:
            raise TrainError(
                f"eval.metrics: {name} has to give a value for each example, {list(labels.shape)}, "
                f"and gives {list(values.shape)}."
            )
    return {
        "loss": total(losses_),
        "top1": total(losses.in_top(logits, labels, 1)),
        "top5": total(losses.in_top(logits, labels, 5)),
        **{name: total(values) for name, values in own.items()},
        "examples": total(1),
    }


def _next_average(state: TrainState, params: dict, batch_stats: dict) -> dict:
    if state.average is None:
        return {}
    new = state.average.averaged(params, batch_stats)
    return state.average.update(state.step, state.ema_params, new)


def eval_step(task: Task, state: TrainState, batch: Batch) -> Metrics:
    """Returns the metrics of an evaluation batch.

    With an average they are those of the averaged parameters, and those of the parameters
    themselves are there too: "raw_loss", "raw_top1", ...
    """
    images = task.normalize(batch["image"])

    def metrics_of(params: dict, batch_stats: dict) -> Metrics:
        params = jax.lax.with_sharding_constraint(params, NamedSharding(task.mesh, REPLICATED))
        variables = {"params": params, "batch_stats": batch_stats}
        logits: Any = task.model.apply(variables, images, train=False)
        labels = batch["label"]
        losses_ = task.eval_loss(logits, labels)
        return _sum_metrics(logits, labels, losses_, batch["mask"], task.metrics)

    metrics = metrics_of(state.eval_params, state.eval_batch_stats)
    if task.average:
        raw = metrics_of(state.params, state.batch_stats)
        metrics |= {f"{RAW}{name}": raw[name] for name in raw if name != "examples"}
    return metrics


def empty_metrics() -> Metrics:
    """Returns the metrics of no training steps."""
    zero = jnp.zeros((), jnp.float32)
    return {
        "loss": zero,
        "top1": zero,
        "top5": zero,
        "examples": zero,
        "learning_rate": zero,
        "nonfinite_step": jnp.full((), -1, jnp.int32),
    }


def empty_eval_metrics(task: Task) -> Metrics:
    """Returns the metrics of no evaluation batches."""
    names = ["loss", "top1", "top5", *task.metrics]
    names += [f"{RAW}{name}" for name in names] if task.average else []
    return {name: jnp.zeros((), jnp.float32) for name in [*names, "examples"]}


def add_metrics(metrics: Metrics, more: Metrics) -> Metrics:
    """Adds two sums; keeps the last learning rate and the first step with a non-finite loss."""
    added = {name: metrics[name] + more[name] for name in metrics if name not in NOT_SUMS}
    if "nonfinite_step" not in metrics:
        return added
    first = metrics["nonfinite_step"]
    return added | {
        "learning_rate": more.get("learning_rate", metrics["learning_rate"]),
        "nonfinite_step": jnp.where(first < 0, more.get("nonfinite_step", first), first),
    }


def train_step_accumulating(
    task: Task, state: TrainState, metrics: Metrics, batch: Batch
) -> tuple[TrainState, Metrics]:
    """As `train_step`, with the metrics of the batch added to `metrics`."""
    state, more = train_step(task, state, batch)
    return state, add_metrics(metrics, more)


def eval_step_accumulating(
    task: Task, state: TrainState, metrics: Metrics, batch: Batch
) -> Metrics:
    """As `eval_step`, with the metrics of the batch added to `metrics`."""
    return add_metrics(metrics, eval_step(task, state, batch))


def take_batch(data: Batch, indices: jax.Array) -> Batch:
    """Gathers the examples `indices` [B] of a data set that is in device memory."""
    return {name: jnp.take(array, indices, axis=0, mode="clip") for name, array in data.items()}


def train_steps(
    task: Task, state: TrainState, data: Batch, indices: jax.Array, count: jax.Array
) -> tuple[TrainState, Metrics]:
    """Runs `count` training steps in one call, so that the device never waits for Python.

    Args:
      data: a training split in device memory.
      indices: int32 [N, B]; row i holds the examples of step i.
      count: int32 [], at most N. It is an argument and not a shape, so that one compiled program
        runs any number of steps.

    Returns:
      The state after them, and the sum of their metrics.
    """

    def body(row, carry: tuple[TrainState, Metrics]):
        return train_step_accumulating(task, *carry, take_batch(data, indices[row]))

    return jax.lax.fori_loop(0, count, body, (state, empty_metrics()))


def eval_steps(
    task: Task,
    state: TrainState,
    metrics: Metrics,
    data: Batch,
    indices: jax.Array,
    masks: jax.Array,
    count: jax.Array,
) -> Metrics:
    """Adds the metrics of the first `count` rows of `indices` and `masks`, both [N, B]."""

    def body(row, metrics):
        batch = take_batch(data, indices[row]) | {"mask": masks[row]}
        return eval_step_accumulating(task, state, metrics, batch)

    return jax.lax.fori_loop(0, count, body, metrics)
