import gzip
import io
import os
import shutil
import struct
import tarfile

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

import input_pipeline
from input_pipeline import transforms
from input_pipeline.prepare import builders, prepare

pytestmark = pytest.mark.quick


def test_imagenet_from_its_tars(imagenet_dir, imagenet_tars):
    train = input_pipeline.open("imagenet2012", "train", imagenet_dir)
    validation = input_pipeline.open("imagenet2012", "validation", imagenet_dir)
    assert (len(train), len(validation), train.num_classes) == (5, 5, 1000)
    assert train.image_shape is None
    for index in range(5):
        example = train[index]
        wnid = example.name.split("(")[1].split("_")[0]
        assert train.class_names[example.label] == wnid
        assert Image.open(io.BytesIO(example.image)).mode == "RGB"
        assert example.image[:2] == b"\xff\xd8"  # a JPEG, also where the original is a PNG
        assert transforms.CenterCrop(32)(example).shape == (32, 32, 3)
    # Line i of the list of labels belongs to the i-th name in sorted order.
    labels = (imagenet_tars / "val_labels.txt").read_text().split()
    for index in range(5):
        example = validation[index]
        number = int(example.name[-7])
        assert validation.class_names[example.label] == labels[number - 1]


def test_original_bytes_are_kept_but_for_the_odd_ones(imagenet_dir, imagenet_tars):
    originals = {}
    with tarfile.open(imagenet_tars / "ILSVRC2012_img_train.tar") as outer:
        for class_tar in outer:
            with tarfile.open(fileobj=outer.extractfile(class_tar)) as inner:
                originals |= {m.name: inner.extractfile(m).read() for m in inner}
    train = input_pipeline.open("imagenet2012", "train", imagenet_dir)
    for index in range(5):
        name = train[index].name.split("(")[1][:-1]
        odd = name in ("n01739381_1309.JPEG", "n02105855_2933.JPEG")
        assert (train[index].image == originals[name]) != odd
        decoded = Image.open(io.BytesIO(train[index].image)).convert("RGB")
        original = np.asarray(Image.open(io.BytesIO(originals[name])).convert("RGB")).astype(int)
        assert np.abs(original - np.asarray(decoded)).mean() < 3


def test_a_damaged_file_makes_unreadable_images_that_are_named(imagenet_dir, tmp_path):
    shutil.copytree(imagenet_dir, tmp_path, dirs_exist_ok=True)
    (path,) = tmp_path.glob("imagenet2012/*/*train.array_record*")
    content = bytearray(path.read_bytes())
    content[70_000] ^= 255
    path.write_bytes(content)
    source = input_pipeline.open("imagenet2012", "train", tmp_path)
    unreadable = []
    for index in range(len(source)):
        try:
            source[index]
        except input_pipeline.UnreadableImage as error:
            unreadable.append(str(error))
    assert len(unreadable) == 1
    assert "imagenet2012/train example" in unreadable[0]


def test_stock_tfds_reads_it(imagenet_dir):
    stock = tfds.data_source("imagenet2012", split="train", data_dir=imagenet_dir, download=False)
    ours = input_pipeline.open("imagenet2012", "train", imagenet_dir)
    assert [x["label"] for x in stock] == [ours[i].label for i in range(5)]
    assert {x["image"].shape for x in stock} == {(375, 500, 3)}


def test_a_part_of_the_validation_tar_needs_its_labels(imagenet_tars, tmp_path):
    for tar in imagenet_tars.glob("*.tar"):
        (tmp_path / tar.name).symlink_to(tar)
    with pytest.raises(input_pipeline.DataError, match="5 images.*50000 lines.*val_labels.txt"):
        prepare("imagenet2012", tmp_path / "data", tmp_path)


def test_a_missing_tar_is_named(tmp_path):
    with pytest.raises(input_pipeline.DataError, match="img_train.tar and .*img_val.tar not found"):
        prepare("imagenet2012", tmp_path / "data", tmp_path)


def test_a_tar_cut_short(imagenet_tars, tmp_path):
    for file in imagenet_tars.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    train = tmp_path / "ILSVRC2012_img_train.tar"
    train.write_bytes(train.read_bytes()[:100_000])
    with pytest.raises(input_pipeline.DataError, match="img_train.tar.*cut short"):
        prepare("imagenet2012", tmp_path / "data", tmp_path)
    with pytest.raises(input_pipeline.DataError, match="is not in"):
        input_pipeline.open("imagenet2012", "train", tmp_path / "data")


@pytest.mark.parametrize("name, label_bytes", [("cifar10", 1), ("cifar100", 2)])
def test_cifar_from_its_archive(name, label_bytes, tmp_path, monkeypatch):
    random = np.random.RandomState(0)
    facts = tfds.builder_cls(name)(data_dir=tmp_path)._cifar_info
    records = {}
    archive = tmp_path / name.replace("cifar", "cifar-")
    archive = archive.with_name(archive.name + "-binary.tar.gz")
    with tarfile.open(archive, "w:gz") as tar:
        for file in (*facts.train_files, *facts.test_files):
            rows = random.randint(0, 256, (4, label_bytes + 3072), np.uint8)
            rows[:, :label_bytes] = random.randint(0, 10, (4, label_bytes))
            records[file] = rows
            _add(tar, facts.prefix + file, rows.tobytes())
        for key, file in zip(facts.label_keys, facts.label_files, strict=True):
            count = 20 if key == "coarse_label" else 10 if name == "cifar10" else 100
            names = "".join(f"{key} {i}\n" for i in range(count))
            _add(tar, facts.prefix + file, names.encode() + b"\n")
    # These few images stand in for the originals, whose sums they cannot have.
    monkeypatch.setattr(builders, "_verify", lambda path, sha256, name: None)
    data_dir = tmp_path / "data"
    train = input_pipeline.open(name, "train", data_dir, manual_dir=tmp_path)
    test = input_pipeline.open(name, "test", data_dir)
    assert len(train) == 4 * len(facts.train_files) and len(test) == 4
    assert train.image_shape == (32, 32, 3) and train.class_names[3] == "label 3"
    expected = {r[-3072:].tobytes(): r[label_bytes - 1] for r in records[facts.test_files[0]]}
    for index in range(4):
        pixels = test[index].image.transpose(2, 0, 1).tobytes()
        assert expected.pop(pixels) == test[index].label
    stock = tfds.data_source(name, split="test", data_dir=data_dir, download=False)
    assert [x["label"] for x in stock] == [test[i].label for i in range(4)]
    assert (stock[1]["image"] == test[1].image).all()


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def sparse_header(size: int) -> bytes:
    """A member of GNU's sparse format whose holes are said to make it `size` bytes long."""
    member = tarfile.TarInfo("n01440764.tar")
    member.size = 512
    header = bytearray(member.tobuf(tarfile.GNU_FORMAT)[:512])
    header[156:157] = tarfile.GNUTYPE_SPARSE
    header[386:398], header[398:410] = b"%011o\0" % 0, b"%011o\0" % 512
    header[483:495] = b"%011o\0" % size
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + bytes(512)


def header_of(kind: bytes, size: int) -> bytes:
    member = tarfile.TarInfo("x")
    member.type, member.size = kind, size
    return member.tobuf(tarfile.GNU_FORMAT)


def whole_tar() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(mode="w", fileobj=stream) as tar:
        for name in ("a.JPEG", "b.JPEG", "c.JPEG"):
            _add(tar, name, name.encode() * 100)
    return stream.getvalue()


END = bytes(1024)
BROKEN_TARS = {
    "not a tar": b"not a tar" * 100,
    "empty": b"",
    "sparse": sparse_header(3 * 2**29) + END,
    "sparse, of 8 GB": sparse_header(2**33 - 1) + END,
    "an endless file": header_of(tarfile.REGTYPE, 2**50) + END,
    "a file larger than the limit": header_of(tarfile.REGTYPE, 2**29) + END,
    "a name of 4 GB": header_of(tarfile.GNUTYPE_LONGNAME, 2**32) + END,
    "a header of 4 GB": header_of(tarfile.XHDTYPE, 2**32) + END,
    "headers without end": header_of(tarfile.XHDTYPE, 0) * 5000 + END,
    "a header damaged in the middle": whole_tar()[:1540] + b"\xff" + whole_tar()[1541:],
    "zeros in the middle": whole_tar()[:1536] + bytes(512) + whole_tar()[2048:],
    "cut in a file": whole_tar()[:700],
    "cut in a header": whole_tar()[:1600],
    "cut between files": whole_tar()[:3072],
}


@pytest.mark.parametrize("name", BROKEN_TARS)
def test_broken_tars_are_named(name, tmp_path):
    path = tmp_path / "ILSVRC2012_img_val.tar"
    path.write_bytes(BROKEN_TARS[name])
    for tar in (path, io.BytesIO(BROKEN_TARS[name])):
        with pytest.raises(input_pipeline.DataError, match="of ImageNet.*Download it again"):
            for _ in builders._members(tar, "the tar of ImageNet"):
                pass
    if "file" not in name:  # whose contents are not looked at here
        with pytest.raises(input_pipeline.DataError, match=f"{path.name} is cut short or is not"):
            builders._validation_labels(path)


def test_a_tar_of_pax_headers_and_folders_is_read(tmp_path):
    stream = io.BytesIO()
    with tarfile.open(mode="w", fileobj=stream, format=tarfile.PAX_FORMAT) as tar:
        folder = tarfile.TarInfo("folder")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        _add(tar, "folder/" + "ä" * 200, b"content")
    assert list(builders._members(io.BytesIO(stream.getvalue()), "x")) == [
        ("folder/" + "ä" * 200, b"content")
    ]


def test_other_files_in_the_place_of_the_tars(imagenet_tars, tmp_path):
    tar = tmp_path / "ILSVRC2012_img_val.tar"
    os.mkfifo(tar)
    with pytest.raises(input_pipeline.DataError, match="not a regular file"):
        builders._validation_labels(tar)
    tar.unlink()
    tar.symlink_to(imagenet_tars / tar.name)
    (tmp_path / "val_labels.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(input_pipeline.DataError, match="val_labels.txt cannot be read.*UTF-8"):
        builders._validation_labels(tar)


def test_a_tar_of_no_class_is_named(imagenet_tars, tmp_path):
    for file in imagenet_tars.iterdir():
        (tmp_path / file.name).symlink_to(file)
    (tmp_path / "ILSVRC2012_img_train.tar").unlink()
    with tarfile.open(tmp_path / "ILSVRC2012_img_train.tar", "w") as tar:
        _add(tar, "cats.tar", whole_tar())
    with pytest.raises(input_pipeline.DataError, match="holds cats.tar, which is not the tar of a"):
        prepare("imagenet2012", tmp_path / "data", tmp_path)


def packed_idx(magic: int, *shape: int, content: bytes) -> bytes:
    return gzip.compress(struct.pack(f">{1 + len(shape)}i", magic, *shape) + content, mtime=0)


@pytest.mark.parametrize(
    "content, message",
    [
        (b"not gzip", "Not a gzipped file"),
        (b"", "header"),
        (packed_idx(0x803, 2, 3, 4, content=bytes(24))[:-9], "ended before"),
        (packed_idx(0x803, 2, 3, 4, content=bytes(23)), "24 bytes, and there are fewer"),
        (packed_idx(0x803, 2, 3, 4, content=bytes(2**26)), "24 bytes, and there are fewer or more"),
        (packed_idx(0x801, 24, content=bytes(24)), "header"),
        (packed_idx(0x803, -2, -3, 4, content=bytes(24)), "header"),
        (packed_idx(0x803, 2**30, 2**30, 4, content=b""), "is the limit"),
    ],
    ids=["no gzip", "empty", "cut", "few", "many", "labels", "negative", "huge"],
)
def test_broken_idx_files_are_named(content, message, tmp_path):
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(content)
    with pytest.raises(input_pipeline.DataError, match=f"{path.name} cannot be read.*{message}"):
        builders._read_idx(path, 3)
    path.write_bytes(packed_idx(0x803, 2, 3, 4, content=bytes(range(24))))
    assert builders._read_idx(path, 3)[1, 2, 3] == 23
