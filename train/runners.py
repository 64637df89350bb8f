"""The compiled programs of a run, and how they are fed with data.

Two runners with the same methods: `OnDeviceRunner` keeps both splits in device memory, and
`StreamingRunner` receives batches from the host. Both compile all programs when constructed.
"""

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Protocol

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from input_pipeline import loader, order
from input_pipeline.example import Source
from train import step
from train.batch_norm import batches_of, reestimated
from train.data import Data, check_labels
from train.durations import Intervals
from train.sharding import BATCH, REPLICATED, state_shardings

STEPS_IN_FLIGHT = 2  # that the host dispatches ahead of the device
EVAL_BATCHES_PER_CALL = 16

Check = Callable[[], object]
Update = tuple[step.TrainState, step.Metrics, int]


class Runner(Protocol):
    """Trains and evaluates on the data of a run.

    Attributes:
      skipped: number of images skipped so far because they cannot be read.
    """

    skipped: int

    def train(self, state: step.TrainState, start: int, stop: int) -> Iterator[Update]:
        """Runs the steps start + 1 to stop; yields (state, metrics since start, step) in between.

        A state is donated to the next step: only the one yielded last may be used.
        """
        ...

    def evaluated(self, state: step.TrainState) -> step.TrainState:
        """Returns the state that is evaluated: with `Task.batch_norm_images`, other statistics."""
        ...

    def evaluate(self, state: step.TrainState, check: Check) -> step.Metrics:
        """Evaluates every image of the split once; `check` is called between batches."""
        ...


class OnDeviceRunner:
    """A `Runner` on data in device memory; the host sends only the order of the examples."""

    skipped = 0  # an image that cannot be read makes loading the data fail

    def __init__(
        self,
        task: step.Task,
        shapes: step.TrainState,
        intervals: Intervals,
        data: Data,
        batch_sizes: tuple[int, int],
    ):
        self._task, self._seed, self._num_examples = task, task.seed, len(data.train)
        self._placing = {"repeats": data.repeats, "replicas": data.replicas}
        self._batch_size, eval_batch_size = batch_sizes
        self._max_steps = intervals.max_steps_per_call
        self._replicated = NamedSharding(task.mesh, REPLICATED)
        self._row = NamedSharding(task.mesh, BATCH)
        self._rows = NamedSharding(task.mesh, PartitionSpec(None, *BATCH))
        self.train_data, self.eval_data = (
            {name: _put(array, self._replicated) for name, array in data.load(source).items()}
            for source in (data.train, data.evaluation)
        )
        self._eval_rows = _padded_rows(len(data.evaluation), eval_batch_size)
        self._empty_eval_metrics = partial(
            _zeros, partial(step.empty_eval_metrics, task), self._replicated
        )
        self._teacher = _teacher(task, self._replicated)
        self._compile(task, shapes, eval_batch_size)

    def _compile(self, task: step.Task, shapes: step.TrainState, eval_batch_size: int) -> None:
        states, replicated = state_shardings(shapes, task.mesh), self._replicated
        metrics = jax.eval_shape(step.empty_metrics)
        eval_metrics = jax.eval_shape(partial(step.empty_eval_metrics, task))
        train = lower_train_steps(
            task, shapes, self.train_data, (self._max_steps, self._batch_size)
        )
        self.multi_step = not _has_slow_loop(train)
        if not self.multi_step:
            train = jax.jit(
                partial(_indexed_train_step, task),
                in_shardings=(states, replicated, replicated, self._row, replicated),
                out_shardings=(states, replicated),
                donate_argnums=0,
            ).lower(
                *(shapes, metrics, self.train_data, _shape((self._batch_size,), np.int32)),
                _teacher_shapes(task),
            )
        eval_shape = EVAL_BATCHES_PER_CALL, eval_batch_size
        evaluation = jax.jit(
            partial(step.eval_steps, task),
            in_shardings=(states, replicated, replicated, self._rows, self._rows, replicated),
            out_shardings=replicated,
        ).lower(
            shapes,
            eval_metrics,
            self.eval_data,
            _shape(eval_shape, np.int32),
            _shape(eval_shape, bool),
            _shape((), np.int32),
        )
        self.train_program, self.eval_program = _compile_all(train, evaluation)

    def train(self, state: step.TrainState, start: int, stop: int) -> Iterator[Update]:
        """See `Runner.train`."""
        if start == stop:
            return
        positions = start * self._batch_size, stop * self._batch_size
        placing = self._placing | {"batch_size": self._batch_size}
        rows = order.indices(self._seed, *positions, self._num_examples, **placing)
        rows = rows.astype(np.int32).reshape(stop - start, self._batch_size)
        if self.multi_step:
            rows = _put(np.pad(rows, ((0, self._max_steps - len(rows)), (0, 0))), self._rows)
            count = _put(np.asarray(stop - start, np.int32), self._replicated)
            state, metrics = self.train_program(state, self.train_data, rows, count, self._teacher)
            yield state, metrics, stop
            return
        metrics = _zeros(step.empty_metrics, self._replicated)
        throttle = _Throttle()
        for index, row in enumerate(rows):
            row = _put(row, self._row)
            state, metrics = self.train_program(state, metrics, self.train_data, row, self._teacher)
            throttle(metrics)
            yield state, metrics, start + index + 1

    def evaluated(self, state: step.TrainState) -> step.TrainState:
        """See `Runner.evaluated`."""
        if not self._task.batch_norm_images:
            return state
        count = batches_of(self._task.batch_norm_images, self._batch_size, self._num_examples)
        rows = order.indices(self._seed, 0, count * self._batch_size, self._num_examples)
        rows = rows.astype(np.int32).reshape(count, self._batch_size)
        batches = (step.take_batch(self.train_data, _put(row, self._row)) for row in rows)
        return reestimated(self._task, state, batches)

    def evaluate(self, state: step.TrainState, check: Check) -> step.Metrics:
        """See `Runner.evaluate`."""
        metrics, (rows, masks) = self._empty_eval_metrics(), self._eval_rows
        for first in range(0, len(rows), EVAL_BATCHES_PER_CALL):
            check()
            chunk = [array[first : first + EVAL_BATCHES_PER_CALL] for array in (rows, masks)]
            count = _put(np.asarray(len(chunk[0]), np.int32), self._replicated)
            padding = (0, EVAL_BATCHES_PER_CALL - len(chunk[0])), (0, 0)
            chunk = [_put(np.pad(array, padding), self._rows) for array in chunk]
            metrics = self.eval_program(state, metrics, self.eval_data, *chunk, count)
        return metrics


class StreamingRunner:
    """A `Runner` on batches that the host decodes while the device computes."""

    def __init__(
        self,
        task: step.Task,
        shapes: step.TrainState,
        intervals: Intervals,
        data: Data,
        batch_sizes: tuple[int, int],
        workers: int,
    ):
        self._task, self._seed, self._data = task, task.seed, data
        self._last_step = intervals.total
        self._batch_size, self._eval_batch_size = batch_sizes
        self._workers = (os.cpu_count() or 1) if workers < 0 else workers
        self._shard = (jax.process_index(), jax.process_count())
        self._replicated = NamedSharding(task.mesh, REPLICATED)
        self._batch = NamedSharding(task.mesh, BATCH)
        self._batches, self._next_step = iter(()), None
        self._teacher = _teacher(task, self._replicated)
        self.skipped = 0
        eval_batch = _batch_shapes(task.eval_shape or task.image_shape, self._eval_batch_size)
        eval_batch["mask"] = _shape((self._eval_batch_size,), np.float32)
        empty_eval_metrics = partial(step.empty_eval_metrics, task)
        self._empty_eval_metrics = partial(_zeros, empty_eval_metrics, self._replicated)
        self.train_program, self.eval_program = _compile_all(
            lower_train_step(task, shapes, self._batch_size),
            jax.jit(
                partial(step.eval_step_accumulating, task),
                in_shardings=(state_shardings(shapes, task.mesh), self._replicated, self._batch),
                out_shardings=self._replicated,
            ).lower(shapes, jax.eval_shape(empty_eval_metrics), eval_batch),
        )

    def train(self, state: step.TrainState, start: int, stop: int) -> Iterator[Update]:
        """See `Runner.train`; yields after each step."""
        if start == stop:
            return
        if start != self._next_step:
            self._batches = loader.train_batches(
                self._data.train,
                self._data.train_transform,
                batch_size=self._batch_size,
                seed=self._seed,
                start_step=start,
                num_steps=self._last_step - start,
                shard=self._shard,
                workers=self._workers,
                repeats=self._data.repeats,
                replicas=self._data.replicas,
            )
        metrics = _zeros(step.empty_metrics, self._replicated)
        throttle = _Throttle()
        for index in range(start, stop):
            batch = self._to_device(next(self._batches), self._data.train)
            state, metrics = self.train_program(state, metrics, batch, self._teacher)
            self._next_step = index + 1
            throttle(metrics)
            yield state, metrics, index + 1

    def evaluated(self, state: step.TrainState) -> step.TrainState:
        """See `Runner.evaluated`."""
        if not self._task.batch_norm_images:
            return state
        count = batches_of(self._task.batch_norm_images, self._batch_size, len(self._data.train))
        batches = loader.train_batches(
            self._data.train,
            self._data.train_transform,
            batch_size=self._batch_size,
            seed=self._seed,
            start_step=0,
            num_steps=count,
            shard=self._shard,
            workers=self._workers,
        )
        on_device = (self._to_device(batch, self._data.train) for batch in batches)
        return reestimated(self._task, state, on_device)

    def evaluate(self, state: step.TrainState, check: Check) -> step.Metrics:
        """See `Runner.evaluate`."""
        batches = loader.eval_batches(
            self._data.evaluation,
            self._data.eval_transform,
            batch_size=self._eval_batch_size,
            shard=self._shard,
            workers=self._workers,
        )
        metrics = self._empty_eval_metrics()
        throttle = _Throttle()
        for batch in batches:
            check()
            batch = self._to_device(batch, self._data.evaluation)
            metrics = self.eval_program(state, metrics, batch)
            throttle(metrics)
        return metrics

    def _to_device(self, batch: dict[str, np.ndarray], source: Source) -> step.Batch:
        self.skipped += int(np.sum(batch.pop("skipped", 0)))
        labels = batch["label"][batch["mask"] > 0] if "mask" in batch else batch["label"]
        check_labels(labels, self._data.num_classes, source)
        return {
            name: jax.make_array_from_process_local_data(self._batch, array)
            for name, array in batch.items()
        }


def lower_train_step(
    task: step.Task, shapes: step.TrainState, batch_size: int
) -> jax.stages.Lowered:
    """Lowers the training program of `StreamingRunner` for the task's mesh."""
    states = state_shardings(shapes, task.mesh)
    replicated, batch = NamedSharding(task.mesh, REPLICATED), NamedSharding(task.mesh, BATCH)
    return jax.jit(
        partial(step.train_step_accumulating, task),
        in_shardings=(states, replicated, batch, replicated),
        out_shardings=(states, replicated),
        donate_argnums=0,
    ).lower(
        *(shapes, jax.eval_shape(step.empty_metrics)),
        *(_batch_shapes(task.image_shape, batch_size), _teacher_shapes(task)),
    )


def lower_train_steps(
    task: step.Task, shapes: step.TrainState, data: dict[str, Any], rows: tuple[int, int]
) -> jax.stages.Lowered:
    """Lowers the training program of `OnDeviceRunner` for the task's mesh.

    Args:
      data: the training split, or its shapes.
      rows: (largest number of steps in a call, batch size).
    """
    states, replicated = state_shardings(shapes, task.mesh), NamedSharding(task.mesh, REPLICATED)
    indices = NamedSharding(task.mesh, PartitionSpec(None, *BATCH))
    return jax.jit(
        partial(step.train_steps, task),
        in_shardings=(states, replicated, indices, replicated, replicated),
        out_shardings=(states, replicated),
        donate_argnums=0,
    ).lower(shapes, data, _shape(rows, np.int32), _shape((), np.int32), _teacher_shapes(task))


def _teacher(task: step.Task, sharding: NamedSharding) -> Any:
    """The teacher's variables on the devices; None if there is no teacher."""
    return task.teacher and jax.tree.map(
        lambda array: _put(array, sharding), task.teacher.variables
    )


def _teacher_shapes(task: step.Task) -> Any:
    return task.teacher and jax.tree.map(
        lambda array: _shape(array.shape, array.dtype), task.teacher.variables
    )


def _batch_shapes(image_shape: tuple[int, ...], batch_size: int) -> dict:
    image = _shape((batch_size, *image_shape), np.uint8)
    return {"image": image, "label": _shape((batch_size,), np.int32)}


class _Throttle:
    """Waits for the step before the last few, so that batches do not pile up on the device."""

    def __init__(self):
        self._pending = deque()

    def __call__(self, metrics: step.Metrics) -> None:
        self._pending.append(metrics["examples"])
        if len(self._pending) > STEPS_IN_FLIGHT:
            self._pending.popleft().block_until_ready()


def _indexed_train_step(task: step.Task, state, metrics, data, indices, teacher):
    batch = step.take_batch(data, indices)
    return step.train_step_accumulating(task, state, metrics, batch, teacher)


def _has_slow_loop(lowered: jax.stages.Lowered) -> bool:
    """XLA runs a convolution inside a loop on one core of a CPU, outside of it on all."""
    return jax.default_backend() == "cpu" and "stablehlo.convolution" in lowered.as_text()


def _compile_all(*lowered: jax.stages.Lowered) -> list[jax.stages.Compiled]:
    with ThreadPoolExecutor(len(lowered)) as pool:
        return list(pool.map(lambda program: program.compile(), lowered))


def _padded_rows(count: int, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices 0 to count - 1 as batches, int32 [M, B], and their mask, bool [M, B]."""
    positions = np.arange(-(-count // batch_size) * batch_size, dtype=np.int32)
    mask = positions < count
    rows = np.where(mask, positions, 0)
    return rows.reshape(-1, batch_size), mask.reshape(-1, batch_size)


def _put(array: np.ndarray, sharding: NamedSharding) -> jax.Array:
    """Puts an array that every process holds onto the devices."""
    return jax.make_array_from_callback(np.shape(array), sharding, lambda index: array[index])


def _zeros(empty: Callable[[], step.Metrics], sharding: NamedSharding) -> step.Metrics:
    """The metrics of nothing on the devices, without running a program."""
    values = {"nonfinite_step": -1}  # all others are 0

    def full(value, shape):
        return _put(np.full(shape.shape, value, shape.dtype), sharding)

    return {
        name: jax.tree.map(partial(full, values.get(name, 0)), shapes)
        for name, shapes in jax.eval_shape(empty).items()
    }


def _shape(shape: tuple[int, ...], dtype) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, dtype)
