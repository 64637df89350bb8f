import dataclasses
import json
import pickle
import shutil

import numpy as np
import pytest

import input_pipeline
from input_pipeline import in_memory, loader, tfds_source, transforms
from input_pipeline.example import Example, Source


@pytest.mark.full
def test_mnist_has_the_official_examples_in_tfds_order(mnist_dir):
    train = input_pipeline.open("mnist", "train", mnist_dir)
    test = input_pipeline.open("mnist", "test", mnist_dir)
    assert (len(train), len(test)) == (60_000, 10_000)
    assert train.image_shape == (28, 28, 1) and train.class_names == tuple("0123456789")
    assert [train[i].label for i in range(12)] == [4, 1, 0, 7, 8, 1, 2, 7, 1, 6, 6, 4]
    assert [test[i].label for i in range(12)] == [2, 0, 4, 8, 7, 6, 0, 6, 3, 1, 8, 0]
    images, labels = in_memory.load(test)
    assert images.shape == (10_000, 28, 28, 1)
    # Mean grey level and class counts of the published test set.
    assert abs(images.mean() / 255 - 0.1325) < 1e-4
    assert np.bincount(labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


def test_sources_are_picklable_and_take_any_index(mnist_dir):
    source = input_pipeline.open("mnist", "test", mnist_dir)
    again = pickle.loads(pickle.dumps(source))
    assert (again[np.int64(3)].image == source[3].image).all()
    assert [e.label for e in source.__getitems__([0, 2])] == [2, 4]
    assert source[3].name == "mnist/test example 3"


def test_parts_of_splits(mnist_dir):
    part = input_pipeline.open("mnist", "train[:10%]", mnist_dir)
    assert len(part) == 6000 and part[5].label == 1


def test_splits_are_joined_by_a_plus(mnist_dir, image_folder):
    whole = input_pipeline.open("mnist", "train", mnist_dir)
    both = input_pipeline.open("mnist", "test[:3]+train[10:12]+test[5:6]", mnist_dir)
    assert len(both) == 6 and both.split == "test[:3]+train[10:12]+test[5:6]"
    order = [4, 0, 3, 5]
    test = input_pipeline.open("mnist", "test[:6]", mnist_dir)
    expected = [whole[11], test[0], whole[10], test[5]]
    for found, one in zip(both.__getitems__(order), expected, strict=True):
        assert (found.image == one.image).all() and found.label == one.label
    assert (both[3].image == whole[10].image).all() and both.image_shape == (28, 28, 1)
    assert len(pickle.loads(pickle.dumps(both))) == 6
    with pytest.raises(IndexError):
        both[6]
    two = input_pipeline.open(f"folder:{image_folder}", "train[:1]+train[1:2]")
    assert [x.label for x in two.__getitems__(range(len(two)))] == [0, 1, 0, 1]


def test_a_version_can_be_asked_for(mnist_dir):
    assert len(input_pipeline.open("mnist:3.0.1", "test", mnist_dir)) == 10_000


def test_the_default_configuration_and_the_newest_version_are_found(mnist_dir, tmp_path):
    for folder in ("digits/1.9.0", "digits/1.10.0", "letters/3.0.0"):
        (tmp_path / "emnist" / folder).mkdir(parents=True)
        (tmp_path / "emnist" / folder / "dataset_info.json").write_text("{}")
    (tmp_path / "emnist" / ".config").mkdir()
    (tmp_path / "emnist" / ".config" / "metadata.json").write_text(
        '{"default_config_name": "digits"}'
    )
    for name, expected in (
        ("emnist", "digits/1.10.0"),
        ("emnist:1.9.0", "digits/1.9.0"),
        ("emnist/letters", "letters/3.0.0"),
        ("emnist:2.0.0", None),
    ):
        found = tfds_source.find(name, tmp_path)
        assert found == (expected and tmp_path / "emnist" / expected)


def test_an_unknown_split_lists_the_known_ones(mnist_dir):
    with pytest.raises(input_pipeline.DataError, match="It has: test, train"):
        input_pipeline.open("mnist", "validation", mnist_dir)


def test_a_missing_data_set_is_answered_with_the_command_that_prepares_it(tmp_path):
    command = f"python -m input_pipeline.prepare imagenet2012 --data_dir={tmp_path} --manual_dir="
    with pytest.raises(input_pipeline.DataError, match=command):
        input_pipeline.open("imagenet2012", "train", tmp_path)


def test_the_data_dir_of_tfds_is_the_default(mnist_dir, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(mnist_dir))
    assert len(input_pipeline.open("mnist", "test")) == 10_000


def test_evaluation_splits(mnist_dir, image_folder, tmp_path, imagenet_dir):
    assert input_pipeline.eval_split("mnist") == "test"
    assert input_pipeline.eval_split("imagenet2012") == "validation"
    assert input_pipeline.eval_split("synthetic:classes=3") == "test"
    for split in ("train", "test", "val"):
        (tmp_path / split).mkdir()
    assert input_pipeline.eval_split(f"folder:{tmp_path}") == "val"
    with pytest.raises(input_pipeline.DataError, match="it has: train"):
        input_pipeline.eval_split(f"folder:{image_folder}")
    assert input_pipeline.eval_split("mnist:3.0.1", mnist_dir) == "test"


def test_an_unknown_policy_is_refused():
    with pytest.raises(input_pipeline.DataError, match="'stop'.*'skip'"):
        input_pipeline.open("synthetic", "train", on_unreadable="ignore")


def flip(folder, name: str, content: bytes | None) -> None:
    path = folder / name
    path.unlink()
    if content is not None:
        path.write_bytes(content)


BROKEN = {
    "cut short": lambda text: text[: len(text) // 2],
    "empty": lambda text: b"",
    "not UTF-8": lambda text: b"\xff\xfe" + text,
    "a list": lambda text: b"[]",
    "a number": lambda text: b"3",
    "nested without end": lambda text: b"[" * 100_000,
    "missing": lambda text: None,
}


@pytest.mark.parametrize("name", ["dataset_info.json", "features.json"])
@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_description_is_named(mnist_dir, tmp_path, name, how):
    folder = tmp_path / "mnist" / "3.0.1"
    shutil.copytree(mnist_dir / "mnist" / "3.0.1", folder)
    flip(folder, name, BROKEN[how]((folder / name).read_bytes()))
    with pytest.raises(input_pipeline.DataError, match=f"{folder} does not hold.*Copy or prepare"):
        tfds_source.open_prepared("mnist", folder, "train", "stop")
    with pytest.raises(input_pipeline.DataError, match=f"{folder} does not hold"):
        tfds_source.split_names(folder)


def test_a_description_cannot_import_modules_of_others(mnist_dir, tmp_path, monkeypatch):
    folder = tmp_path / "mnist" / "3.0.1"
    shutil.copytree(mnist_dir / "mnist" / "3.0.1", folder)
    (tmp_path / "others.py").write_text(f"open('{tmp_path}/ran', 'w')")
    monkeypatch.syspath_prepend(tmp_path)
    text = (folder / "features.json").read_text()
    name = json.loads(text)["pythonClassName"]
    (folder / "features.json").write_text(text.replace(name, "others.Feature", 1))
    with pytest.raises(input_pipeline.DataError, match="others.Feature.*not of tfds"):
        tfds_source.open_prepared("mnist", folder, "train", "stop")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("how", ["missing", "a folder", "cut short", "empty"])
def test_a_broken_file_of_array_records_is_named(mnist_dir, tmp_path, how):
    folder = tmp_path / "mnist" / "3.0.1"
    shutil.copytree(mnist_dir / "mnist" / "3.0.1", folder)
    (path,) = folder.glob("*test.array_record*")
    content = path.read_bytes()
    path.unlink()
    if how == "a folder":
        path.mkdir()
    elif how != "missing":
        path.write_bytes(content[: len(content) // 2] if how == "cut short" else b"")
    with pytest.raises(input_pipeline.DataError, match="mnist.*Copy or prepare"):
        source = tfds_source.open_prepared("mnist", folder, "test", "stop")
        source[0]


def test_a_damaged_list_of_configurations_is_named(tmp_path):
    (tmp_path / "emnist" / ".config").mkdir(parents=True)
    (tmp_path / "emnist" / ".config" / "metadata.json").write_text("{")
    with pytest.raises(input_pipeline.DataError, match="metadata.json or a file beside it"):
        tfds_source.find("emnist", tmp_path)


class OneExample(list):
    def __getitems__(self, indices):
        return [self[i] for i in indices]


@pytest.mark.parametrize("label", [10**12, -(2**40), 2**31, 10, -2])
def test_a_label_of_no_class_names_the_record(label):
    pixels = np.zeros((8, 8, 1), np.uint8)
    good, bad = Example(pixels, 3, "record 0"), Example(pixels, label, "record 1")
    source = Source("ds", "train", OneExample([good, bad]), tuple("0123456789"), (8, 8, 1))
    with pytest.raises(input_pipeline.UnreadableImage, match=f"record 1 has the label {label}"):
        in_memory.load(source)
    skipping = dataclasses.replace(source, on_unreadable="skip")
    (batch,) = loader.eval_batches(skipping, transforms.Pad(), batch_size=2)
    assert batch["label"].tolist() == [3, 0] and batch["skipped"].tolist() == [0, 1]


def test_a_split_without_labels_is_read_but_not_trained_on():
    example = Example(np.zeros((8, 8, 1), np.uint8), -1, "record 0")
    source = Source("ds", "test", OneExample([example]), ("a", "b"), (8, 8, 1))
    assert source[0].label == -1
    for use in (
        lambda: in_memory.load(source),
        lambda: list(loader.eval_batches(source, transforms.Pad(), batch_size=1)),
    ):
        with pytest.raises(input_pipeline.DataError, match="record 0 has no label"):
            use()


@pytest.mark.parametrize("name", ["", ":", "a\0b", "x" * 5000, "a/../../b", "*", "a:1/../.."])
@pytest.mark.parametrize("kind", ["", "folder:", "folder:~nobody/"])
def test_odd_names_are_answered_in_words(kind, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for use in (input_pipeline.open, input_pipeline.eval_split):
        arguments = ("train", tmp_path) if use is input_pipeline.open else (tmp_path,)
        with pytest.raises(input_pipeline.DataError):
            use(kind + name, *arguments)
