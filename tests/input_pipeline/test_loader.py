import shutil

import numpy as np
import pytest

import input_pipeline
from input_pipeline import loader, order, transforms

TRANSFORM = transforms.RandomResizedCrop(16)
EVAL = transforms.CenterCrop(16)


@pytest.fixture
def source(image_folder) -> input_pipeline.Source:
    return input_pipeline.open(f"folder:{image_folder}", "train")


@pytest.fixture
def broken_folder(tmp_path, image_folder):
    """Nine images, two of which cannot be read."""
    root = shutil.copytree(image_folder, tmp_path / "broken")
    (root / "train" / "cat" / "4.jpg").write_bytes(b"nothing")
    path = root / "train" / "cup" / "5.jpg"
    path.write_bytes(path.read_bytes()[:300])
    return root


def train(source, **options) -> list[dict]:
    options = {"batch_size": 4, "seed": 3, "start_step": 0, "num_steps": 6} | options
    return list(loader.train_batches(source, TRANSFORM, **options))


def same(a: list[dict], b: list[dict]) -> bool:
    return len(a) == len(b) and all(
        x.keys() == y.keys() and all((x[k] == y[k]).all() for k in x)
        for x, y in zip(a, b, strict=True)
    )


def test_batches_hold_the_examples_of_the_order(source):
    batches = train(source)
    assert len(batches) == 6
    assert batches[0]["image"].shape == (4, 16, 16, 3)
    assert batches[0]["image"].dtype == np.uint8 and batches[0]["label"].dtype == np.int32
    labels = np.concatenate([b["label"] for b in batches])
    assert labels.tolist() == [source[i].label for i in order.indices(3, 0, 24, len(source))]


def test_any_number_of_workers_gives_the_same_batches(source):
    threads = train(source)
    assert same(threads, train(source, workers=1))
    assert same(threads, train(source, workers=2))


def test_a_resumed_run_continues_with_the_same_batches(source):
    assert same(train(source)[4:], train(source, start_step=4, num_steps=2))


def test_the_parts_of_the_processes_make_up_the_global_batch(source):
    whole = train(source)
    parts = [train(source, shard=(i, 2)) for i in range(2)]
    joined = [
        {key: np.concatenate([a[key], b[key]]) for key in a} for a, b in zip(*parts, strict=True)
    ]
    assert same(whole, joined)


def test_an_image_differs_from_epoch_to_epoch(source):
    images = np.concatenate([b["image"] for b in train(source, batch_size=9, num_steps=2)])
    first, second = order.indices(3, 0, 18, 9).reshape(2, 9)
    for index in range(9):
        a, b = np.flatnonzero(first == index)[0], np.flatnonzero(second == index)[0]
        assert (images[a] != images[9 + b]).any()


def test_no_steps_give_no_batches(source):
    assert train(source, num_steps=0) == []


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("batch_size, processes", [(4, 1), (9, 1), (20, 1), (4, 2), (8, 4), (6, 3)])
def test_evaluation_counts_every_image_once(source, batch_size, processes, workers):
    if workers and (batch_size, processes) != (4, 2):
        workers = 0  # processes take seconds to start: one case is enough
    counted, batches = [], []
    for index in range(processes):
        found = list(
            loader.eval_batches(
                source, EVAL, batch_size=batch_size, shard=(index, processes), workers=workers
            )
        )
        batches.append(len(found))
        for batch in found:
            assert batch["image"].shape == (batch_size // processes, 16, 16, 3)
            counted += batch["image"][batch["mask"] == 1].sum((1, 2, 3)).tolist()
            assert not batch["image"][batch["mask"] == 0].any()
    assert set(batches) == {-(-9 // batch_size)}
    expected = [int(EVAL(source[i], None).sum()) for i in range(9)]
    assert sorted(counted) == sorted(expected)


def test_evaluation_keeps_the_order_of_the_source(source):
    batches = loader.eval_batches(source, EVAL, batch_size=4)
    labels = np.concatenate([b["label"][b["mask"] == 1] for b in batches])
    assert labels.tolist() == [source[i].label for i in range(9)]


def test_arrays_of_one_shape_need_no_transform(source):
    images = np.arange(6 * 8 * 8, dtype=np.uint8).reshape(6, 8, 8)
    arrays = input_pipeline.open(lambda _: (images, np.arange(6) % 3), "train")
    (batch,) = loader.eval_batches(arrays, None, batch_size=6)
    np.testing.assert_array_equal(batch["image"], images[..., None])
    options = {"batch_size": 4, "seed": 3, "start_step": 0, "num_steps": 6}
    assert len(list(loader.train_batches(arrays, None, **options))) == 6
    with pytest.raises(input_pipeline.DataError, match="differ in size: name a transform"):
        loader.train_batches(source, None, **options)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_unreadable_image_stops_the_run_and_is_named(broken_folder, workers):
    source = input_pipeline.open(f"folder:{broken_folder}", "train")
    with pytest.raises(
        input_pipeline.UnreadableImage, match=r"train/(cat/4|cup/5).jpg cannot be decoded"
    ):
        train(source, workers=workers)


def test_unreadable_images_are_skipped_and_counted(broken_folder):
    source = input_pipeline.open(f"folder:{broken_folder}", "train", on_unreadable="skip")
    batches = train(source, batch_size=9, num_steps=2)
    # Examples 2 and 7 (cat/4 and cup/5) are broken: 3 and 8 take their places.
    assert [source[i].name[-9:] for i in (2, 7)] == ["cat/4.jpg", "cup/5.jpg"]
    indices = order.indices(3, 0, 9, 9)
    assert batches[0]["skipped"].tolist() == [int(i in (2, 7)) for i in indices]
    assert batches[0]["label"].tolist() == [
        source[i + 1 if i in (2, 7) else i].label for i in indices
    ]
    assert same(batches, train(source, batch_size=9, num_steps=2))


def test_evaluation_masks_what_it_skips(broken_folder):
    source = input_pipeline.open(f"folder:{broken_folder}", "train", on_unreadable="skip")
    batches = list(loader.eval_batches(source, EVAL, batch_size=4))
    assert sum(b["mask"].sum() for b in batches) == 7
    assert sum(b["skipped"].sum() for b in batches) == 2


def test_a_data_set_without_a_readable_image(tmp_path):
    (tmp_path / "train" / "cat").mkdir(parents=True)
    (tmp_path / "train" / "cat" / "0.jpg").write_bytes(b"")
    source = input_pipeline.open(f"folder:{tmp_path}", "train", on_unreadable="skip")
    with pytest.raises(input_pipeline.DataError, match="Not one of the 1 images"):
        train(source)
    with pytest.raises(input_pipeline.DataError, match="Not one of the 1 images"):
        list(loader.eval_batches(source, EVAL, batch_size=4))


def test_a_batch_that_does_not_divide_over_the_processes(source):
    with pytest.raises(input_pipeline.DataError, match="9 does not divide over 2 processes"):
        train(source, batch_size=9, shard=(0, 2))
    with pytest.raises(ValueError, match="process 2 of 2"):
        train(source, shard=(2, 2))
