"""LeNet-5 on MNIST: wall time from process start to the end, compilation included, and accuracy.

    python benchmarks/lenet_mnist.py [--seeds=3]

Each seed is a process of its own, as a user starts it, with an empty compile cache. MNIST is
prepared before. Target: a median of 99.2 % top-1 within 60 s on 2 CPU cores.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import input_pipeline

ROOT = Path(__file__).parents[1]


def run(seed: int) -> tuple[float, float]:
    """Returns (seconds, top-1) of `python -m train --config=configs/lenet.py` with this seed."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "train", "--config=configs/lenet.py"]
        command += [f"--workdir={folder}/run", f"--config.seed={seed}"]
        command += [f"--config.compile_cache={folder}/cache"]
        start = time.perf_counter()
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
        seconds = time.perf_counter() - start
        lines = (Path(folder) / "run" / "metrics.jsonl").read_text().splitlines()
        return seconds, json.loads(lines[-1])["top1"]


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seeds", type=int, default=3)
    seeds = parser.parse_args().seeds
    input_pipeline.open("mnist", "train")
    results = []
    for seed in range(seeds):
        results.append(run(seed))
        print(f"seed {seed}: {results[-1][0]:5.1f} s, top-1 {results[-1][1]:.2%}", flush=True)
    seconds, top1 = zip(*results, strict=True)
    print(f"median: {statistics.median(seconds):5.1f} s, top-1 {statistics.median(top1):.2%}")


if __name__ == "__main__":
    main()
