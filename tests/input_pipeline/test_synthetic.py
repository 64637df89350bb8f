import pickle

import numpy as np
import pytest

import input_pipeline
from input_pipeline import transforms

pytestmark = pytest.mark.quick


def test_jpegs_of_different_sizes_decode_like_photographs():
    source = input_pipeline.open("synthetic:classes=1000", "train")
    assert source.num_classes == 1000 and source.image_shape is None
    images = [transforms.CenterCrop(32)(source[i]) for i in range(len(source))]
    assert len(images) == 48 and {x.shape for x in images} == {(32, 32, 3)}
    labels = {source[i].label for i in range(len(source))}
    assert len(labels) == 48 and max(labels) < 1000


def test_arrays_of_one_shape():
    source = input_pipeline.open("synthetic:channels=1", "test")
    assert source.image_shape == source[0].image.shape == (28, 28, 1)


def test_the_same_in_every_process_and_different_by_split():
    first = input_pipeline.open("synthetic:size=16", "train")
    again = pickle.loads(pickle.dumps(first))
    test = input_pipeline.open("synthetic:size=16", "test")
    assert (first[5].image == again[5].image).all()
    assert (first[5].image != test[5].image).any()
    assert {first[i].label for i in range(48)} == set(range(10))


def test_the_examples_end():
    with pytest.raises(IndexError):
        input_pipeline.open("synthetic:examples=3", "train")[np.int64(3)]


@pytest.mark.parametrize("options", ["colour=3", "classes=many", "classes"])
def test_wrong_options_are_explained(options):
    with pytest.raises(input_pipeline.DataError, match="synthetic:classes=10,examples=48"):
        input_pipeline.open(f"synthetic:{options}", "train")


@pytest.mark.parametrize(
    "options",
    ["classes=0", "classes=99999999", "size=99999", "channels=0", "examples=1" + 5000 * "0"],
)
def test_sizes_that_no_memory_holds_are_refused(options):
    with pytest.raises(input_pipeline.DataError, match="is not possible: .* to "):
        input_pipeline.open(f"synthetic:{options}", "train")
