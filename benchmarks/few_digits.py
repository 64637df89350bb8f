"""Five images of each of the digits 5 to 9: from scratch, and from what was learnt of 0 to 4.

    python benchmarks/few_digits.py [--rates=0.01,0.03] [--seeds=3]

The commands are those of docs/finetune.md; a seed draws the 25 images, the initial weights and the
order. Prints the top-1 of each run on the 4,861 test images of these digits.
"""

import argparse
import gzip
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

FEW: dict[str, Any] = {
    "batch_size": 25,
    "duration": "300 steps",
    "schedule.warmup": "10 steps",
    "eval.every": "0 steps",
}


def read(name: str, start: int) -> np.ndarray:
    """The bytes of one of MNIST's files after its header."""
    folder = resources.files("input_pipeline") / "data/mnist"
    return np.frombuffer(gzip.decompress((folder / name).read_bytes()), np.uint8, offset=start)


def arrays(high: bool, seed: int) -> dict[str, np.ndarray]:
    """The digits 0 to 4, or five training images of each of 5 to 9 and all test images of them."""
    found = {}
    for split, name in {"train": "train", "test": "t10k"}.items():
        images = read(f"{name}-images-idx3-ubyte.gz", 16).reshape(-1, 28, 28)
        labels = read(f"{name}-labels-idx1-ubyte.gz", 8)
        chosen = np.flatnonzero(labels >= 5 if high else labels < 5)
        if high and split == "train":
            draw = np.random.default_rng(seed).permutation
            chosen = np.concatenate([draw(np.flatnonzero(labels == i))[:5] for i in range(5, 10)])
        found |= {f"x_{split}": images[chosen], f"y_{split}": labels[chosen] - 5 * high}
    return found


def save(path: Path, found: dict[str, Any]) -> None:
    """Writes arrays to an .npz file."""
    np.savez_compressed(path, **found)


def train(workdir: Path, settings: Mapping[str, Any]) -> float:
    """The last top-1 of a run, in %."""
    keys = [f"--config.{key}={value}" for key, value in settings.items()]
    command = [sys.executable, "-m", "train", "--config=lenet", f"--workdir={workdir}", *keys]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    lines = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    return 100 * [line for line in lines if line["split"] == "eval"][-1]["top1"]


def main() -> None:
    """Prints the accuracy of all runs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rates", default="0.01,0.03")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save(folder / "low.npz", arrays(False, 0))
        low = {"data.name": f"npz:{folder / 'low.npz'}", "duration": "3 epochs"}
        print(f"0 to 4: {train(folder / 'low', low):.2f} %", flush=True)
        for rate in options.rates.split(","):
            for start in ("", str(folder / "low")):
                found = []
                for seed in range(options.seeds):
                    path = folder / f"{seed}.npz"
                    save(path, arrays(True, seed))
                    settings = FEW | {"data.name": f"npz:{path}", "init.weights": start}
                    settings |= {"seed": seed, "schedule.learning_rate": rate}
                    found.append(train(folder / f"{rate}{bool(start)}{seed}", settings))
                what = "fine-tuned" if start else "scratch"
                figures = ", ".join(f"{figure:.1f}" for figure in found)
                print(
                    f"rate {rate}, {what}: {np.mean(found):.1f} ± {np.std(found):.1f} ({figures})",
                    flush=True,
                )


if __name__ == "__main__":
    main()
