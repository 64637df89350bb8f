import numpy as np
import pytest

import input_pipeline
from input_pipeline import in_memory

pytestmark = pytest.mark.quick


def test_all_examples_in_the_order_of_the_source():
    source = input_pipeline.open("synthetic:size=20,channels=1,examples=30", "train")
    images, labels = in_memory.load(source)
    assert images.shape == (30, 20, 20, 1) and images.dtype == np.uint8
    assert labels.shape == (30,) and labels.dtype == np.int32
    for index in (0, 7, 29):
        assert (images[index] == source[index].image).all()
        assert labels[index] == source[index].label


def test_images_of_different_sizes_are_refused(image_folder):
    source = input_pipeline.open(f"folder:{image_folder}", "train")
    with pytest.raises(input_pipeline.DataError, match="differ in size"):
        in_memory.load(source)
