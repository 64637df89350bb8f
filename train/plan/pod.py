"""TPU slices by name: published peaks of their chips, their links and their compiler.

Peaks are those of https://cloud.google.com/tpu/docs/v5e, .../v5p and .../v6e (read 2026-11-22).
The bandwidth of a link is that of one direction: "1600 Gbit/s" and "400 GB/s bidirectional" of a
v5e chip both mean 4 links of 50 GB/s each way.
"""

import importlib.util
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from train.errors import TrainError

# Without these the compiler would ask the cloud's metadata server what machine this is, warn that
# it does not know, and refuse to be loaded by two programs at once.
ENVIRONMENT = {
    "JAX_PLATFORMS": "cpu",
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
}
# What jax[tpu] 0.10.2 pins, and where: among the packages, every JAX program would load it.
COMPILER, COMPILER_FOLDER = "libtpu==0.0.42.*", "~/.cache/flax-zoo/libtpu"
FLAT = ("1x1", "2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16")
CUBIC = ("2x2x1", "2x2x2", "2x2x4", "2x4x4", "4x4x4", "4x4x8", "4x8x8", "8x8x8", "8x8x16")


@dataclass(frozen=True)
class Chip:
    """One kind of TPU.

    Attributes:
      flops: bfloat16 operations per second.
      memory: bytes of HBM; a program can use a little less.
      bandwidth: HBM bandwidth in bytes per second.
      link: bandwidth of one link to a neighbour in one direction, in bytes per second; there are 2
        links for each axis of a slice.
      ring: an axis whose length is a multiple of this is closed to a ring.
      shapes: shapes of the slices that the compiler knows.
    """

    flops: float
    memory: float
    bandwidth: float
    link: float
    ring: int
    shapes: tuple[str, ...]


CHIPS = {
    "v5e": Chip(197e12, 16 * 2**30, 819e9, 50e9, ring=16, shapes=FLAT),
    "v5p": Chip(459e12, 95 * 2**30, 2765e9, 100e9, ring=4, shapes=CUBIC),
    "v6e": Chip(918e12, 32 * 2**30, 1600e9, 100e9, ring=16, shapes=FLAT),
}


@dataclass(frozen=True)
class Pod:
    """A TPU slice.

    Attributes:
      name: kind and shape, such as "v5e:4x4".
      chip: the kind of its chips.
      shape: number of chips along each axis.
      devices: device descriptions of the compiler, in the order in which JAX would list them.
    """

    name: str
    chip: Chip
    shape: tuple[int, ...]
    devices: Sequence

    @property
    def links_bandwidth(self) -> float:
        """Bytes per second that a chip can send in an all-reduce over the whole slice.

        A ring uses both links of its axis. An open row sends every byte forth and back over the
        same links, so it counts as one.
        """
        links = (0 if n == 1 else 1 if n % self.chip.ring else 2 for n in self.shape)
        return sum(links) * self.chip.link


def open_pod(name: str) -> Pod:
    """Returns the slice of a name such as "v5e:4x4".

    Raises:
      TrainError: there is no such slice (the message lists all), or the TPU compiler is not
        installed.
    """
    kind, _, shape = name.partition(":")
    if kind not in CHIPS or shape not in CHIPS[kind].shapes:
        known = "\n".join(
            "  " + " ".join(f"{kind}:{shape}" for shape in chip.shapes)
            for kind, chip in CHIPS.items()
        )
        raise TrainError(f"The topology {name!r} is not known. The known ones are:\n{known}")
    check_compiler()
    from jax.experimental import topologies

    sides = tuple(int(side) for side in shape.split("x"))
    # Four chips share a host wherever there are four.
    alone = {"chips_per_host_bounds": [1, 1, 1]} if np.prod(sides) == 1 else {}
    devices = topologies.get_topology_desc(name, "tpu", **alone).devices
    return Pod(name, CHIPS[kind], sides, devices)


def check_compiler() -> None:
    """Raises TrainError unless the TPU compiler is installed."""
    if not _is_a_package() and not _library().exists():
        raise TrainError(
            "The TPU compiler is not installed. It needs no TPU, and a folder of its own, so that "
            f"other programs do not look for one: pip install --target {COMPILER_FOLDER} "
            f"'{COMPILER}'"
        )


def set_environment() -> None:
    """Sets the environment variables of the compiler; to be called before JAX is first used."""
    os.environ.update(ENVIRONMENT)
    if not _is_a_package() and _library().exists():
        os.environ["TPU_LIBRARY_PATH"] = str(_library())


def _is_a_package() -> bool:
    """Whether the compiler is among the packages, as it is where JAX was installed for TPUs."""
    return importlib.util.find_spec("libtpu") is not None


def _library() -> Path:
    return Path(COMPILER_FOLDER).expanduser() / "libtpu" / "libtpu.so"
