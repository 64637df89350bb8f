"""Time, memory and energy of the forward pass of models, measured on this machine."""

import contextlib
import ctypes
import gc
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from zoo import registry

_COUNTERS = Path("/sys/class/powercap")
_SECONDS = 0.5  # for which a batch is run again and again


class Measured(NamedTuple):
    """The forward pass of a model on one batch.

    Attributes:
      model: Name of the model.
      batch: Number of images.
      image_size: Side of the images in pixels.
      seconds: Median time of one pass.
      memory: Bytes in use at the peak: variables, images, and what the pass adds, or None where the
        system does not say.
      joules: Energy of the processor during one pass, idle power included, or None where the system
        shows no counter.
    """

    model: str
    batch: int
    image_size: int
    seconds: float
    memory: int | None
    joules: float | None

    @property
    def images_per_second(self) -> float:
        """Images of the batch over the seconds of the pass."""
        return self.batch / self.seconds


def measure(name: str, batches: Sequence[int], counters: Path = _COUNTERS) -> Iterator[Measured]:
    """Runs a model with random weights on batches of noise.

    Args:
      name: Name of a registered model.
      batches: Numbers of images, in the order in which they are run.
      counters: Folder of the processor's energy counters (RAPL).

    Raises:
      ValueError: There is no such model.
    """
    model, info = registry.create(name), registry.info(name)
    variables = jax.device_put(random_variables(name))
    for batch in batches:
        shape = batch, info.image_size, info.image_size, info.channels
        images = jax.device_put(np.random.RandomState(0).standard_normal(shape).astype(np.float32))
        compiled = jax.jit(model.apply).lower(variables, images).compile()

        def run(compiled: Any = compiled, images: Any = images) -> None:
            jax.block_until_ready(compiled(variables, images))

        added = _peak_memory(run)
        held = sum(leaf.nbytes for leaf in jax.tree.leaves((variables, images)))
        seconds, joules = _time_and_energy(run, counters)
        memory = None if added is None else held + added
        yield Measured(name, batch, info.image_size, seconds, memory, joules)


def random_variables(name: str) -> Any:
    """Variables of a model, drawn so that activations neither vanish nor grow without bound."""
    random = np.random.RandomState(0)

    def draw(path: Any, leaf: Any) -> np.ndarray:
        kind = path[-1].key
        if kind in ("scale", "var"):
            return np.ones(leaf.shape, np.float32)
        if kind in ("bias", "mean"):
            return np.zeros(leaf.shape, np.float32)
        fan_in = max(1, int(np.prod(leaf.shape[:-1])))
        return (random.standard_normal(leaf.shape) / fan_in**0.5).astype(np.float32)

    return jax.tree_util.tree_map_with_path(draw, registry.abstract_variables(name))


def _time_and_energy(run: Callable[[], None], counters: Path) -> tuple[float, float | None]:
    """The median time of a run in seconds, and its energy in joules."""
    before, times = energy(counters), []
    while sum(times) < _SECONDS or len(times) < 3:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    after = energy(counters)
    joules = None
    if before is not None and after is not None and after >= before:  # a counter may start anew
        joules = (after - before) / len(times)
    return statistics.median(times), joules


def energy(counters: Path = _COUNTERS) -> float | None:
    """Joules that the processors have used, by RAPL; None where the system shows no counter."""
    packages = sorted(counters.glob("intel-rapl:[0-9]*"))
    files = [folder / "energy_uj" for folder in packages if folder.name.count(":") == 1]
    try:
        return sum(int(file.read_text()) for file in files) / 1e6 if files else None
    except (OSError, ValueError):  # only root may read them on many systems
        return None


def _peak_memory(run: Callable[[], None]) -> int | None:
    """Bytes that a run adds at its peak to what was in use before it; None if that is not told."""
    statistics_of = jax.devices()[0].memory_stats()
    if statistics_of and "peak_bytes_in_use" in statistics_of:  # of the process so far
        run()
        stats = jax.devices()[0].memory_stats() or {}
        return max(0, stats["peak_bytes_in_use"] - statistics_of["bytes_in_use"])
    try:
        return max(_peak_of_process(run) for _ in range(3))
    except (OSError, KeyError):
        return None


def _peak_of_process(run: Callable[[], None]) -> int:
    """Bytes that one run adds; fewer where memory that was freed was not given back before it."""
    gc.collect()
    time.sleep(0.05)  # XLA's threads free what they used a moment later
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = _status("VmRSS")
    run()
    return max(0, _status("VmHWM") - before)


def _status(key: str) -> int:
    """A figure of this process in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(dict(line.split(":", 1) for line in lines)[key].split()[0])
