import numpy as np
import pytest

from input_pipeline import order

pytestmark = pytest.mark.quick


def test_the_stream_is_frozen():
    # A changed order would silently change every resumed run.
    assert order.indices(0, 0, 10, 10).tolist() == [3, 7, 6, 4, 1, 0, 2, 8, 5, 9]
    assert order.indices(3, 5, 12, 7).tolist() == [5, 6, 1, 0, 6, 3, 2]


def test_every_epoch_holds_every_example_once_and_epochs_differ():
    epochs = order.indices(5, 0, 300, 100).reshape(3, 100)
    assert (np.sort(epochs, axis=1) == np.arange(100)).all()
    assert (epochs[0] != epochs[1]).any() and (epochs[1] != epochs[2]).any()
    assert (order.indices(6, 0, 100, 100) != epochs[0]).any()


@pytest.mark.parametrize("start, stop", [(0, 0), (3, 4), (5, 23), (10, 20), (9, 31), (29, 30)])
def test_a_part_is_a_part_of_the_whole(start, stop):
    whole = order.indices(1, 0, 40, 10)
    assert order.indices(1, start, stop, 10).tolist() == whole[start:stop].tolist()


def test_an_empty_data_set_is_refused():
    with pytest.raises(ValueError, match="0 examples"):
        order.indices(0, 0, 1, 0)
