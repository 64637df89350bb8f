import json

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


def repeats(folder):
    path = folder / "policy_ops.json"
    goldens = json.loads(path.read_text()) if path.is_file() else {}
    return dict(enumerate(goldens.get("repeated_augmentation", {}).get("cases", [])))


@pytest.mark.recipe_goldens(case=repeats)
def test_repeats_are_those_of_deits_sampler(case):
    examples = np.arange(case["dataset"])
    found = order.repeated(examples, case["repeats"], case["replicas"], case["rank"])
    assert len(found) == case["count"]
    assert found[:12].tolist() == case["first_12"] and found[-3:].tolist() == case["last_3"]


@pytest.mark.parametrize("replicas", [1, 2, 4])
def test_a_batch_is_dealt_out_to_replicas(replicas):
    """What DeiT's samplers give to its processes stands side by side in each batch."""
    n, batch_size, settings = 700, 64, {"repeats": 3, "replicas": replicas}
    length = order.epoch_length(n, 3)
    assert length == 512
    for epoch in (0, 1):
        start, stop = epoch * length, (epoch + 1) * length
        found = order.indices(5, start, stop, n, batch_size=batch_size, **settings)
        parts = found.reshape(-1, replicas, batch_size // replicas)
        examples = order.indices(5, epoch * n, (epoch + 1) * n, n)
        for replica in range(replicas):
            expected = order.repeated(examples, 3, replicas, replica)
            assert parts[:, replica].ravel().tolist() == expected.tolist()


def test_an_order_with_repeats_is_gone_on_with_anywhere():
    settings = {"repeats": 3, "batch_size": 24, "replicas": 3}
    whole = order.indices(1, 0, 1200, 300, **settings)
    for start, stop in ((0, 24), (250, 270), (511, 513), (24, 1200)):
        assert (order.indices(1, start, stop, 300, **settings) == whole[start:stop]).all()
    assert len(np.unique(whole[:240])) == 80  # ten batches: a third of the examples


def test_few_examples_are_not_cut_to_none():
    assert order.epoch_length(5, 3) == 5
    assert len(order.indices(0, 0, 10, 5, repeats=3)) == 10


def test_replicas_divide_the_batch():
    with pytest.raises(ValueError, match="does not divide over 3"):
        order.indices(0, 0, 8, 300, repeats=2, batch_size=8, replicas=3)
