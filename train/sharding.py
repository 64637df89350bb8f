"""The device mesh, and where each array of a run lies on it.

The mesh has two axes, `data` and `fsdp`. A batch is split over both. Parameters and optimizer state
are split over `fsdp` by a rule on their shapes, so models know nothing of it.
"""

from collections.abc import Sequence

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from train.errors import TrainError

BATCH = PartitionSpec(("data", "fsdp"))
WHOLE = PartitionSpec()
SMALLEST_SPLIT = 1024  # elements; a smaller array costs more to gather than to keep whole


def make_mesh(data: int, fsdp: int, devices: Sequence | None = None) -> Mesh:
    """A mesh of data x fsdp of the devices, by default JAX's; data = 0 takes all there are.

    Raises:
      TrainError: the machine has not that many devices, or they do not divide.
    """
    devices = jax.devices() if devices is None else devices
    available = len(devices)
    wanted = f"mesh.data={data} and mesh.fsdp={fsdp}"
    if fsdp < 1 or data < 0 or (data == 0 and available % fsdp):
        raise TrainError(
            f"{wanted} do not divide the {available} devices here: choose a mesh.fsdp of 1 or more "
            "that divides them, and mesh.data=0 for all the rest."
        )
    data = data or available // fsdp
    if data * fsdp > available or (jax.process_count() > 1 and data * fsdp != available):
        raise TrainError(
            f"{wanted} ask for {data * fsdp} devices and there are {available}: set mesh.data=0 to "
            "use what is there."
        )
    return Mesh(np.array(devices[: data * fsdp]).reshape(data, fsdp), ("data", "fsdp"))


def check_batch_size(batch_size: int, mesh: Mesh) -> None:
    """Raises TrainError unless the batch divides over the mesh's devices."""
    if batch_size < 1 or batch_size % mesh.size:
        near = max(1, round(batch_size / mesh.size)) * mesh.size
        raise TrainError(
            f"batch_size={batch_size} does not divide over {mesh.size} devices: each must get the "
            f"same number of images. The nearest that does is {near}; or use fewer devices with "
            "mesh.data."
        )


def state_shardings(shapes, mesh: Mesh):
    """For a tree of arrays or shapes, the tree of their shardings on the mesh."""

    def rule(array) -> NamedSharding:
        return NamedSharding(mesh, split_largest_axis(array.shape, mesh.shape["fsdp"]))

    return jax.tree.map(rule, shapes)


def split_largest_axis(shape: tuple[int, ...], parts: int) -> PartitionSpec:
    """Splits over `fsdp` the largest axis that divides; small arrays stay whole."""
    axes = [axis for axis, length in enumerate(shape) if length % parts == 0]
    if parts == 1 or np.prod(shape) < SMALLEST_SPLIT or not axes:
        return WHOLE
    largest = max(axes, key=lambda axis: shape[axis])
    return PartitionSpec(*("fsdp" if axis == largest else None for axis in range(len(shape))))
