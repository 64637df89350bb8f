"""Batches for training and evaluation, decoded by threads or by worker processes.

The example and the random numbers of each position in a batch depend on the seed and on the global
position alone: a run resumes at any step without reading ahead, and any number of hosts or workers
gives the same global batches.
"""

import atexit
import gc
import multiprocessing.util  # whose end of the workers comes after ours, as it is registered first
import os
import signal
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from input_pipeline import decode, order
from input_pipeline.example import DataError, Source, UnreadableImage, known_label
from input_pipeline.transforms import Pad, Transform

Batch = dict[str, np.ndarray]


def train_batches(
    source: Source,
    transform: Transform | None,
    *,
    batch_size: int,
    seed: int,
    start_step: int,
    num_steps: int,
    shard: tuple[int, int] = (0, 1),
    workers: int = 0,
    repeats: int = 1,
    replicas: int = 1,
) -> Iterator[Batch]:
    """Yields the batches of `num_steps` training steps from `start_step` on.

    Args:
      source: the training split.
      transform: (example, random generator) -> uint8 [S, S, C]; None for images that are arrays of
        one shape, as they are.
      batch_size: number of images in a global batch.
      seed: determines the order of the examples and the random numbers of the transform.
      start_step: number of steps done before.
      num_steps: number of batches.
      shard: (process_index, process_count); each process gets an equal, consecutive part of every
        batch.
      workers: number of worker processes; 0 decodes in threads of this process, one per core.
        Decoding releases the GIL, so threads suffice for a few cores; many cores need processes.
      repeats, replicas: how often each example stands in an epoch, and how many parts of a batch
        get such copies in turn, see `order.indices`.

    Yields:
      {"image": uint8 [B_local, S, S, C], "label": int32 [B_local]}. If the source skips unreadable
      images, also "skipped": int32 [B_local], the number of images that were skipped before the one
      used instead.

    Raises:
      DataError: the batch size does not divide over the processes, or no image can be read.
      UnreadableImage: an image cannot be read, and the source does not skip it.
    """
    local = _local_batch_size(batch_size, shard)
    placing = {"repeats": repeats, "batch_size": batch_size, "replicas": replicas}
    reader = _TrainReader(source, _known(transform, source), seed, placing)
    first = start_step * batch_size + shard[0] * local
    return _batches(_Rows(reader, first, batch_size, local, num_steps), workers)


def eval_batches(
    source: Source,
    transform: Transform | None,
    *,
    batch_size: int,
    shard: tuple[int, int] = (0, 1),
    workers: int = 0,
) -> Iterator[Batch]:
    """Yields every example once, in the order of the source; each process gets as many batches.

    Arguments and errors are those of `train_batches`.

    Yields:
      {"image": uint8 [B_local, S, S, C], "label": int32 [B_local], "mask": float32 [B_local]};
      mask is 0 where the last batch is padded. If the source skips unreadable images, these are
      masked too, and "skipped", int32 [B_local], is 1 for them.
    """
    local = _local_batch_size(batch_size, shard)
    transform = _known(transform, source)
    reader = _EvalReader(source, transform, _output_shape(source, transform))
    num_batches = -(-len(source) // batch_size)
    return _batches(_Rows(reader, shard[0] * local, batch_size, local, num_batches), workers)


@dataclass(frozen=True)
class _TrainReader:
    """Reads the example at a global position of training."""

    source: Source
    transform: Transform
    seed: int
    placing: dict[str, int]  # arguments of `order.indices`

    def __call__(self, position: int) -> Batch:
        n = len(self.source)
        (index,) = order.indices(self.seed, position, position + 1, n, **self.placing)
        for skipped in range(n):
            try:
                example = self.source[(index + skipped) % n]
                image = self.transform(example, generator(self.seed, position))
            except UnreadableImage:
                if self.source.on_unreadable == "stop":
                    raise
            else:
                row = {"image": image, "label": known_label(example)}
                return row | _skip_count(self.source, skipped)
        raise _no_readable_image(self.source)


@dataclass(frozen=True)
class _EvalReader:
    """Reads the example at a global position of evaluation; masked past the end."""

    source: Source
    transform: Transform
    shape: tuple[int, int, int]

    def __call__(self, position: int) -> Batch:
        if position >= len(self.source):
            return self._masked(skipped=0)
        try:
            example = self.source[position]
            image = self.transform(example, generator(0, position))
        except UnreadableImage:
            if self.source.on_unreadable == "stop":
                raise
            return self._masked(skipped=1)
        row = {"image": image, "label": known_label(example), "mask": np.float32(1)}
        return row | _skip_count(self.source, 0)

    def _masked(self, skipped: int) -> Batch:
        row = {"image": np.zeros(self.shape, np.uint8), "label": np.int32(0), "mask": np.float32(0)}
        return row | _skip_count(self.source, skipped)


@dataclass(frozen=True)
class _Rows:
    """The examples of one process's batches, concatenated: a random-access source for grain."""

    reader: Callable[[int], Batch]
    first: int  # global position of the first row
    stride: int  # between the same row of two batches: the global batch size
    batch_size: int  # of this process
    num_batches: int

    def __len__(self) -> int:
        return self.batch_size * self.num_batches

    def __getitem__(self, index: int) -> Batch:
        batch, row = divmod(index, self.batch_size)
        return self.reader(self.first + batch * self.stride + row)


def _batches(rows: _Rows, workers: int) -> Iterator[Batch]:
    if not len(rows):
        return iter(())
    import grain

    batches = grain.MapDataset.source(rows).batch(rows.batch_size)
    if not workers:
        has_affinity = hasattr(os, "sched_getaffinity")
        threads = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
        options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)
        return iter(batches.to_iter_dataset(options))
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise DataError(f"This is a worker process that runs the program again. {_GUARD}")
    from absl import flags

    # grain reads an absl flag when it starts processes, and programs without absl never parse it.
    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()
    options = grain.ReadOptions(num_threads=1, prefetch_buffer_size=2)
    processes = grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=2)
    dataset = batches.to_iter_dataset(options).mp_prefetch(processes, _end_with_the_program)
    return _WorkerBatches(iter(dataset))


_GUARD = (
    'A script must start what reads data below `if __name__ == "__main__":`, because each worker '
    "process imports it first; or set the number of workers to 0."
)


def _end_with_the_program(worker: int, workers: int) -> None:
    """Makes this worker process end with the program, however that ends.

    By itself a worker whose program was killed waits for ever, and keeps its pipes open.
    """
    parent = multiprocessing.parent_process()
    program = parent.pid if parent else None

    def watch() -> None:
        while os.getppid() == program:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the program decides


class _WorkerBatches(Iterator[Batch]):
    """Batches of worker processes, which are stopped when it ends, fails or goes."""

    def __init__(self, batches: Any):
        self._batches = batches
        _running.add(self)

    def __next__(self) -> Batch:
        if self._batches is None:
            raise StopIteration
        try:
            return _without_names(next(self._batches))
        except DataError as error:
            # Made anew, because the frames of this one hold queues, which could not be given back.
            failure = type(error)(*error.args)
        except RuntimeError as error:
            if "terminated unexpectedly" not in str(error):
                self.close()
                raise
            failure = DataError(
                f"A worker process of the loader ended: {error} {_GUARD} Otherwise look for what "
                "ended it, such as the memory limit of the machine."
            )
        except BaseException:  # the end, or Ctrl-C
            self.close()
            raise
        self.close()
        _wait_for_grain()
        raise failure

    def close(self) -> bool:
        """Stops the processes and waits for their end; returns whether there were any."""
        batches, self._batches = self._batches, None
        if batches is not None:
            batches.close()
        return batches is not None

    __del__ = close


def _without_names(batch: Batch) -> Batch:
    """The batch, whose shared memory has no name any more: it goes with the program at the latest.

    grain takes the names away when the arrays go, which programs that end at once never let them.
    """
    for array in batch.values():
        if getattr(array, "shm", None) is not None and getattr(array, "_unlink_on_del", False):
            array.shm.unlink()  # pyright: ignore[reportAttributeAccessIssue]
            array._unlink_on_del = False  # pyright: ignore[reportAttributeAccessIssue]
    return batch


_running: weakref.WeakSet[_WorkerBatches] = weakref.WeakSet()


@atexit.register
def stop_workers() -> None:
    """Stops the worker processes of all loaders; for programs that end by `os._exit`."""
    if [batches for batches in _running if batches.close()]:
        _wait_for_grain()


def _wait_for_grain() -> None:
    """Waits until the semaphores of stopped workers and most of their memory are given back.

    Python complains about them at the end of a program otherwise. Threads of grain notice within a
    second that they are not needed; queues are free when neither they nor a cycle hold them.
    """
    until = time.monotonic() + 1.5
    for thread in threading.enumerate():
        if thread.name.startswith("grain-thread-prefetch"):
            thread.join(max(0, until - time.monotonic()))
    gc.collect()
    time.sleep(0.1)  # in which another of its threads unlinks the shared memory


def _local_batch_size(batch_size: int, shard: tuple[int, int]) -> int:
    index, count = shard
    if not 0 <= index < count:
        raise ValueError(f"shard {shard}: there is no process {index} of {count}")
    if batch_size <= 0 or batch_size % count:
        raise DataError(
            f"The batch size {batch_size} does not divide over {count} processes. Choose a "
            f"multiple of {count}, such as {max(1, round(batch_size / count)) * count}."
        )
    return batch_size // count


def _known(transform: Transform | None, source: Source) -> Transform:
    """The transform, or for None what leaves images as they are.

    Raises:
      DataError: they are not of one shape, so that there are no batches of them.
    """
    if transform is not None:
        return transform
    if source.image_shape is None:
        raise DataError(
            f"The images of {source.dataset} differ in size: name a transform that makes them "
            "equal, such as input_pipeline.transforms.CenterCrop(224)."
        )
    return Pad(0)


def _output_shape(source: Source, transform: Transform) -> tuple[int, int, int]:
    """Shape of the transformed images, which masked examples need too."""
    for index in range(len(source)):
        try:
            return transform(source[index], generator(0, index)).shape
        except UnreadableImage:
            if source.on_unreadable == "stop":
                raise
    raise _no_readable_image(source)


def generator(seed: int, position: int) -> np.random.Generator:
    """Returns the random numbers that the transform of one example gets in training."""
    return np.random.Generator(np.random.Philox(key=[seed, position]))


def _skip_count(source: Source, skipped: int) -> Batch:
    return {"skipped": np.asarray(skipped, np.int32)} if source.on_unreadable == "skip" else {}


def _no_readable_image(source: Source) -> DataError:
    return DataError(
        f"Not one of the {len(source)} images of {source.dataset} ({source.split}) can be read. "
        f"Check that the files are complete and are images ({', '.join(decode.FORMATS)})."
    )
