"""Arrays as data sets: in memory, and in .npz files, also damaged ones."""

import io
import pickle
import zipfile

import numpy as np
import pytest

import input_pipeline
from input_pipeline import arrays
from input_pipeline.example import DataError

pytestmark = pytest.mark.quick

IMAGES = np.arange(6 * 8 * 8, dtype=np.uint8).reshape(6, 8, 8)
LABELS = np.array([0, 1, 2, 0, 1, 2])


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "data.npz"
    test = dict(x_test=IMAGES[:2], y_test=np.array([[3], [0]], np.uint8))
    np.savez_compressed(path, x_train=IMAGES, y_train=LABELS, **test)
    return path


def test_splits_of_a_file(file):
    source = input_pipeline.open(f"npz:{file}", "train[:50%]")
    assert len(source) == 3 and source.image_shape == (8, 8, 1)
    assert source.class_names == ("0", "1", "2", "3")  # of all splits
    assert (source[1].image[:, :, 0] == IMAGES[1]).all() and source[1].label == 1
    assert "data.npz (train[:50%]), image 1" in source[1].name
    assert input_pipeline.eval_split(f"npz:{file}") == "test"
    test = input_pipeline.open(f"npz:{file}", "test")
    assert [example.label for example in test.__getitems__([0, 1])] == [3, 0]
    assert (pickle.loads(pickle.dumps(test))[0].image == test[0].image).all()


def test_names_of_classes(file):
    np.savez(file, x_train=IMAGES, y_train=LABELS, class_names=["cat", "dog", "fox"])
    assert input_pipeline.open(f"npz:{file}", "train").class_names == ("cat", "dog", "fox")
    np.savez(file, x_train=IMAGES, y_train=LABELS, class_names=["cat", "dog"])
    source = input_pipeline.open(f"npz:{file}", "train")
    with pytest.raises(DataError, match="image 2 has the label 2, and the 2 classes"):
        source[2]


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (IMAGES.astype(np.float32) / 255, LABELS, r"are float32 \[6, 8, 8, 1\], and must be uint8"),
        (IMAGES.reshape(6, 1, 8, 8), LABELS, "C 1 or 3"),
        (IMAGES[0], LABELS, "must be uint8"),
        (IMAGES, LABELS[:5], r"are int64 \[5\], and must be one integer for each of the 6"),
        (IMAGES, LABELS.astype(float), "labels of arrays"),
        (IMAGES, LABELS - 1, "from -1 to 1"),
        (IMAGES, LABELS + 2**40, "numbers of classes"),
    ],
    ids=range(7),
)
def test_arrays_that_are_no_data_set(images, labels, message):
    with pytest.raises(DataError, match=message):
        arrays.from_arrays(images, labels)


def npy(array) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    return stream.getvalue()


def damaged(content: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("x_train.npy", content)
        archive.writestr("y_train.npy", npy(LABELS))
    return stream.getvalue()


GOOD = npy(IMAGES)
DAMAGED = {
    "text": b"no archive",
    "empty": b"",
    "no splits": damaged(GOOD).replace(b"x_train", b"z_train"),
    "labels of another name": damaged(GOOD).replace(b"y_train.npy", b"y_train_npy"),
    "cut": damaged(GOOD[:-1]),
    "no header": damaged(b"\x93NUMPY"),
    "objects": damaged(npy(np.array([{}], object))),
    "floats": damaged(npy(np.zeros((6, 8, 8)))),
    "huge": damaged(GOOD.replace(b"(6, 8, 8)", b"(9999999999999, 8, 8)"[:9])),
    "a huge shape": damaged(GOOD.replace(b"(6, 8, 8), }", b"(6000000, 8)")),
    "version": damaged(GOOD.replace(b"NUMPY\x01", b"NUMPY\x09")),
}


@pytest.mark.parametrize("what", DAMAGED)
def test_damaged_files_are_named(what, tmp_path):
    path = tmp_path / "data.npz"
    path.write_bytes(DAMAGED[what])
    with pytest.raises(DataError, match="data.npz"):
        input_pipeline.open(f"npz:{path}", "train")


@pytest.mark.parametrize("code", [0x110000, 0xD800])
def test_names_of_no_characters(code, file):
    names = np.array([code, 98, 99], np.uint32).view("<U1")
    np.savez(file, x_train=IMAGES, y_train=LABELS, class_names=names)
    with pytest.raises(DataError, match="array class_names in .*data.npz cannot be read"):
        input_pipeline.open(f"npz:{file}", "train")


def test_what_is_missing_is_told(file):
    with pytest.raises(DataError, match="has no split validation: it has test, train"):
        input_pipeline.open(f"npz:{file}", "validation")
    with pytest.raises(DataError, match="There is no file nothing.npz"):
        input_pipeline.open("npz:nothing.npz", "train")
