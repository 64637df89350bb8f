"""A headless Chromium, and pages of a small and of a larger network."""

import gzip
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def driver():
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or shutil.which("google-chrome") or ""
    for argument in ("headless=new", "no-sandbox", "disable-gpu", "window-size=1500,1100"):
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    browser.set_script_timeout(120)
    yield browser
    browser.quit()


@pytest.fixture(scope="session")
def lenet(tmp_path_factory) -> str:
    """The address of the page of LeNet-5 with the weights in the package, and of a seven."""
    packed = ROOT / "input_pipeline/data/mnist/t10k-images-idx3-ubyte.gz"
    pixels = np.frombuffer(gzip.decompress(packed.read_bytes()), np.uint8, offset=16)
    image = pixels[: 28 * 28].reshape(28, 28)
    return _made(tmp_path_factory.mktemp("lenet"), image, "zoo/lenet5.mnist", steps=64)


@pytest.fixture(scope="session")
def residual(tmp_path_factory) -> str:
    """The address of the page of a ResNet-18 with random weights, and of a cat."""
    folder = tmp_path_factory.mktemp("residual")
    return _made(folder, data.chelsea(), steps=4, units="4", size=64)


def _made(folder: Path, image: np.ndarray, weights: str = "", **options) -> str:
    from train.use import looking
    from train.use.weights import open_model

    path = folder / "image.png"
    Image.fromarray(image).save(path)
    trained = open_model(weights) if weights else looking.random_model("resnet18", 0)
    session = looking.Session(looking.Look(trained, str(path), **options))
    session.attribute()
    session.visualise(lambda steps, *_: steps)
    session.write(folder, "" if weights else "These weights are random.")
    return (folder / "page.html").as_uri()
