import io
import shutil
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
