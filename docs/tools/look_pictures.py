"""Draws the pictures of docs/look.md: units of EfficientNet-Lite0, and the page in a browser.

    python docs/tools/look_pictures.py --image=cat.jpg --crops=FOLDER

It needs Chromium and its driver, the extra `browser`, and a folder of photographs.
"""

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

DOCS = Path(__file__).parents[1]
sys.path.insert(0, str(DOCS.parent / "benchmarks"))

import look as benchmark  # noqa: E402  (benchmarks/look.py)

UNITS = ("logits:282", "logits:388", "logits:417", "stage7:100", "stage5:40", "stage3:17")


def units_of(image: str, crops: str) -> None:
    """Draws six units beside their strongest crops: look_units.jpg."""
    from input_pipeline.example import Example, Source
    from train.use import looking
    from train.use.weights import open_model

    trained = open_model(benchmark.weights(), model=benchmark.NAME)
    session = looking.Session(looking.Look(trained, image, units=",".join(UNITS)))
    session.visualise(lambda steps, *_: steps)
    size = trained.preprocessing.image_size
    pixels = [Example(crop, 0, "crop") for crop in benchmark.crops(crops, size)]
    source = Source("crops", "all", pixels, ("crop",))
    session.find_top(source, len(pixels), 50, 2, lambda steps, *_: steps)
    with tempfile.TemporaryDirectory() as folder:
        session.write(Path(folder))
        drawn = Image.open(Path(folder) / "units.png").convert("RGB")
        drawn.thumbnail((1000, 1600))
        drawn.save(DOCS / "look_units.jpg", quality=82, optimize=True)


def page() -> None:
    """Takes a picture of LeNet-5's page: look_page.png."""
    import gzip

    from selenium import webdriver

    from train.use import looking
    from train.use.weights import open_model

    packed = DOCS.parent / "input_pipeline/data/mnist/t10k-images-idx3-ubyte.gz"
    pixels = np.frombuffer(gzip.decompress(packed.read_bytes()), np.uint8, offset=16)
    with tempfile.TemporaryDirectory() as folder:
        digit = Path(folder) / "digit.png"
        Image.fromarray(pixels[: 28 * 28].reshape(28, 28)).save(digit)
        session = looking.Session(looking.Look(open_model("zoo/lenet5.mnist"), str(digit)))
        session.attribute()
        session.visualise(lambda steps, *_: steps)
        session.write(Path(folder))
        options = webdriver.ChromeOptions()
        options.binary_location = shutil.which("chromium") or ""
        for argument in ("headless=new", "no-sandbox", "window-size=1500,1200"):
            options.add_argument(f"--{argument}")
        service = webdriver.ChromeService(shutil.which("chromedriver"))
        with webdriver.Chrome(options, service) as driver:
            driver.get((Path(folder) / "page.html").as_uri())
            driver.execute_script("look.showUnit(1, 2, 12, 14)")
            time.sleep(2)
            driver.save_screenshot(f"{folder}/shot.png")
        shot = Image.open(f"{folder}/shot.png").convert("RGB")
        shot = shot.resize((1000, round(1000 * shot.height / shot.width)), Image.Resampling.LANCZOS)
        shot.quantize(128).save(DOCS / "look_page.png", optimize=True)


def main() -> None:
    """Draws both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--image", required=True, help="photograph of a cat")
    parser.add_argument("--crops", required=True, help="folder of photographs")
    given = parser.parse_args()
    page()
    units_of(given.image, given.crops)


if __name__ == "__main__":
    main()
