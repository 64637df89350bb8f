import dataclasses
import io
import os
import shutil
import struct
import time
from types import SimpleNamespace

import numpy as np
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


def shards(data_dir) -> list:
    return sorted(data_dir.rglob("*train*-of-00002"))


def read_all(data_dir, on_unreadable="stop") -> list[int]:
    source = input_pipeline.open("imagenet2012", "train", data_dir, on_unreadable=on_unreadable)
    return [source[i].label for i in range(len(source))]


@pytest.mark.parametrize("where", ["the record", "the length", "the footer", "a length beyond all"])
def test_a_flipped_bit_is_an_unreadable_image(imagenet_as_tfrecord, where):
    source = input_pipeline.open("imagenet2012", "train", imagenet_as_tfrecord)
    first = shards(imagenet_as_tfrecord)[0]
    content = bytearray(first.read_bytes())
    length = struct.unpack_from("<Q", content)[0]
    at = {"the record": 5000, "the length": 0, "the footer": 12 + length}.get(where, 7)
    content[at] ^= 1
    first.write_bytes(content)
    assert first.stat().st_size == len(content)
    with pytest.raises(input_pipeline.UnreadableImage, match="train example 0 is damaged"):
        source[0]
    assert source[1].label in range(1000)
    with pytest.raises(input_pipeline.UnreadableImage, match="train example 0 is damaged"):
        source.__getitems__([1, 0, 2])  # the one of several is named


def test_zeros_are_refused_at_the_first_record(imagenet_as_tfrecord):
    first = shards(imagenet_as_tfrecord)[0]
    first.write_bytes(b"")
    os.truncate(first, 2**36)  # 64 GB of nothing
    start = time.perf_counter()
    with pytest.raises(input_pipeline.DataError, match=f"{first.name} is not a TFRecord file"):
        read_all(imagenet_as_tfrecord)
    assert time.perf_counter() - start < 5


@pytest.mark.parametrize("what", ["missing", "a folder", "a FIFO"])
def test_a_shard_that_is_no_file_is_named(imagenet_as_tfrecord, what):
    first = shards(imagenet_as_tfrecord)[0]
    first.unlink()
    {"missing": lambda path: None, "a folder": os.mkdir, "a FIFO": os.mkfifo}[what](first)
    with pytest.raises(input_pipeline.DataError, match=f"{first.name}.*Copy or prepare the data"):
        read_all(imagenet_as_tfrecord)


def test_a_split_without_records():
    with pytest.raises(input_pipeline.DataError, match="no records"):
        tfrecord.open_records([])


def damaged_indexes(content: bytes) -> dict[str, bytes]:
    """Kept indexes, each wrong in another way."""
    with np.load(io.BytesIO(content)) as stored:
        arrays = dict(stored)

    def saved(save=np.savez, **changed) -> bytes:
        stream = io.BytesIO()
        save(stream, **arrays | changed)
        return stream.getvalue()

    offsets = arrays["offsets"]
    damaged = {
        "points elsewhere": saved(offsets=offsets + 1),
        "negative": saved(offsets=offsets - 10**6),
        "beyond the end": saved(offsets=offsets + 10**9),
        "turned around": saved(offsets=offsets[::-1]),
        "one twice": saved(offsets=np.array([0, 0, *offsets[2:]])),
        "floats": saved(offsets=offsets.astype(float)),
        "of other files": saved(names=arrays["names"][::-1]),
        "compressed": saved(np.savez_compressed),
        "another file": b"not an index",
        "empty": b"",
    }
    for key, array in arrays.items():
        damaged[f"{key} a number"] = saved(**{key: np.array(3)})
        damaged[f"{key} missing"] = saved(**{key: array[:0]})
        damaged[f"{key} of two axes"] = saved(**{key: array[None]})
        damaged[f"{key} as text"] = saved(**{key: np.array(["x"] * len(array))})
    huge = content.replace(b"(5,), }          ", b"(5555555555555,), }"[:17])
    return damaged | {"a huge shape": huge}


def test_any_damage_to_the_index_builds_it_again(imagenet_as_tfrecord):
    expected = read_all(imagenet_as_tfrecord)
    index = next(imagenet_as_tfrecord.rglob("*.npz"))
    content = index.read_bytes()
    for what, damaged in damaged_indexes(content).items():
        assert damaged != content, what
        index.write_bytes(damaged)
        assert read_all(imagenet_as_tfrecord) == expected, what
    index.unlink()
    os.mkfifo(index)
    assert read_all(imagenet_as_tfrecord) == expected


def test_an_index_that_is_wrong_where_no_sample_was_taken_is_noticed(tmp_path):
    records = [bytes([i]) * 30 for i in range(100)]
    path = tmp_path / "x-train.tfrecord-00000-of-00001"
    path.write_bytes(b"".join(map(framed, records)))
    what = SimpleNamespace(filename=str(path), skip=0, take=100, examples_in_shard=100)
    found = tfrecord.open_records([what])
    assert found.__getitems__(range(100)) == records
    wrong = dataclasses.replace(found, offsets=found.offsets + (np.arange(100) == 50))
    with pytest.raises(input_pipeline.UnreadableImage, match="kept index of offsets"):
        wrong.__getitems__([50])


def framed(record: bytes) -> bytes:
    length = struct.pack("<Q", len(record))
    crcs = (struct.pack("<I", tfrecord._masked_crc(x)) for x in (length, record))
    return length + next(crcs) + record + next(crcs)


def test_check_sums_are_those_of_tensorflow():
    # The known answer of CRC-32C (RFC 3720, B.4), masked.
    crc = 0x8A9136AA
    masked = ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
    assert tfrecord._masked_crc(bytes(32)) == masked
