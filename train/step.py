"""The pure functions of training: one training step, one evaluation step, and loops of them.

A batch is {"image": uint8 [B, H, W, C], "label": int32 [B]}; an evaluation batch also has
"mask" [B], 0 where the batch is padded, and its images may be [B, V, H, W, C] in V views. Metrics
are a dictionary of sums over examples, so those of several steps, batches or devices can be added;
an evaluation also has "tables" of a recipe's metrics, see `train.metrics`.

With a teacher (`train.teacher`) steps are also given its variables, which stay as they are.
"""

import inspect
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
from train.metrics.tables import Table
from train.plateau import learning_rate
from train.schedule_free import averaged_parameters
from train.sharding import BATCH, REPLICATED
from train.teacher import Teacher
from train.use.views import average

Batch = dict[str, jax.Array]
Metrics = dict[str, Any]  # arrays, and those of "tables"
Loss = Callable[..., jax.Array]

RAW = "raw_"  # begins the names of metrics of parameters that are not averaged
TABLES = "tables"  # of metrics
HEADS = ("class_logits", "distilled_logits")  # that DeiT's distilled networks sow
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
      augment: (key, uint8 [B, H, W, C]) -> the model's input in training; with several views of
        each image [B, V, H, W, C].
      mix: (key, the model's input, labels int32 [B], step) -> mixed input, and targets [B, K] in
        place of labels; None for none.
      normalize: uint8 [B, H, W, C] -> the model's input in evaluation.
      image_shape: (H, W, C) of a batch's images.
      mesh: from `sharding.make_mesh`.
      seed: determines initial parameters, augmentation and dropout.
      loss: (logits [B, K], labels int32 [B] or targets [B, K]) -> the loss of each example in
        training, float [B].
      loss_outputs: names of what the model sows that the loss takes besides, by these names.
      eval_loss: the same in evaluation.
      metrics: what evaluation reports besides loss, top1 and top5: {name: function}, the mean of a
        (logits [B, K], labels int32 [B], mask [B]) -> [B] over all examples.
      tables: what evaluation adds up for other metrics, by its names.
      average_views: what of an image's views is averaged in evaluation, see `views.average`.
      eval_shape: shape of an image of evaluation, [H, W, C] or [V, H, W, C]; () for `image_shape`.
      teacher: whose predictions the model learns too; None for none.
      auxiliary_weights: weight of each auxiliary head's loss, in the order of the heads' names.
      batch_norm: BatchNorm statistics over the "global" batch, or "per_device".
      average: of the parameters; None for none.
      accumulate: parts in which the gradient of a batch is computed, see `train.gradients`.
      sam_radius, sam_adaptive: of sharpness-aware minimization, see `train.gradients`; 0 for none.
      batch_norm_images: images from which statistics of BatchNorm are estimated before each
        evaluation, see `train.batch_norm`; 0 for the running ones.
      freeze: expression for what is not trained, see `train.freeze`.
      total_steps: number of steps of the run, of which a model that has a `progress` is told the
        share that is done: scheduled drop path and DropBlock follow from it.
    """

    model: nn.Module
    optimizer: optax.GradientTransformation
    schedule: optax.Schedule
    augment: Callable[[jax.Array, jax.Array], jax.Array]
    normalize: Callable[[jax.Array], jax.Array]
    image_shape: tuple[int, int, int]
    mesh: Mesh
    mix: Callable[..., tuple[jax.Array, jax.Array]] | None = None
    seed: int = 0
    loss: Loss = losses.cross_entropy
    loss_outputs: tuple[str, ...] = ()
    eval_loss: Loss = losses.cross_entropy
    metrics: Mapping[str, Loss] = field(default_factory=dict)
    tables: Mapping[str, Table] = field(default_factory=dict)
    average_views: str = "probabilities"
    eval_shape: tuple[int, ...] = ()
    teacher: Teacher | None = None
    auxiliary_weights: tuple[float, ...] = ()
    batch_norm: str = "global"
    average: Average | None = None
    accumulate: int = 1
    sam_radius: float = 0.0
    sam_adaptive: bool = False
    batch_norm_images: int = 0
    freeze: str = ""
    total_steps: int = 1

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


def train_step(
    task: Task, state: TrainState, batch: Batch, teacher: Any = None
) -> tuple[TrainState, Metrics]:
    """Updates the parameters once; returns the new state and the metrics of the batch.

    Args:
      task, state, batch: see above.
      teacher: variables of `task.teacher`; None if it has none.
    """
    augment_key, dropout_key = jax.random.split(
        jax.random.fold_in(jax.random.key(task.seed), state.step)
    )
    images, labels = task.augment(augment_key, batch["image"]), batch["label"]
    if task.mix:
        images, labels = task.mix(jax.random.fold_in(augment_key, 5), images, labels, state.step)
    # Sharded parameters are gathered here, and their gradients scattered again by the update.
    params = jax.lax.with_sharding_constraint(state.params, NamedSharding(task.mesh, REPLICATED))
    progress = jnp.minimum(state.step / task.total_steps, 1.0)
    compute = partial(gradients_and_metrics, task, progress=progress)
    compute = accumulated(compute, task.accumulate)
    if task.batch_norm == "per_device":
        compute = _average_over_devices(compute, task.mesh)
    compute = sharpness_aware(compute, task.sam_radius, task.sam_adaptive, task.freeze)
    taught = None
    if task.teacher:
        taught = task.teacher(teacher, images[:, 0] if images.ndim == 5 else images)
    gradients, batch_stats, metrics = compute(
        params, state.batch_stats, images, labels, taught, dropout_key
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
    taught: jax.Array | None,
    dropout_key: jax.Array,
    *,
    progress: float | jax.Array = 1.0,
) -> tuple[dict, dict, Metrics]:
    """Returns (gradients of the mean loss, new batch_stats, metrics) of a batch.

    Args:
      task: what is trained.
      params, batch_stats: the model's collections.
      images: the model's input [B, H, W, C], or [B, V, H, W, C] in several views. The loss is given
        the logits of all first views, then those of all second ones and so on; metrics are those of
        the first.
      labels: int32 [B], or targets [B, K], of which metrics count the largest as the label.
      taught: the teacher's logits [B, K] of the first views; None without a teacher.
      dropout_key: determines dropout.
      progress: the share of the run that is done, for models that have the argument.
    """
    views = images.shape[1] if images.ndim == 5 else 1
    images = images.reshape(-1, *images.shape[-3:])  # those of one image stay on its device
    sows = bool(task.auxiliary_weights or task.loss_outputs or taught is not None)
    takes_progress = "progress" in inspect.signature(type(task.model).__call__).parameters
    scheduled = {"progress": progress} if takes_progress else {}

    def loss_fn(params):
        logits: jax.Array
        collections: Any
        with frozen_statistics(task.freeze):
            logits, collections = task.model.apply(
                {"params": params, "batch_stats": batch_stats},
                images,
                train=True,
                **scheduled,
                rngs={"dropout": dropout_key},
                mutable=["batch_stats", *(["intermediates"] if sows else [])],
            )
        logits = _view_by_view(logits, views)
        sown = {
            name: _view_by_view(collections["intermediates"][name][0], views)
            for name in (*HEADS, *task.loss_outputs)
            if name in collections.get("intermediates", {})
        }
        main = _main_loss(task, logits, labels, sown, taught)
        heads = _auxiliary_logits(task, collections)
        auxiliary = [task.loss(_view_by_view(head, views), labels) for head in heads]
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

    def on_device(params, batch_stats, images, labels, taught, dropout_key):
        dropout_key = jax.random.fold_in(dropout_key, jax.lax.axis_index(axes))
        gradients, batch_stats, metrics = compute(
            params, batch_stats, images, labels, taught, dropout_key
        )
        gradients, batch_stats = jax.lax.pmean((gradients, batch_stats), axes)
        return gradients, batch_stats, jax.lax.psum(metrics, axes)

    return jax.shard_map(
        on_device,
        mesh=mesh,
        in_specs=(REPLICATED, REPLICATED, BATCH, BATCH, BATCH, REPLICATED),
        out_specs=REPLICATED,
        check_vma=False,  # the averages are written out above, so JAX must not add any
    )


def _view_by_view(outputs: jax.Array, views: int) -> jax.Array:
    """From outputs [B * V, ...], image by image, to [V * B, ...], those of first views first."""
    if views == 1:
        return outputs
    shape = outputs.shape
    return outputs.reshape(-1, views, *shape[1:]).swapaxes(0, 1).reshape(shape)


def _main_loss(
    task: Task, logits: jax.Array, labels: jax.Array, sown: dict, taught: jax.Array | None
) -> jax.Array:
    """The loss of each example without auxiliary heads, with that of the teacher, [B].

    A network with a distillation head (DeiT's) learns the labels with one head and the teacher's
    predictions with the other one.
    """
    if missing := [name for name in task.loss_outputs if name not in sown]:
        raise TrainError(f"loss.name: this loss takes {missing[0]}, which the model does not sow.")
    of_class, distilled = logits, logits
    if taught is not None:
        of_class, distilled = (sown.get(name, logits) for name in HEADS)
    main = task.loss(of_class, labels, **{name: sown[name] for name in task.loss_outputs})
    if main.shape != (len(labels),):
        raise TrainError(
            f"loss.name: the loss of each example is [B], {[len(labels)]} here, and this loss "
            f"gives {list(main.shape)}. One that takes the batch as one set is marked by "
            "train.losses.of_batch."
        )
    if taught is None or task.teacher is None:
        return main
    return task.teacher.loss(main, distilled[: len(labels)], taught)


def _auxiliary_logits(task: Task, collections: dict) -> list[jax.Array]:
    if not task.auxiliary_weights:
        return []
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
    """Sums over the examples of a batch whose mask is not 0.

    Of targets [B, K] the largest is the label; of logits in several views the first B count.
    """
    logits, labels = logits[: len(labels)], losses.as_labels(labels, logits)
    mask = jnp.ones(labels.shape, bool) if mask is None else mask.astype(bool)

    def total(values):
        return jnp.where(mask, values, 0).sum(dtype=jnp.float32)

    own = {name: metric(logits, labels, mask) for name, metric in (more or {}).items()}
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
    return eval_step_accumulating(task, state, empty_eval_metrics(task), batch)


def _eval_logits(task: Task, params: dict, batch_stats: dict, images: jax.Array) -> jax.Array:
    """Logits [B, K] of images [B, H, W, C], or the average of their views [B, V, H, W, C]."""
    params = jax.lax.with_sharding_constraint(params, NamedSharding(task.mesh, REPLICATED))
    variables = {"params": params, "batch_stats": batch_stats}
    pixels = task.normalize(images.reshape(-1, *images.shape[-3:]))
    logits: Any = task.model.apply(variables, pixels, train=False)
    if images.ndim == 4:
        return logits
    return average(logits.reshape(*images.shape[:2], -1), task.average_views)


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
    metrics = {name: jnp.zeros((), jnp.float32) for name in [*names, "examples"]}
    if not task.tables:
        return metrics
    empty = {name: table.empty(_num_classes(task)) for name, table in task.tables.items()}
    return metrics | {
        f"{prefix}{TABLES}": empty for prefix in ("", RAW)[: 1 + (task.average is not None)]
    }


def _num_classes(task: Task) -> int:
    """The number of logits of an image; computes nothing."""
    images = task.normalize(jnp.zeros((1, *task.image_shape), jnp.uint8))
    logits, _ = jax.eval_shape(
        lambda images: task.model.init_with_output(jax.random.key(0), images, train=False), images
    )
    return logits.shape[-1]


def add_metrics(metrics: Metrics, more: Metrics) -> Metrics:
    """Adds two sums; keeps the last learning rate and the first step with a non-finite loss."""
    added = {
        name: metrics[name] + more[name]
        for name in metrics
        if name not in NOT_SUMS and not name.endswith(TABLES)
    }
    if "nonfinite_step" not in metrics:
        return added
    first = metrics["nonfinite_step"]
    return added | {
        "learning_rate": more.get("learning_rate", metrics["learning_rate"]),
        "nonfinite_step": jnp.where(first < 0, more.get("nonfinite_step", first), first),
    }


def train_step_accumulating(
    task: Task, state: TrainState, metrics: Metrics, batch: Batch, teacher: Any = None
) -> tuple[TrainState, Metrics]:
    """As `train_step`, with the metrics of the batch added to `metrics`."""
    state, more = train_step(task, state, batch, teacher)
    return state, add_metrics(metrics, more)


def eval_step_accumulating(
    task: Task, state: TrainState, metrics: Metrics, batch: Batch
) -> Metrics:
    """As `eval_step`, with the metrics of the batch added to `metrics`."""
    labels, mask = batch["label"], batch["mask"]
    more, tables = {}, {}
    evaluated = [("", state.eval_params, state.eval_batch_stats)]
    if task.average:
        evaluated.append((RAW, state.params, state.batch_stats))
    for prefix, params, batch_stats in evaluated:
        logits = _eval_logits(task, params, batch_stats, batch["image"])
        sums = _sum_metrics(logits, labels, task.eval_loss(logits, labels), mask, task.metrics)
        more |= {name if name == "examples" else f"{prefix}{name}": sums[name] for name in sums}
        if task.tables:
            before = metrics[key := f"{prefix}{TABLES}"]
            tables[key] = {
                name: table.add(before[name], logits, labels, mask)
                for name, table in task.tables.items()
            }
    return add_metrics(metrics, more) | tables


def take_batch(data: Batch, indices: jax.Array) -> Batch:
    """Gathers the examples `indices` [B] of a data set that is in device memory."""
    return {name: jnp.take(array, indices, axis=0, mode="clip") for name, array in data.items()}


def train_steps(
    task: Task,
    state: TrainState,
    data: Batch,
    indices: jax.Array,
    count: jax.Array,
    teacher: Any = None,
) -> tuple[TrainState, Metrics]:
    """Runs `count` training steps in one call, so that the device never waits for Python.

    Args:
      data: a training split in device memory.
      indices: int32 [N, B]; row i holds the examples of step i.
      count: int32 [], at most N. It is an argument and not a shape, so that one compiled program
        runs any number of steps.
      teacher: see `train_step`.

    Returns:
      The state after them, and the sum of their metrics.
    """

    def body(row, carry: tuple[TrainState, Metrics]):
        return train_step_accumulating(task, *carry, take_batch(data, indices[row]), teacher)

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
