"""The device mesh, and how the arrays of a run are sharded over it.

The mesh has two axes, `data` and `fsdp`. A batch is split over both. Parameters and optimizer state
are split over `fsdp` by a rule on their shapes, so models need not know about sharding.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from train.errors import TrainError

BATCH = PartitionSpec(("data", "fsdp"))
REPLICATED = PartitionSpec()
MIN_SHARDED_SIZE = 1024  # elements; gathering a smaller array costs more than replicating it


def make_mesh(data: int, fsdp: int, devices: Sequence | None = None) -> Mesh:
    """Returns a mesh of shape (data, fsdp).

    Args:
      data: length of the data axis; 0 for all devices that `fsdp` leaves.
      fsdp: length of the fsdp axis, at least 1.
      devices: devices to choose from, by default `jax.devices()`.

    Raises:
      TrainError: there are not that many devices, or they do not divide.
    """
    devices = jax.devices() if devices is None else devices
    available = len(devices)
    requested = f"mesh.data={data} and mesh.fsdp={fsdp}"
    if fsdp < 1 or data < 0 or (data == 0 and available % fsdp):
        raise TrainError(
            f"{requested} do not divide the {available} devices: choose a mesh.fsdp of 1 or more "
            "that divides them, and mesh.data=0 for all the rest."
        )
    data = data or available // fsdp
    if data * fsdp > available or (jax.process_count() > 1 and data * fsdp != available):
        raise TrainError(
            f"{requested} ask for {data * fsdp} devices and there are {available}: set mesh.data=0 "
            "to use all of them."
        )
    return Mesh(np.array(devices[: data * fsdp]).reshape(data, fsdp), ("data", "fsdp"))


def check_batch_size(batch_size: int, mesh: Mesh, parts: int = 1) -> None:
    """Raises TrainError unless all devices get the same number of images, in each part of a batch.

    Args:
      batch_size: images in a step.
      mesh: of the run.
      parts: in which the gradient of a batch is computed, `optimizer.accumulate`.
    """
    unit = mesh.size * parts
    if batch_size < 1 or batch_size % unit:
        nearest = max(1, round(batch_size / unit)) * unit
        in_parts = f" in {parts} parts (optimizer.accumulate)" if parts > 1 else ""
        raise TrainError(
            f"batch_size={batch_size} does not divide over {mesh.size} devices{in_parts}: each "
            f"must get the same number of images. The nearest that does is {nearest}; or use fewer "
            "devices with mesh.data."
        )


def state_shardings(shapes: Any, mesh: Mesh) -> Any:
    """Returns the NamedSharding of each leaf of `shapes`, a tree of arrays or ShapeDtypeStructs."""

    def sharding(leaf) -> NamedSharding:
        return NamedSharding(mesh, split_largest_axis(leaf.shape, mesh.shape["fsdp"]))

    return jax.tree.map(sharding, shapes)


def split_largest_axis(shape: tuple[int, ...], num_shards: int) -> PartitionSpec:
    """Splits the largest axis divisible by `num_shards` over `fsdp`; replicates small arrays."""
    axes = [axis for axis, length in enumerate(shape) if length % num_shards == 0]
    if num_shards == 1 or np.prod(shape) < MIN_SHARDED_SIZE or not axes:
        return REPLICATED
    largest = max(axes, key=lambda axis: shape[axis])
    return PartitionSpec(*("fsdp" if axis == largest else None for axis in range(len(shape))))


def on_each_device(function: Callable, mesh: Mesh | None) -> Callable:
    """Returns a function of arrays [B, ...], run by each device on its part of the batch.

    For functions that treat each element by itself, in a loop that could not be split otherwise.

    Args:
      function: of arrays whose first axes are the batch; so are its results.
      mesh: over whose devices the batch is split; None for one device.
    """
    if mesh is None or mesh.size == 1:
        return function
    return jax.shard_map(function, mesh=mesh, in_specs=BATCH, out_specs=BATCH, check_vma=False)
