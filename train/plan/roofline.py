"""The roofline of a recipe's training step on a TPU slice.

The step is the program of `python -m train`, compiled by the TPU's own compiler, and its operations
and bytes are counted in the result. The time is a lower bound and not a measurement: a chip cannot
exceed its peaks, and in practice is slower.
"""

import functools
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import jax
import numpy as np
from ml_collections import ConfigDict

from input_pipeline.example import Examples, Source
from train.build import make_task, state_shapes
from train.data import Data, make_data, open_data
from train.durations import Intervals
from train.errors import TrainError
from train.plan import hlo
from train.plan.pod import Chip, Pod
from train.runners import lower_train_step, lower_train_steps
from train.sharding import check_batch_size, make_mesh
from train.step import Task, TrainState
from zoo.kernels import platform

# What would otherwise be read from a data set's files: number of images in the training and in the
# evaluation split, number of classes, and the shape of the images if all have the same.
DATA_SETS = {
    "mnist": (60_000, 10_000, 10, (28, 28, 1)),
    "fashion_mnist": (60_000, 10_000, 10, (28, 28, 1)),
    "kmnist": (60_000, 10_000, 10, (28, 28, 1)),
    "cifar10": (50_000, 10_000, 10, (32, 32, 3)),
    "cifar100": (50_000, 10_000, 100, (32, 32, 3)),
    "imagenet2012": (1_281_167, 50_000, 1000, None),
}
MAX_COMPILATIONS = 4  # in the search for the largest batch


class TooLarge(Exception):
    """The program does not fit into the memory of a chip.

    Attributes:
      needed, available: bytes per chip.
    """

    def __init__(self, needed: float, available: float):
        super().__init__(f"{needed} of {available} bytes")
        self.needed, self.available = needed, available


@dataclass(frozen=True)
class Cost:
    """What one step costs each chip.

    Attributes:
      flops: floating-point operations.
      bytes: bytes read from HBM and written to it.
      sent: bytes sent over the links.
    """

    flops: float
    bytes: float
    sent: float

    def seconds(self, chip: Chip, links_bandwidth: float) -> dict[str, float]:
        """Returns lower bounds in seconds, by part and for the whole step.

        "compute", "memory" and "links" are those of the parts. "step" is the slowest of them.
        "step_waiting_for_links" adds the links to the slower of the others, as if the gradients
        were exchanged when there is nothing left to compute.
        """
        parts = {
            "compute": self.flops / chip.flops,
            "memory": self.bytes / chip.bandwidth,
            "links": self.sent / links_bandwidth if self.sent else 0.0,
        }
        waiting = max(parts["compute"], parts["memory"]) + parts["links"]
        return parts | {"step": max(parts.values()), "step_waiting_for_links": waiting}


def step_figures(config: ConfigDict, pod: Pod, batch_per_chip: int = 0) -> dict[str, Any]:
    """Returns all figures of a recipe's step on a slice, as plain numbers in bytes and seconds.

    Args:
      config: a recipe; its data need not be present if they are one of `DATA_SETS`.
      pod: the slice.
      batch_per_chip: replaces the recipe's batch size; 0 keeps that.

    Raises:
      TrainError: the recipe does not fit the slice's number of chips, or is wrong by itself.
    """
    mesh = make_mesh(config.mesh.data, config.mesh.fsdp, pod.devices)
    if batch_per_chip:
        config = config.copy_and_resolve_references()
        config.batch_size = batch_per_chip * mesh.size
    check_batch_size(config.batch_size, mesh, config.optimizer.accumulate)
    data = known_data(config)
    intervals = Intervals.from_config(config, data.examples_per_epoch)
    task = make_task(config, data, intervals, mesh)
    shapes = state_shapes(task)
    figures = {
        "topology": pod.name,
        "model": config.model.name,
        "dtype": config.model.dtype,
        "batch_norm": config.batch_norm,
        "chips": mesh.size,
        "batch_size": config.batch_size,
        "batch_per_chip": config.batch_size // mesh.size,
        "steps": intervals.total,
        "memory": {
            "parameters": _bytes_per_chip(shapes.params),
            "optimizer": _bytes_per_chip(shapes.opt_state),
            "other_state": _bytes_per_chip((shapes.batch_stats, shapes.ema_params)),
            "available": pod.chip.memory,
        },
    }
    start = time.perf_counter()
    try:
        compiled = _compile(task, shapes, intervals, data, config.batch_size)
    except TooLarge as error:
        memory = {"peak": error.needed, "available": error.available}
        return figures | {
            "fits": False,
            "memory": figures["memory"] | memory,
            "compile_seconds": time.perf_counter() - start,
        }
    figures["compile_seconds"] = time.perf_counter() - start
    return figures | program_figures(figures, compiled, pod)


def program_figures(figures: dict, compiled: jax.stages.Compiled, pod: Pod) -> dict[str, Any]:
    """Returns the figures of the compiled program.

    Args:
      figures: those of the recipe, as `step_figures` begins them.
      compiled: the training step.
      pod: the slice that it was compiled for.
    """
    text = compiled.as_text() or ""
    # Every compiler that the plan knows gives these; JAX says that one may not.
    memory: Any = compiled.memory_analysis()
    analysis: Any = compiled.cost_analysis()
    exchanges = [c for c in hlo.collectives(text, figures["chips"]) if c.devices > 1]
    cost = Cost(analysis["flops"], hlo.hbm_bytes(text), sum(c.sent for c in exchanges))
    seconds = cost.seconds(pod.chip, pod.links_bandwidth)
    rate = figures["batch_per_chip"] / seconds["step"]
    bound = max(("compute", "memory", "links"), key=seconds.__getitem__)
    return {
        "fits": True,
        "memory": figures["memory"]
        | {"temporaries": memory.temp_size_in_bytes, "peak": _peak_bytes(memory)},
        "flops": cost.flops,
        "bytes": cost.bytes,
        "bytes_with_on_chip": analysis["bytes accessed"],
        "links_bytes": cost.sent,
        "seconds": seconds,
        "bound": bound,
        "images_per_second_per_chip": rate,
        "images_per_second": rate * figures["chips"],
        "mfu": cost.flops / pod.chip.flops / seconds["step"],
        "collectives": by_kind(exchanges),
        "recipe_seconds": figures["steps"] * seconds["step"],
    }


def _peak_bytes(memory) -> int:
    """Bytes that the program needs while it runs: arguments, results and temporaries."""
    results = memory.output_size_in_bytes - memory.alias_size_in_bytes  # others reuse arguments
    needed = memory.argument_size_in_bytes + results + memory.temp_size_in_bytes
    return max(needed, memory.peak_memory_in_bytes)


def by_kind(exchanges: list[hlo.Collective]) -> dict[str, dict[str, int]]:
    """Returns count and bytes of the collectives of each kind."""
    return {
        kind: {
            "count": sum(c.kind == kind for c in exchanges),
            "bytes": sum(c.size for c in exchanges if c.kind == kind),
        }
        for kind in sorted({c.kind for c in exchanges})
    }


def largest_batch(
    peak: Callable[[int], float], available: float, fixed: float, batch: int
) -> tuple[int, int]:
    """Searches for the largest batch per chip that fits into memory.

    Memory grows nearly linearly with the batch, so a few compilations suffice.

    Args:
      peak: returns the bytes that a batch needs, or raises TooLarge; called at most
        `MAX_COMPILATIONS` times.
      available: bytes per chip.
      fixed: bytes that do not depend on the batch.
      batch: the first one to try.

    Returns:
      The largest batch found to fit and the smallest found not to; 0 if there was none.
    """
    fits, fails = 0, 0
    for _ in range(MAX_COMPILATIONS):
        try:
            needed = peak(batch)
            fits = max(fits, batch)
        except TooLarge as error:
            needed = error.needed
            fails, available = min(fails or batch, batch), min(available, error.available)
        slope = max(needed - fixed, 1) / batch
        batch = int((available - fixed) / slope)
        if fails and not fits < batch < fails:
            batch = (fits + fails) // 2
        batch = max(batch - batch % 8, 1)
        if batch <= fits or batch == fails:
            break
    return fits, fails


def known_data(config: ConfigDict) -> Data:
    """Returns the recipe's data set as far as the step depends on it; known ones need no files."""
    name = config.data.name.partition(":")[0]
    if name not in DATA_SETS:
        return open_data(config)
    *counts, num_classes, shape = DATA_SETS[name]
    train, evaluation = (
        Source(
            name,
            split,
            cast(Examples, range(_split_size(split, count))),  # only its length is asked for
            tuple(map(str, range(num_classes))),
            shape,
        )
        for split, count in zip(
            (config.data.train_split, config.data.eval_split), counts, strict=True
        )
    )
    return make_data(config, train, evaluation)


def _split_size(split: str, count: int) -> int:
    """The number of images in "train[:90%]" or "train[1000:]" if "train" has `count`."""
    match = re.fullmatch(r"\w*(?:\[(?:(\d+)(%?))?:(?:(\d+)(%?))?\])?", split)
    if match is None:
        raise TrainError(
            f"The split {split!r} is not understood here: write train, train[:90%] or train[1000:]."
        )

    def position(number: str | None, percent: str | None, default: int) -> int:
        if number is None:
            return default
        return min(count, round(int(number) * count / 100) if percent else int(number))

    return position(match[3], match[4], count) - position(match[1], match[2], 0)


def _compile(
    task: Task, shapes: TrainState, intervals: Intervals, data: Data, batch_size: int
) -> jax.stages.Compiled:
    if data.on_device:
        count = len(data.train)
        on_device = {
            "image": jax.ShapeDtypeStruct((count, *data.image_shape), np.uint8),
            "label": jax.ShapeDtypeStruct((count,), np.int32),
        }
        rows = intervals.max_steps_per_call, batch_size
        lower = functools.partial(lower_train_steps, task, shapes, on_device, rows)
    else:
        lower = functools.partial(lower_train_step, task, shapes, batch_size)
    with platform.tracing(platform.NATIVE):  # whatever this machine is, the program is for TPUs
        lowered = lower()
    try:
        return lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        raise _compile_error(str(error)) from error


def _compile_error(message: str) -> Exception:
    """TooLarge if the compiler ran out of memory, which it says in one of two ways."""
    size = r"(\d[\d.]*)([KMGTP]?)"
    for words in (rf"Used {size} of {size} hbm", rf"\({size}\) exceeds available HBM \({size}\)"):
        if found := re.search(words, message):
            return TooLarge(_bytes(*found.groups()[:2]), _bytes(*found.groups()[2:]))
    return TrainError(f"The TPU compiler failed: {message.splitlines()[0]}")


def _bytes(number: str, unit: str) -> float:
    return float(number) * 1024 ** " KMGTP".index(unit or " ")


def _bytes_per_chip(tree) -> int:
    return sum(
        int(np.prod(leaf.sharding.shard_shape(leaf.shape))) * leaf.dtype.itemsize
        for leaf in jax.tree.leaves(tree)
    )
