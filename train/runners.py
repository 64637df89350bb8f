"""The compiled programs of a run, and how data reaches them.

Two runners with the same methods: `ResidentRunner` keeps both splits on the device, and
`StreamedRunner` takes batches from the host. Both compile everything when they are made.
"""

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from input_pipeline import loader, order
from train import step
from train.data import Data, check_labels
from train.durations import Plan
from train.sharding import BATCH, WHOLE, state_shardings

IN_FLIGHT = 2  # steps that the host may be ahead of the device
EVAL_STRETCH = 16  # batches evaluated in one call

Check = Callable[[], None]


class ResidentRunner:
    """Steps on data that lies on the device; the host sends only the order of the examples."""

    skipped = 0  # an image that cannot be read stops the load

    def __init__(self, task: step.Task, shapes, plan: Plan, data: Data, batch_sizes):
        self._seed, self._num_examples = task.seed, len(data.train)
        self._batch_size, eval_batch_size = batch_sizes
        self._longest = plan.longest_stretch
        mesh = task.mesh
        self._whole = NamedSharding(mesh, WHOLE)
        self._rows = NamedSharding(mesh, PartitionSpec(None, *BATCH))
        self.train_data, self.eval_data = (
            {name: _place(array, self._whole) for name, array in data.load(source).items()}
            for source in (data.train, data.evaluation)
        )
        self._eval_rows = _padded_rows(len(data.evaluation), eval_batch_size)
        self._compile(task, state_shardings(shapes, mesh), shapes, eval_batch_size)

    def _compile(self, task: step.Task, states, shapes, eval_batch_size: int) -> None:
        eval_rows = [_shape((EVAL_STRETCH, eval_batch_size), kind) for kind in (np.int32, bool)]
        count, sums = _shape((), np.int32), jax.eval_shape(step.no_sums)
        whole = self._whole
        stretch = lower_train_stretch(
            task, shapes, self.train_data, (self._longest, self._batch_size)
        )
        self.one_call = not _loops_are_slow(stretch)
        if not self.one_call:
            stretch = jax.jit(
                partial(_indexed_train_step, task),
                in_shardings=(states, whole, whole, NamedSharding(task.mesh, BATCH)),
                out_shardings=(states, whole),
                donate_argnums=0,
            ).lower(shapes, sums, self.train_data, _shape((self._batch_size,), np.int32))
        evaluation = jax.jit(
            partial(step.eval_stretch, task),
            in_shardings=(states, whole, whole, self._rows, self._rows, whole),
            out_shardings=whole,
        ).lower(shapes, sums, self.eval_data, *eval_rows, count)
        self.train_program, self.eval_program = _compile_all(stretch, evaluation)

    def train(self, state, start: int, stop: int) -> Iterator[tuple]:
        """Runs steps start to stop; yields (state, sums since start, step) now and then.

        The state that was given or yielded before is used up by the next step.
        """
        positions = start * self._batch_size, stop * self._batch_size
        rows = order.indices(self._seed, *positions, self._num_examples).astype(np.int32)
        rows = rows.reshape(stop - start, self._batch_size)
        if self.one_call:
            rows = np.pad(rows, ((0, self._longest - len(rows)), (0, 0)))
            rows = _place(rows, self._rows)
            state, sums = self.train_program(
                state, self.train_data, rows, _place(np.int32(stop - start), self._whole)
            )
            yield state, sums, stop
            return
        sums = _no_sums(self._whole)
        throttle = _Throttle()
        for index, row in enumerate(rows):
            row = _place(row, NamedSharding(self._whole.mesh, BATCH))
            state, sums = self.train_program(state, sums, self.train_data, row)
            throttle(sums)
            yield state, sums, start + index + 1

    def evaluate(self, state, check: Check) -> step.Sums:
        """Counts every image of the evaluation split once; `check` may raise between batches."""
        sums, (rows, masks) = _no_sums(self._whole), self._eval_rows
        for first in range(0, len(rows), EVAL_STRETCH):
            check()
            parts = [array[first : first + EVAL_STRETCH] for array in (rows, masks)]
            count = _place(np.int32(len(parts[0])), self._whole)
            parts = [np.pad(a, ((0, EVAL_STRETCH - len(a)), (0, 0))) for a in parts]
            parts = [_place(array, self._rows) for array in parts]
            sums = self.eval_program(state, sums, self.eval_data, *parts, count)
        return sums


class StreamedRunner:
    """Steps on batches that the loader decodes on the host while the device works."""

    def __init__(self, task: step.Task, shapes, plan: Plan, data: Data, batch_sizes, workers: int):
        self._seed, self._data, self._last_step = task.seed, data, plan.steps
        self._batch_size, self._eval_batch_size = batch_sizes
        self._workers = os.cpu_count() if workers < 0 else workers
        self._shard = (jax.process_index(), jax.process_count())
        self._whole = NamedSharding(task.mesh, WHOLE)
        self._split = NamedSharding(task.mesh, BATCH)
        self._batches, self._next_step = iter(()), None
        self.skipped = 0  # images passed over because they cannot be read
        states = state_shardings(shapes, task.mesh)
        self.train_program, self.eval_program = _compile_all(
            lower_train_step(task, shapes, self._batch_size),
            jax.jit(
                partial(step.counted_eval_step, task),
                in_shardings=(states, self._whole, self._split),
                out_shardings=self._whole,
            ).lower(
                shapes,
                jax.eval_shape(step.no_sums),
                _batch_shapes(task, self._eval_batch_size)
                | {"mask": _shape((self._eval_batch_size,), np.float32)},
            ),
        )

    def train(self, state, start: int, stop: int) -> Iterator[tuple]:
        """As ResidentRunner.train; yields after each step."""
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
            )
        sums = _no_sums(self._whole)
        throttle = _Throttle()
        for index in range(start, stop):
            batch = self._to_device(next(self._batches), self._data.train)
            state, sums = self.train_program(state, sums, batch)
            self._next_step = index + 1
            throttle(sums)
            yield state, sums, index + 1

    def evaluate(self, state, check: Check) -> step.Sums:
        """As ResidentRunner.evaluate."""
        batches = loader.eval_batches(
            self._data.evaluation,
            self._data.eval_transform,
            batch_size=self._eval_batch_size,
            shard=self._shard,
            workers=self._workers,
        )
        sums = _no_sums(self._whole)
        throttle = _Throttle()
        for batch in batches:
            check()
            sums = self.eval_program(state, sums, self._to_device(batch, self._data.evaluation))
            throttle(sums)
        return sums

    def _to_device(self, batch: dict[str, np.ndarray], source) -> step.Batch:
        self.skipped += int(np.sum(batch.pop("skipped", 0)))
        kept = batch["label"][batch["mask"] > 0] if "mask" in batch else batch["label"]
        check_labels(kept, self._data.num_classes, source)
        return {
            name: jax.make_array_from_process_local_data(self._split, array)
            for name, array in batch.items()
        }


def lower_train_step(task: step.Task, shapes, batch_size: int):
    """`StreamedRunner`'s training program, ready to be compiled for the task's mesh."""
    states = state_shardings(shapes, task.mesh)
    whole, split = NamedSharding(task.mesh, WHOLE), NamedSharding(task.mesh, BATCH)
    return jax.jit(
        partial(step.counted_train_step, task),
        in_shardings=(states, whole, split),
        out_shardings=(states, whole),
        donate_argnums=0,
    ).lower(shapes, jax.eval_shape(step.no_sums), _batch_shapes(task, batch_size))


def lower_train_stretch(task: step.Task, shapes, data, rows: tuple[int, int]):
    """`ResidentRunner`'s: a loop over `rows`, the most steps and the images in each.

    Args:
      data: the training split, or its shapes.
    """
    states = state_shardings(shapes, task.mesh)
    whole = NamedSharding(task.mesh, WHOLE)
    return jax.jit(
        partial(step.train_stretch, task),
        in_shardings=(states, whole, NamedSharding(task.mesh, PartitionSpec(None, *BATCH)), whole),
        out_shardings=(states, whole),
        donate_argnums=0,
    ).lower(shapes, data, _shape(rows, np.int32), _shape((), np.int32))


def _batch_shapes(task: step.Task, batch_size: int) -> dict:
    image = _shape((batch_size, *task.image_shape), np.uint8)
    return {"image": image, "label": _shape((batch_size,), np.int32)}


class _Throttle:
    """Waits for the step before the last few, so that batches do not pile up on the device."""

    def __init__(self):
        self._pending = deque()

    def __call__(self, sums: step.Sums) -> None:
        self._pending.append(sums["examples"])
        if len(self._pending) > IN_FLIGHT:
            self._pending.popleft().block_until_ready()


def _indexed_train_step(task: step.Task, state, sums, data, indices):
    return step.counted_train_step(task, state, sums, step.take(data, indices))


def _loops_are_slow(lowered) -> bool:
    """XLA runs a convolution inside a loop on one core of a CPU, outside of it on all."""
    return jax.default_backend() == "cpu" and "stablehlo.convolution" in lowered.as_text()


def _compile_all(*lowered) -> list:
    with ThreadPoolExecutor(len(lowered)) as pool:
        return list(pool.map(lambda program: program.compile(), lowered))


def _padded_rows(count: int, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices 0 to count - 1 as rows of a batch each, int32 [M, B], and their mask, bool [M, B]."""
    positions = np.arange(-(-count // batch_size) * batch_size, dtype=np.int32)
    mask = positions < count
    rows = np.where(mask, positions, 0)
    return rows.reshape(-1, batch_size), mask.reshape(-1, batch_size)


def _place(array: np.ndarray, sharding: NamedSharding) -> jax.Array:
    """An array that every process has, on the devices."""
    return jax.make_array_from_callback(np.shape(array), sharding, lambda part: array[part])


def _no_sums(sharding: NamedSharding) -> step.Sums:
    shapes = jax.eval_shape(step.no_sums)
    first = {"bad_step": -1}
    return {
        name: _place(np.full((), first.get(name, 0), shape.dtype), sharding)
        for name, shape in shapes.items()
    }


def _shape(shape: tuple[int, ...], dtype) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, dtype)
