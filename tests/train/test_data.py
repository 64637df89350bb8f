import re

import numpy as np
import pytest
from PIL import Image

from configs import base
from input_pipeline.example import DataError
from train.data import open_data
from train.errors import TrainError

pytestmark = pytest.mark.quick


def write_folder(root, classes: dict[str, list[str]]) -> None:
    for split, names in classes.items():
        for name in names:
            folder = root / split / name
            folder.mkdir(parents=True)
            Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(folder / "image.png")


def test_splits_with_different_classes_are_an_error(tmp_path):
    write_folder(tmp_path, {"train": ["cat", "dog"], "validation": ["cat", "emu"]})
    config = base.get_config()
    config.model.name = "resnet18"
    config.data.name = f"folder:{tmp_path}"
    with pytest.raises(DataError, match="different classes.*dog, emu"):
        open_data(config)


@pytest.mark.parametrize(
    "key, value, message",
    [
        (
            "eval.interpolation",
            "linear",
            "interpolation='linear' is not one of.*eval.interpolation",
        ),
        ("eval.crop", 1.5, r"must be in \(0, 1\], not 1.5.*eval.crop"),
        ("augment.resize", (100, 200), "too small for a crop of 224 pixels.*augment.resize"),
        ("augment.crop", "some", "augment.crop='some' is not known"),
        ("data.on_device", "maybe", "data.on_device='maybe' is not known"),
    ],
)
def test_a_wrong_value_is_told_with_its_key(key, value, message):
    config = base.get_config()
    config.model.name, config.data.name = "resnet18", "synthetic"
    config.augment.crop = "resize_random" if key == "augment.resize" else "none"
    section, _, name = key.partition(".")
    config[section][name] = value
    with pytest.raises(TrainError, match=message):
        open_data(config)


def test_splits_with_the_same_classes_open(tmp_path):
    write_folder(tmp_path, {"train": ["cat", "dog"], "validation": ["cat", "dog"]})
    config = base.get_config()
    config.model.name = "resnet18"
    config.data.name = f"folder:{tmp_path}"
    data = open_data(config)
    assert data.num_classes == 2
    assert data.image_shape == (224, 224, 3)


@pytest.mark.parametrize(
    "name, size, told",
    [
        (
            "resnet18",
            28,
            "28x28 pixels, which are enlarged to 224x224 for resnet18. .* resnet18_cifar",
        ),
        ("resnet50", 32, "or set model.options.stem=cifar, or data.image_size"),
        ("resnetv2_50", 32, "or set model.options.stem=cifar, or data.image_size"),
        ("vit_ti_16", 32, "For small images there is densenet"),
        ("resnet18", 128, ""),
        ("resnet18_cifar", 28, ""),
        ("lenet5", 28, ""),
    ],
)
def test_images_that_are_enlarged_several_times_are_told(name, size, told, capsys):
    config = base.get_config()
    config.model.name, config.data.name = name, f"synthetic:size={size}"
    open_data(config)
    printed = capsys.readouterr().out
    assert re.search(told, printed) if told else printed == ""
