"""Data sets of users: arrays, objects, functions and registered names."""

import io
import pickle

import numpy as np
import pytest
from PIL import Image

import input_pipeline
from input_pipeline import in_memory, own
from input_pipeline.decode import LazyImage
from input_pipeline.example import DataError, UnreadableImage

IMAGES = np.arange(6 * 4 * 5 * 3, dtype=np.uint8).reshape(6, 4, 5, 3)
LABELS = np.array([0, 1, 2, 0, 1, 1])


class Items:
    """Items of a form, with the attributes given."""

    def __init__(self, items, **attributes):
        self.items = items
        vars(self).update(attributes)

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        return self.items[index]


def png(image) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def opened(data, split="train", **settings):
    return input_pipeline.open(lambda _: data, split, **settings)


@pytest.fixture(autouse=True)
def forget(monkeypatch):
    monkeypatch.setattr(own, "_registered", {})


@pytest.mark.parametrize("split, rows", [("train", slice(6)), ("train[1:50%]", slice(1, 3))])
def test_arrays(split, rows):
    source = opened((IMAGES, LABELS, ("a", "b", "c")), split)
    images, labels = in_memory.load(source)
    assert (images == IMAGES[rows]).all() and (labels == LABELS[rows]).all()
    assert source.class_names == ("a", "b", "c") and source.image_shape == (4, 5, 3)


def test_arrays_have_the_classes_of_the_whole_split():
    assert opened((IMAGES, LABELS), "train[:2]").class_names == ("0", "1", "2")


def test_a_registered_name():
    @input_pipeline.register("squares")
    def squares(split):
        return IMAGES, LABELS if split == "test" else LABELS * 0, ("a", "b", "c")

    assert input_pipeline.eval_split("squares") == "test"
    train, test = (input_pipeline.open("squares", x) for x in ("train", "test[:4]"))
    assert [x.label for x in train.__getitems__(range(6))] == [0] * 6
    assert [x.label for x in test.__getitems__(range(4))] == [0, 1, 2, 0]
    assert test.dataset == "squares" and test[0].name == "squares (test[:4]), image 0"
    assert squares("test")[0] is IMAGES


@pytest.mark.parametrize("name", ["", "folder:x", "a/b", "train[:3]"])
def test_a_name_like_ours_is_refused(name):
    with pytest.raises(ValueError, match="cannot be the name of a data set"):
        input_pipeline.register(name)


@pytest.mark.parametrize("form", ["pairs", "dicts", "PIL", "bytes", "paths"])
def test_objects_with_items(form, tmp_path):
    makers = {
        "pairs": lambda image, label: (image, label),
        "dicts": lambda image, label: {"image": image, "label": np.int64(label)},
        "PIL": lambda image, label: (Image.fromarray(image), label),
        "bytes": lambda image, label: [png(image), label],
        "paths": lambda image, label: (write(tmp_path / f"{image.sum()}.png", image), label),
    }

    def write(path, image):
        path.write_bytes(png(image))
        return path

    items = [makers[form](image, label) for image, label in zip(IMAGES, LABELS, strict=True)]
    source = opened(Items(items, class_names=["a", "b", "c"]), "train[2:]")
    source = pickle.loads(pickle.dumps(source))  # as worker processes get it
    assert len(source) == 4 and source.class_names == ("a", "b", "c")
    for index in range(4):
        example = source[index]
        pixels = example.image if isinstance(example.image, np.ndarray) else None
        if pixels is None:
            pixels = np.asarray(Image.open(io.BytesIO(example.image)))
        assert (pixels == IMAGES[2 + index]).all() and example.label == LABELS[2 + index]
        assert LazyImage(example).width == 5
    assert source.image_shape == ((4, 5, 3) if form in ("pairs", "dicts") else None)


def test_names_of_classes_as_others_call_them():
    items = [(IMAGES[0], 1)]

    class Label:
        names = ["x", "y"]

    assert opened(Items(items, classes=["p", "q"])).class_names == ("p", "q")
    assert opened(Items(items, num_classes=3)).class_names == ("0", "1", "2")
    assert opened(Items(items, features={"label": Label()})).class_names == ("x", "y")
    with pytest.raises(DataError, match="does not say its classes: give the object an attribute"):
        opened(Items(items))


def test_grey_images_stay_grey_where_all_have_one_shape():
    grey = IMAGES[..., 0]
    source = opened(Items([(grey[0], 0), (grey[1], 0)], num_classes=1))
    assert source.image_shape == (4, 5, 1) and source[1].image.shape == (4, 5, 1)
    varied = opened(Items([(grey[0], 0), (grey[1][:2], 0)], num_classes=1, image_shape=None))
    assert varied.image_shape is None and varied[1].image.shape == (2, 5, 3)


def test_a_source_is_taken_as_it_is():
    source = opened((IMAGES, LABELS))
    part = opened(source, "train[:2]", on_unreadable="skip")
    assert len(part) == 2 and part.on_unreadable == "skip" and part.split == "train[:2]"


@pytest.mark.parametrize(
    "items, error, message",
    [
        ([IMAGES[0]], DataError, r"item 0 is uint8 \[4, 5, 3\]: it has to be \(image, label\)"),
        ([(IMAGES[0], "cat")], DataError, "labels are integers"),
        ([{"image": IMAGES[0]}], DataError, 'is dict: it has to be .image, label. or {"image"'),
        ([(IMAGES[0] / 255, 0)], DataError, r"item 0 is float64 \[4, 5, 3\]: it has to be uint8"),
        ([(IMAGES[0, 0, 0], 0)], DataError, r"uint8 \[3\]"),
        ([(3, 0)], DataError, "is int: it has to be uint8"),
        ([(IMAGES[0], 7)], UnreadableImage, "has the label 7, and the 3 classes"),
        ([("/no/such/file.png", 0)], UnreadableImage, "/no/such/file.png cannot be read"),
    ],
)
def test_items_of_other_forms_are_named(items, error, message):
    with pytest.raises(error, match=message):
        opened(Items(items, num_classes=3))[0]


def test_another_shape_is_told():
    source = opened(Items([(IMAGES[0], 0), (IMAGES[0][:2], 0)], num_classes=1))
    with pytest.raises(DataError, match=r"is \[2, 5, 3\], and others are \[4, 5, 3\]"):
        source[1]


@pytest.mark.parametrize("data", [3, None, iter([])])
def test_what_is_no_data_set_is_told(data):
    with pytest.raises(DataError, match="for the split train. Return \\(images, labels\\)"):
        opened(data)


def test_lists_are_arrays_and_ragged_ones_are_told():
    source = opened(([IMAGES[0], IMAGES[1]], [0, 1]))
    assert len(source) == 2 and source.class_names == ("0", "1")
    with pytest.raises(DataError, match="The arrays of <lambda> .split train. are none"):
        opened(([IMAGES[0], IMAGES[1][:2]], [0, 1]))


def test_photographs_are_turned_in_parts_and_joined_splits_too():
    items = Items([(png(IMAGES[0]), 0)] * 4, num_classes=1)
    for split in ("train[:2]", "train[:1]+train[2:]"):
        source = opened(items, split, exif_orientation=True)
        assert source.examples.exif_orientation and source[1].exif_orientation
