"""`zoo.preprocess` is what torchvision and timm do before they evaluate: see make_preprocess.py."""

import collections
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from drawings import DRAWN, draw
from PIL import Image

import zoo
from zoo.preprocess import Preprocessing

FOLDER = Path(__file__).parent / "goldens" / "preprocess"
SETTINGS = json.loads((FOLDER / "settings.json").read_text())
EXPECTED = np.load(FOLDER / "expected.npz")
PICTURES = collections.defaultdict(list)
for key in EXPECTED.files:
    PICTURES[key.partition("|")[0]].append(key.partition("|")[2])
# Models whose published figures are those of these weights.
MODELS = {
    "torchvision/convnext_tiny:IMAGENET1K_V1": "convnext_tiny",
    "torchvision/swin_v2_t:IMAGENET1K_V1": "swin_v2_t",
    "timm/vit_small_patch16_224.augreg_in21k_ft_in1k": "vit_s_16",
    "timm/tf_efficientnet_lite3.in1k": "efficientnet_lite3",
    "timm/inception_v4.tf_in1k": "inception_v4",
}


def preprocessing_of(source: str) -> Preprocessing:
    settings = {name: value for name, value in SETTINGS[source].items() if name != "crop_mode"}
    settings |= {name: tuple(settings[name]) for name in ("mean", "std")}
    return zoo.preprocess(dataclasses.replace(zoo.info("resnet50"), **settings))


@pytest.fixture(scope="module")
def drawn():
    return {name: draw(*size) for name, size in DRAWN.items()}


@pytest.mark.parametrize("source", SETTINGS)
def test_results_are_those_of_the_reference(source, drawn):
    preprocessing = preprocessing_of(source)
    mean, std = np.float64(preprocessing.mean), np.float64(preprocessing.std)
    for picture in PICTURES[source]:
        image = drawn[picture] if picture in drawn else FOLDER / picture
        result = preprocessing(image)
        expected = EXPECTED[f"{source}|{picture}"] / 255
        at = np.linspace(0, len(result) - 1, len(expected)).round().astype(int)
        error = np.abs(result[at][:, at] * std + mean - expected).max()
        assert error < 0.001 / 255, (picture, 255 * error)


@pytest.mark.parametrize("source", MODELS)
def test_a_models_preprocessing_is_that_of_the_weights_it_quotes(source):
    found, expected = zoo.preprocess(MODELS[source]), preprocessing_of(source)
    assert found.crop == pytest.approx(expected.crop)
    assert dataclasses.replace(found, crop=expected.crop) == expected


def test_every_kind_of_picture_is_there():
    files = {path.name for path in FOLDER.iterdir()} - {"settings.json", "expected.npz"}
    assert set().union(*PICTURES.values()) == files | set(DRAWN)


def test_a_long_and_narrow_image_does_not_become_a_huge_one():
    """To a shorter side of 256 it would have 256 x 5,120,000 pixels."""
    preprocessing = zoo.preprocess("resnet50")
    pixels = np.full((1, 20_000, 3), (200, 100, 50), np.uint8)
    assert (preprocessing.resize(pixels) == pixels[0, 0]).all()


def test_a_reduced_decode_is_further_away():
    """What files of runs do, as training does: not what torchvision does with a large file."""
    exact = preprocessing_of("torchvision/resnet50:IMAGENET1K_V2")
    reduced = dataclasses.replace(exact, reduced=True)
    pixels = [p.resize(FOLDER / "huge.jpg").astype(int) for p in (exact, reduced)]
    difference = np.abs(pixels[0] - pixels[1])
    assert 1 < difference.max() and difference.mean() < 3


def test_one_image_and_batches_of_every_kind():
    preprocessing = zoo.preprocess("resnet50", 64)
    path = FOLDER / "photo.jpg"
    image = Image.open(path)
    one = preprocessing(path)
    assert one.shape == (64, 64, 3) and one.dtype == np.float32
    pixels = np.asarray(image)
    for same in (str(path), path.read_bytes(), image, pixels):
        np.testing.assert_array_equal(preprocessing(same), one)
    for batch in ([path, str(path)], (image, pixels), np.stack([pixels] * 2), iter([path] * 2)):
        np.testing.assert_array_equal(preprocessing(batch), np.stack([one, one]))
    assert preprocessing([]).shape == (0, 64, 64, 3)
    grey = zoo.preprocess("lenet5")
    assert grey(pixels[:, :, 0]).shape == (32, 32, 1)
    assert grey(pixels[None, :, :, :1]).shape == (1, 32, 32, 1)


def test_arrays_of_jax_are_arrays():
    import jax.numpy as jnp

    pixels = draw(40, 30)
    preprocessing = zoo.preprocess("resnet50", 32)
    np.testing.assert_array_equal(preprocessing(jnp.asarray(pixels)), preprocessing(pixels))


@pytest.mark.parametrize("reduced", [False, True])
def test_photographs_are_turned_if_asked(reduced):
    plain = zoo.preprocess("resnet50", 48)
    turning = dataclasses.replace(plain, exif_orientation=True, reduced=reduced)
    path = FOLDER / "turned.jpg"
    upright = Image.fromarray(np.rot90(np.asarray(Image.open(path)), -1))  # by 90 degrees clockwise
    expected = dataclasses.replace(plain, reduced=reduced)(upright)
    for image in (path, path.read_bytes(), Image.open(path)):
        np.testing.assert_array_equal(turning(image), expected)
    assert np.abs(plain(path) - expected).max() > 0.5
    other = FOLDER / "photo.jpg"
    unturned = dataclasses.replace(plain, reduced=reduced)
    np.testing.assert_array_equal(turning(other), unturned(other))


def test_what_is_wrong_with_a_batch_is_said():
    preprocessing = zoo.preprocess("resnet50", 32)
    with pytest.raises(ValueError, match="An array of 3 bytes is not an image"):
        preprocessing([draw(8, 8), b"abc"])
    with pytest.raises(ValueError, match="must be uint8"):
        preprocessing(np.zeros((2, 8, 8, 3)))
    with pytest.raises(ValueError, match="There is no model"):
        zoo.preprocess("resnet5000")


def test_the_names_that_were_there():
    """`zoo.preprocess` was a module; it is a function that leads to the same class."""
    assert zoo.preprocess.Preprocessing is Preprocessing
    assert Preprocessing.from_info(zoo.info("resnet50")) == zoo.preprocess(zoo.info("resnet50"))
