"""Small data sets in the layouts of the real ones, made from scikit-image's photographs."""

import io
import json
import shutil
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from array_record.python import array_record_data_source
from PIL import Image
from skimage import data

from input_pipeline.prepare import prepare

CMYK, PNG = "n01739381_1309.JPEG", "n02105855_2933.JPEG"  # names of such files in ImageNet


def _encoded(pixels: np.ndarray, kind: str = "JPEG", mode: str = "RGB", **options) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(stream, kind, **options)
    return stream.getvalue()


@pytest.fixture(scope="session")
def encode() -> Callable[..., bytes]:
    """encode(pixels, kind="JPEG", mode="RGB", **options of Pillow) -> bytes."""
    return _encoded


@pytest.fixture(scope="session")
def photographs() -> list[np.ndarray]:
    """Four photographs, uint8 [375, 500, 3]."""
    images = [data.astronaut(), data.chelsea(), data.coffee(), data.hubble_deep_field()]
    return [np.asarray(Image.fromarray(x).resize((500, 375))) for x in images]


@pytest.fixture(scope="session")
def image_folder(tmp_path_factory, photographs) -> Path:
    """root/train/{cat,cup}/*.jpg, 9 images of different sizes."""
    root = tmp_path_factory.mktemp("folder")
    for index in range(9):
        folder = root / "train" / ("cat", "cup")[index % 2]
        folder.mkdir(parents=True, exist_ok=True)
        pixels = photographs[index % 4][: 200 + 10 * index, : 300 - 7 * index]
        (folder / f"{index}.jpg").write_bytes(_encoded(pixels, quality=90))
    return root


@pytest.fixture(scope="session")
def imagenet_tars(tmp_path_factory, photographs) -> Path:
    """The two tars of ImageNet with 3 classes and 5 validation images, and their labels."""
    folder = tmp_path_factory.mktemp("tars")
    train = {
        "n01440764": {f"n01440764_{i}.JPEG": _encoded(photographs[i]) for i in range(3)},
        "n01739381": {CMYK: _encoded(photographs[0], mode="CMYK", quality=95)},
        "n02105855": {PNG: _encoded(photographs[1], "PNG")},
    }
    class_tars = {f"{name}.tar": _tar(files) for name, files in train.items()}
    (folder / "ILSVRC2012_img_train.tar").write_bytes(_tar(class_tars))
    names = [f"ILSVRC2012_val_{i:08}.JPEG" for i in (3, 1, 2, 5, 4)]  # not in sorted order
    validation = {name: _encoded(photographs[int(name[-6]) % 4]) for name in names}
    (folder / "ILSVRC2012_img_val.tar").write_bytes(_tar(validation))
    labels = ("n01440764", "n01443537", "n02105855", "n01440764", "n15075141")
    (folder / "val_labels.txt").write_text("\n".join(labels) + "\n")
    return folder


@pytest.fixture(scope="session")
def imagenet_dir(tmp_path_factory, imagenet_tars) -> Path:
    """A data_dir with the tars prepared."""
    data_dir = tmp_path_factory.mktemp("imagenet")
    prepare("imagenet2012", data_dir, imagenet_tars)
    return data_dir


@pytest.fixture
def imagenet_as_tfrecord(tmp_path, imagenet_dir) -> Path:
    """A data_dir with the same examples as TFRecord, each split in two shards."""
    source = imagenet_dir / "imagenet2012" / "5.1.0"
    target = tmp_path / "data" / "imagenet2012" / "5.1.0"
    target.mkdir(parents=True)
    shutil.copy(source / "features.json", target)
    shutil.copy(source / "label.labels.txt", target)
    info = json.loads((source / "dataset_info.json").read_text())
    info["fileFormat"] = "tfrecord"
    for split in info["splits"]:
        shards = [str(p) for p in sorted(source.glob(f"*-{split['name']}.array_record*"))]
        reader = array_record_data_source.ArrayRecordDataSource(shards)
        records = reader.__getitems__(list(range(len(reader))))
        parts = records[:2], records[2:]
        split["shardLengths"] = [str(len(part)) for part in parts]
        for number, part in enumerate(parts):
            name = f"imagenet2012-{split['name']}.tfrecord-{number:05}-of-00002"
            (target / name).write_bytes(b"".join(map(_framed, part)))
    (target / "dataset_info.json").write_text(json.dumps(info))
    return tmp_path / "data"


def _tar(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(mode="w", fileobj=stream) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def _framed(record: bytes) -> bytes:
    """TFRecord framing: length, its masked CRC, the record, its masked CRC."""
    length = struct.pack("<Q", len(record))
    return length + _masked_crc32c(length) + record + _masked_crc32c(record)


def _masked_crc32c(content: bytes) -> bytes:
    crc = 0xFFFFFFFF
    for byte in content:
        crc = _CRC32C[(crc ^ byte) & 255] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def _crc32c_entry(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
    return byte


_CRC32C = [_crc32c_entry(byte) for byte in range(256)]
