import os
import shutil

import pytest

import input_pipeline
from input_pipeline import tfrecord

pytestmark = pytest.mark.quick


@pytest.fixture
def scans(monkeypatch) -> list[str]:
    """The names of the files that are scanned."""
    names, scan = [], tfrecord._scan
    note = lambda path, most: names.append(path.name) or scan(path, most)  # noqa: E731
    monkeypatch.setattr(tfrecord, "_scan", note)
    return names


def names_and_labels(data_dir, split: str) -> list:
    source = input_pipeline.open("imagenet2012", split, data_dir)
    return [(source[i].name, source[i].label, source[i].image) for i in range(len(source))]


@pytest.mark.parametrize("split", ["train", "validation"])
def test_the_same_examples_as_from_array_record(imagenet_as_tfrecord, imagenet_dir, split):
    assert names_and_labels(imagenet_as_tfrecord, split) == names_and_labels(imagenet_dir, split)


def test_parts_of_splits_across_shards(imagenet_as_tfrecord):
    whole = names_and_labels(imagenet_as_tfrecord, "train")
    parts = ["train[:1]", "train[1:4]", "train[4:]"]
    joined = [x[1:] for part in parts for x in names_and_labels(imagenet_as_tfrecord, part)]
    assert joined == [x[1:] for x in whole] and len(joined) == 5


def test_the_index_is_built_once_and_again_for_a_changed_file(imagenet_as_tfrecord, scans):
    before = names_and_labels(imagenet_as_tfrecord, "train")
    assert len(scans) == 2
    assert names_and_labels(imagenet_as_tfrecord, "train") == before and len(scans) == 2
    changed = next(imagenet_as_tfrecord.rglob("*train*00001-of-00002"))
    os.utime(changed, ns=(1, 1))
    assert names_and_labels(imagenet_as_tfrecord, "train") == before
    assert scans[2:] == [changed.name]


def test_a_broken_index_is_built_again(imagenet_as_tfrecord, scans, capsys):
    before = names_and_labels(imagenet_as_tfrecord, "train")
    index = next(imagenet_as_tfrecord.rglob("*.npz"))
    index.write_bytes(index.read_bytes()[:100])
    assert names_and_labels(imagenet_as_tfrecord, "train") == before
    assert len(scans) == 4 and "built again" in capsys.readouterr().out


def test_beside_data_that_is_read_only_the_index_goes_to_the_users_cache(
    imagenet_as_tfrecord, scans, monkeypatch, tmp_path
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    paths = tfrecord._index_paths
    # A name that cannot be created, for root can write to a read-only folder.
    nowhere = tmp_path / "file"
    nowhere.write_text("")
    monkeypatch.setattr(
        tfrecord, "_index_paths", lambda path: [nowhere / "index.npz", paths(path)[1]]
    )
    before = names_and_labels(imagenet_as_tfrecord, "train")
    assert names_and_labels(imagenet_as_tfrecord, "train") == before and len(scans) == 2
    assert len(list((tmp_path / "cache").rglob("*.npz"))) == 1


def test_a_file_cut_short_is_named(imagenet_as_tfrecord):
    path = next(imagenet_as_tfrecord.rglob("*train*00001-of-00002"))
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(input_pipeline.DataError, match=f"{path.name} is not a complete TFRecord"):
        input_pipeline.open("imagenet2012", "train", imagenet_as_tfrecord)


def test_a_file_with_records_missing_is_named(imagenet_as_tfrecord):
    first = next(imagenet_as_tfrecord.rglob("*train*00000-of-00002"))
    second = next(imagenet_as_tfrecord.rglob("*train*00001-of-00002"))
    shutil.copy(first, second)  # two records where the data set's description says three
    with pytest.raises(input_pipeline.DataError, match=f"{second.name} holds 2 records.* 3"):
        input_pipeline.open("imagenet2012", "train", imagenet_as_tfrecord)


def test_a_record_of_garbage_is_an_unreadable_image(imagenet_as_tfrecord):
    source = input_pipeline.open("imagenet2012", "train", imagenet_as_tfrecord)
    path = next(imagenet_as_tfrecord.rglob("*train*00000-of-00002"))
    content = bytearray(path.read_bytes())
    content[12:40] = b"\xff" * 28  # the head of the first record
    path.write_bytes(content)
    with pytest.raises(input_pipeline.UnreadableImage, match="train example 0 is damaged"):
        source[0]
    assert source[1].label >= 0


def test_a_file_cut_short_after_opening_is_an_unreadable_image(imagenet_as_tfrecord):
    source = input_pipeline.open("imagenet2012", "train", imagenet_as_tfrecord)
    path = next(imagenet_as_tfrecord.rglob("*train*00001-of-00002"))
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(input_pipeline.UnreadableImage, match=path.name):
        source[4]
    assert source[0].label >= 0
