"""The preprocessing of `zoo` is the evaluation transform of `input_pipeline`."""

import contextlib
import io

import numpy as np
import pytest
from PIL import Image
from skimage import data

import zoo
from input_pipeline import augment, decode, example, jpeg, resize, transforms
from input_pipeline.example import Example
from zoo import pictures
from zoo.preprocess import Preprocessing

TRANSFORMS = {
    "centre crop": (transforms.CenterCrop(64), {"crop": 0.875}),
    "bicubic": (
        transforms.CenterCrop(80, 0.9, "bicubic"),
        {"crop": 0.9, "interpolation": "bicubic"},
    ),
    "enlarged": (transforms.CenterCrop(400, 1.0), {"crop": 1.0}),
    "whole image": (transforms.Resize(48), {"crop": None}),
    "reduced": (transforms.CenterCrop(32, 0.5), {"crop": 0.5}),
}


@pytest.fixture(params=["libjpeg-turbo", "pillow"])
def backend(request, monkeypatch):
    """Runs a test with the fast libraries of input_pipeline and with Pillow in their place."""
    if request.param == "pillow":
        monkeypatch.setattr(jpeg, "decoder", lambda: None)
        monkeypatch.setattr(resize, "_fast", lambda: None)
    return request.param


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Photographs as files: upright and lying, JPEG and PNG, colour and grey."""
    folder = tmp_path_factory.mktemp("images")
    photographs = {
        "cat.jpg": data.chelsea(),
        "rocket.png": data.rocket(),
        "grey.jpg": data.camera(),
    }
    photographs["upright.jpg"] = data.coffee()[:, 100:300]
    for name, pixels in photographs.items():
        Image.fromarray(pixels).save(folder / name)
    return sorted(folder.iterdir())


@pytest.mark.parametrize("case", TRANSFORMS)
def test_it_is_the_evaluation_transform(files, backend, case):
    transform, settings = TRANSFORMS[case]
    preprocessing = Preprocessing(image_size=transform.size, reduced=True, **settings)
    for file in files:
        expected = transform(Example(file.read_bytes(), 0, file.name))
        errors = np.abs(preprocessing.resize(file).astype(int) - expected)
        if backend == "pillow":
            assert not errors.any()
        else:  # see input_pipeline/resize.py for how far its library is from Pillow
            assert (errors > 1).mean() <= (0.002 if case == "bicubic" else 0)
            assert errors.mean() < 0.3 and errors.max() <= 15


def test_digits_are_padded():
    digit = np.random.RandomState(0).randint(0, 256, (28, 28, 1), np.uint8)
    preprocessing = Preprocessing(
        32, channels=1, mean=(0.1307,), std=(0.3081,), crop=None, padding=2
    )
    assert (preprocessing.resize(digit) == transforms.Pad(2)(Example(digit, 0, ""))).all()
    assert (preprocessing.resize(digit[:, :, 0]) == preprocessing.resize(digit)).all()
    large = Image.fromarray(digit[:, :, 0].repeat(10, 0).repeat(10, 1))
    padded = preprocessing.resize(large)
    assert padded.shape == (32, 32, 1) and not padded[:2].any() and not padded[:, -2:].any()
    assert np.abs(padded[2:30, 2:30].astype(int) - digit).mean() < 30


def test_normalization_is_that_of_training(files):
    info = zoo.info("resnet50")
    preprocessing = Preprocessing.from_info(info)
    image = preprocessing(files[0])
    assert image.shape == (224, 224, 3) and image.dtype == np.float32
    expected = augment.normalize(preprocessing.resize(files[0])[None], info.mean, info.std)[0]
    np.testing.assert_allclose(image, expected, atol=2e-6)


def test_caffes_weights_get_blue_first(files):
    info = zoo.info("googlenet")
    assert info.channel_order == "BGR"
    pixels = np.full((300, 300, 3), (255, 0, 0), np.uint8)
    blue, green, red = Preprocessing.from_info(info)(pixels)[0, 0]
    assert red == pytest.approx(255 - 123, abs=1e-3)
    assert (green, blue) == pytest.approx((-117, -104), abs=1e-3)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "CMYK", "P"])
def test_any_image_gets_the_models_channels(mode):
    image = Image.fromarray(data.chelsea()).convert(mode)
    for channels in (1, 3):
        preprocessing = Preprocessing(32, channels, mean=(0.5,), std=(0.5,))
        assert preprocessing(image).shape == (32, 32, channels)
        if mode in ("L", "RGB", "RGBA"):
            array = preprocessing(np.asarray(image))
            np.testing.assert_array_equal(array, preprocessing(image))


def test_what_is_not_an_image_is_refused(tmp_path):
    preprocessing = Preprocessing(32)
    (tmp_path / "text.jpg").write_text("no image")
    stream = io.BytesIO()
    Image.fromarray(data.chelsea()).save(stream, "JPEG")
    (tmp_path / "cut.jpg").write_bytes(stream.getvalue()[:2000])
    for name in ("text.jpg", "cut.jpg"):
        with pytest.raises(ValueError, match=f"{name} is not an image that can be decoded"):
            preprocessing(tmp_path / name)
    with pytest.raises(ValueError, match="An array of 2 bytes .*: cannot identify image file.$"):
        preprocessing(b"no")
    with pytest.raises(FileNotFoundError):
        preprocessing(tmp_path / "nowhere.jpg")
    for array in (np.zeros((8, 8, 3)), np.zeros(8, np.uint8), np.zeros((8, 8, 2), np.uint8)):
        with pytest.raises(ValueError, match="must be uint8"):
            preprocessing(array)


@pytest.mark.parametrize(
    "wrong",
    [
        {"image_size": 0},
        {"channels": 2},
        {"mean": (0.5, 0.5)},
        {"std": (0.0, 1.0, 1.0)},
        {"channel_order": "GRB"},
        {"interpolation": "linear"},
        {"crop": 1.5},
        {"padding": 16},
    ],
)
def test_wrong_settings_are_refused(wrong):
    (name,) = wrong
    with pytest.raises(ValueError, match=f"{name} of a preprocessing cannot be"):
        Preprocessing(**{"image_size": 32, **wrong})


def test_what_is_opened_is_what_training_opens(monkeypatch):
    """Neither room may import the other, so the limits stand in both."""
    assert pictures._FORMATS == decode.FORMATS and pictures.MAX_PIXELS == example.MAX_PIXELS
    monkeypatch.setattr(pictures, "MAX_PIXELS", 64)
    small = Preprocessing(4, crop=None)
    for kind, side, opened in (("PNG", 8, True), ("WEBP", 8, False), ("WEBP", 4, True)):
        stream = io.BytesIO()
        Image.new("RGB", (side, side)).save(stream, kind)
        for read in (small, lambda content: decode.decode_rgb(content, "x", max_pixels=64)):
            refused = (
                contextlib.nullcontext() if opened else pytest.raises(Exception, match="8 x 8")
            )
            with refused:
                read(stream.getvalue())
