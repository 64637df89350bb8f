"""A recipe's training step on a slice of TPUs: compiled for it, and weighed against its chips.

The step is the very program of `python -m train`, compiled by the TPU's own compiler, and its
figures are counted in what came out. How long it takes is a bound and not a measurement: a chip
cannot be quicker than its peaks, and in practice is slower.
"""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from input_pipeline.example import Source
from train.data import Data, data_of, open_data
from train.durations import Plan
from train.errors import TrainError
from train.loop import make_task, state_shapes
from train.plan import hlo
from train.plan.pod import Chip, Pod
from train.runners import lower_train_step, lower_train_stretch
from train.sharding import check_batch_size, make_mesh

# What the plan has to know of a data set and would otherwise read from its files: images in the
# training and the evaluation split, classes, and the shape of the images if all have the same.
DATA_SETS = {
    "mnist": (60_000, 10_000, 10, (28, 28, 1)),
    "fashion_mnist": (60_000, 10_000, 10, (28, 28, 1)),
    "kmnist": (60_000, 10_000, 10, (28, 28, 1)),
    "cifar10": (50_000, 10_000, 10, (32, 32, 3)),
    "cifar100": (50_000, 10_000, 100, (32, 32, 3)),
    "imagenet2012": (1_281_167, 50_000, 1000, None),
}
LARGEST_BATCH_TRIES = 4  # compilations


class TooLarge(Exception):
    """The compiler found no room for the program.

    Attributes:
      needed, available: bytes a chip.
    """

    def __init__(self, needed: float, available: float):
        super().__init__(f"{needed} of {available} bytes")
        self.needed, self.available = needed, available


@dataclass(frozen=True)
class Cost:
    """What one step costs each chip.

    Attributes:
      flops: floating-point operations.
      bytes: read from HBM and written to it.
      sent: bytes over the links.
    """

    flops: float
    bytes: float
    sent: float

    def seconds(self, chip: Chip, links_bandwidth: float) -> dict[str, float]:
        """The least that each part takes, the step, and a step that waits for the links at its end.

        A step takes at least as long as its slowest part. It takes their share on top where the
        gradients are exchanged when there is nothing left to compute.
        """
        parts = {
            "compute": self.flops / chip.flops,
            "memory": self.bytes / chip.bandwidth,
            "links": self.sent / links_bandwidth if self.sent else 0.0,
        }
        waiting = max(parts["compute"], parts["memory"]) + parts["links"]
        return parts | {"step": max(parts.values()), "step_waiting_for_links": waiting}


def step_figures(config: ConfigDict, pod: Pod, batch_per_chip: int = 0) -> dict[str, Any]:
    """All figures of a recipe's step on a slice, as plain numbers; bytes and seconds throughout.

    Args:
      config: a recipe; its data need not be there if they are one of `DATA_SETS`.
      batch_per_chip: instead of the recipe's batch size; 0 for that.

    Raises:
      TrainError: the recipe does not fit the slice's number of chips, or is wrong by itself.
    """
    mesh = make_mesh(config.mesh.data, config.mesh.fsdp, pod.devices)
    if batch_per_chip:
        config = config.copy_and_resolve_references()
        config.batch_size = batch_per_chip * mesh.size
    check_batch_size(config.batch_size, mesh)
    data = known_data(config)
    plan = Plan.of(config, len(data.train))
    task = make_task(config, data, plan, mesh)
    shapes = state_shapes(task)
    figures = {
        "topology": pod.name,
        "model": config.model.name,
        "dtype": config.model.dtype,
        "batch_norm": config.batch_norm,
        "chips": mesh.size,
        "batch_size": config.batch_size,
        "batch_per_chip": config.batch_size // mesh.size,
        "steps": plan.steps,
        "memory": {
            "parameters": _bytes_a_chip(shapes.params),
            "optimizer": _bytes_a_chip(shapes.opt_state),
            "other_state": _bytes_a_chip((shapes.batch_stats, shapes.ema_params)),
            "available": pod.chip.memory,
        },
    }
    start = time.perf_counter()
    try:
        compiled = _compiled(task, shapes, plan, data, config.batch_size)
    except TooLarge as error:
        memory = {"peak": error.needed, "available": error.available}
        return figures | {
            "fits": False,
            "memory": figures["memory"] | memory,
            "compile_seconds": time.perf_counter() - start,
        }
    figures["compile_seconds"] = time.perf_counter() - start
    return figures | program_figures(figures, compiled, pod)


def program_figures(figures: dict, compiled, pod: Pod) -> dict[str, Any]:
    """The figures of the compiled program; `figures` has those of the recipe."""
    text, memory = compiled.as_text(), compiled.memory_analysis()
    analysis = compiled.cost_analysis()
    exchanges = [c for c in hlo.collectives(text, figures["chips"]) if c.devices > 1]
    cost = Cost(analysis["flops"], hlo.hbm_bytes(text), sum(c.sent for c in exchanges))
    seconds = cost.seconds(pod.chip, pod.links_bandwidth)
    rate = figures["batch_per_chip"] / seconds["step"]
    bound = max(("compute", "memory", "links"), key=seconds.get)
    return {
        "fits": True,
        "memory": figures["memory"]
        | {"temporaries": memory.temp_size_in_bytes, "peak": _reserved(memory)},
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


def _reserved(memory) -> int:
    """Bytes that the program holds while it runs: arguments, what comes out of it, temporaries."""
    own = memory.output_size_in_bytes - memory.alias_size_in_bytes  # the rest are arguments reused
    held = memory.argument_size_in_bytes + own + memory.temp_size_in_bytes
    return max(held, memory.peak_memory_in_bytes)


def by_kind(exchanges: list[hlo.Collective]) -> dict[str, dict[str, int]]:
    """Count and bytes of the collectives of each kind."""
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
    """The largest batch a chip that was found to fit, and the smallest that was found not to.

    Memory grows nearly in a line with the batch, so a few compilations come close.

    Args:
      peak: bytes that a batch needs, or TooLarge; called at most `LARGEST_BATCH_TRIES` times.
      fixed: bytes of a batch of none.
      batch: where to begin.

    Returns:
      (fits, fails); 0 where none was found.
    """
    fits, fails = 0, 0
    for _ in range(LARGEST_BATCH_TRIES):
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
    """The recipe's data set as far as the step depends on it, without its files if it is known."""
    name = config.data.name.partition(":")[0]
    if name not in DATA_SETS:
        return open_data(config)
    *counts, num_classes, shape = DATA_SETS[name]
    train, evaluation = (
        Source(name, split, range(_part(split, count)), tuple(map(str, range(num_classes))), shape)
        for split, count in zip(
            (config.data.train_split, config.data.eval_split), counts, strict=True
        )
    )
    return data_of(config, train, evaluation)


def _part(split: str, count: int) -> int:
    """How many of a split's images "train[:90%]" or "train[1000:]" are."""
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


def _compiled(task, shapes, plan: Plan, data: Data, batch_size: int):
    if data.on_device:
        count = len(data.train)
        resident = {
            "image": jax.ShapeDtypeStruct((count, *data.image_shape), np.uint8),
            "label": jax.ShapeDtypeStruct((count,), np.int32),
        }
        rows = plan.longest_stretch, batch_size
        lowered = lower_train_stretch(task, shapes, resident, rows)
    else:
        lowered = lower_train_step(task, shapes, batch_size)
    try:
        return lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        raise _no_room(str(error)) from error


def _no_room(message: str) -> Exception:
    """What the compiler says in one of two ways, of memory as it was used or as it would be."""
    size = r"(\d[\d.]*)([KMGTP]?)"
    for words in (rf"Used {size} of {size} hbm", rf"\({size}\) exceeds available HBM \({size}\)"):
        if found := re.search(words, message):
            return TooLarge(_bytes(*found.groups()[:2]), _bytes(*found.groups()[2:]))
    return TrainError(f"The TPU compiler failed: {message.splitlines()[0]}")


def _bytes(number: str, unit: str) -> float:
    return float(number) * 1024 ** " KMGTP".index(unit or " ")


def _bytes_a_chip(tree) -> int:
    return sum(
        int(np.prod(leaf.sharding.shard_shape(leaf.shape))) * leaf.dtype.itemsize
        for leaf in jax.tree.leaves(tree)
    )
