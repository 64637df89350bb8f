import jax
import pytest
from jax.sharding import PartitionSpec

from train.errors import TrainError
from train.sharding import check_batch_size, make_mesh, split_largest_axis

pytestmark = pytest.mark.quick


def test_the_largest_axis_that_divides_is_split():
    assert split_largest_axis((3, 3, 64, 128), 8) == PartitionSpec(None, None, None, "fsdp")
    assert split_largest_axis((4096, 1000), 8) == PartitionSpec("fsdp", None)
    assert split_largest_axis((1001, 64), 8) == PartitionSpec(None, "fsdp")


def test_small_odd_or_lone_arrays_stay_whole():
    assert split_largest_axis((64,), 8) == PartitionSpec()
    assert split_largest_axis((1001, 999), 8) == PartitionSpec()
    assert split_largest_axis((4096, 4096), 1) == PartitionSpec()
    assert split_largest_axis((), 8) == PartitionSpec()


def test_a_mesh_takes_the_devices_there_are():
    assert dict(make_mesh(0, 1).shape) == {"data": jax.device_count(), "fsdp": 1}


@pytest.mark.parametrize("data, fsdp", [(1000, 1), (0, 1000), (0, 0), (-1, 1)])
def test_a_mesh_of_other_devices_is_refused(data, fsdp):
    with pytest.raises(TrainError, match=f"mesh.data={data} and mesh.fsdp={fsdp}"):
        make_mesh(data, fsdp)


def test_empty_batches_are_refused():
    with pytest.raises(TrainError, match="batch_size=0 does not divide"):
        check_batch_size(0, make_mesh(1, 1))
