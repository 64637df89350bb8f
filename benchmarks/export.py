"""Milliseconds for one image by our own program and by exported files, two threads each.

    pip install -e '.[onnx]' openvino
    python benchmarks/export.py

ResNet-50, MobileNet-V2 and ViT-S with random weights, 224 pixels, float32. Each contender runs in a
process of its own, bound to two cores; they alternate, and the table has the medians over the
rounds of each one's median over its calls. Converting and compiling are left out.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

MODELS = ("resnet50", "mobilenet_v2", "vit_s_16")
CORES, WARM_UP = 2, 5


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--calls", type=int, default=40)
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--contender", choices=CONTENDERS, help=argparse.SUPPRESS)
    parser.add_argument("--model", help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contender:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
        print(measure(CONTENDERS[options.contender], options))
        return
    print(f"| batch 1, ms | {' | '.join(CONTENDERS)} |\n| --- |{' ---: |' * len(CONTENDERS)}")
    with tempfile.TemporaryDirectory() as folder:
        for model in options.models:
            path = f"{folder}/{model}.onnx"
            command = ["export", model, "--weights=random", "--to=onnx", f"--out={path}"]
            subprocess.run([sys.executable, "-m", "zoo", *command], check=True, stdout=sys.stderr)
            times: dict[str, list[float]] = {name: [] for name in CONTENDERS}
            for _ in range(options.rounds):
                for name, found in times.items():
                    found.append(run(name, model, folder, options.calls))
            cells = [f"{statistics.median(found):.1f}" for found in times.values()]
            print(f"| {model} | {' | '.join(cells)} |", flush=True)


def run(name: str, model: str, folder: str, calls: int) -> float:
    """Runs a contender in a process of its own; returns its milliseconds."""
    environment = os.environ | {"OMP_NUM_THREADS": str(CORES), "JAX_PLATFORMS": "cpu"}
    options = [f"--contender={name}", f"--model={model}", f"--folder={folder}", f"--calls={calls}"]
    command = [sys.executable, __file__, *options]
    done = subprocess.run(command, env=environment, text=True, stdout=subprocess.PIPE, check=True)
    return float(done.stdout.split()[-1])


def measure(contender: Callable, options: argparse.Namespace) -> float:
    """Returns the median of the milliseconds of a call."""
    call = contender(options.model, Path(options.folder, f"{options.model}.onnx"))
    image = np.random.RandomState(0).standard_normal((1, 3, 224, 224)).astype(np.float32)
    times = []
    for _ in range(WARM_UP + options.calls):
        started = time.perf_counter()
        call(image)
        times.append(1e3 * (time.perf_counter() - started))
    return statistics.median(times[WARM_UP:])


def ours(model: str, path: Path) -> Callable[[np.ndarray], np.ndarray]:
    """The program that the file was made of, compiled by JAX."""
    import jax

    from zoo.export.command import random_model
    from zoo.export.program import program

    function = jax.jit(program(random_model(model, None, {})).function)
    return lambda images: np.asarray(function(images))


def onnx_runtime(model: str, path: Path) -> Callable[[np.ndarray], np.ndarray]:
    """The file in ONNX Runtime."""
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = CORES
    session = onnxruntime.InferenceSession(path, settings, providers=["CPUExecutionProvider"])
    return lambda images: np.asarray(session.run(None, {"images": images})[0])


def openvino(model: str, path: Path) -> Callable[[np.ndarray], np.ndarray]:
    """The file in OpenVINO, for the least latency, in float32."""
    import openvino

    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": CORES,
        "INFERENCE_PRECISION_HINT": "f32",
    }
    compiled = openvino.Core().compile_model(path, "CPU", settings)
    return lambda images: np.array(compiled(images)[0])


CONTENDERS = {"flax-zoo": ours, "ONNX Runtime": onnx_runtime, "OpenVINO": openvino}

if __name__ == "__main__":
    main()
