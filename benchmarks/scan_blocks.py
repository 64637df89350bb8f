"""Compile time and memory of a training step: blocks in a row, scanned, rematerialized.

    python benchmarks/scan_blocks.py [--models=vit_l_16,cait_s36,swin_b] [--batch=8] [--size=224]

Each figure comes from a process of its own. Seconds are CPU time of all threads, which other
programs on the machine disturb least: for tracing and lowering, and for XLA's compilation (no
cache). The memory is that of XLA's temporaries, as XLA reports it, and with --run also the peak
resident size of the process after a step, as the kernel reports it.
"""

import argparse
import resource
import subprocess
import sys
import time
from typing import Any

SETTINGS = {
    "one by one": {},
    "remat": {"remat": True},
    "scan": {"scan": True},
    "scan, remat": {"scan": True, "remat": True},
}


def measure(name: str, setting: str, batch: int, size: int, run: bool) -> None:
    """Prints the figures of one setting, in this process.

    Args:
      name: Registered model.
      setting: Key of `SETTINGS`.
      batch: Number of images.
      size: Side of the images in pixels.
      run: Whether to run a step, too.
    """
    import jax
    import jax.numpy as jnp

    import zoo

    model = zoo.create(name, **SETTINGS[setting])
    images = jax.ShapeDtypeStruct((batch, size, size, 3), jnp.float32)
    params = jax.eval_shape(model.init, jax.random.key(0), images)["params"]

    def step(params, images):
        def loss(params):
            rngs = {"dropout": jax.random.key(0)}
            logits: Any = model.apply({"params": params}, images, train=True, rngs=rngs)
            return -jax.nn.log_softmax(logits)[:, 0].mean()

        gradients = jax.grad(loss)(params)
        return jax.tree.map(lambda p, g: p - 0.1 * g, params, gradients)

    start = time.process_time()
    lowered = jax.jit(step, donate_argnums=0).lower(params, images)
    lowered_at = time.process_time()
    compiled = lowered.compile()
    compiled_at = time.process_time()
    memory: Any = compiled.memory_analysis()
    figures = [lowered_at - start, compiled_at - lowered_at, memory.temp_size_in_bytes / 2**30]
    if run:
        arrays = jax.tree.map(lambda leaf: jnp.full(leaf.shape, 0.01), params)
        start = time.perf_counter()
        jax.block_until_ready(compiled(arrays, jnp.ones(images.shape)))
        figures.append(time.perf_counter() - start)
        figures.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
    print(*figures)


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", default="vit_l_16,cait_s36,swin_b")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--run", action="store_true")
    parser.add_argument("--only", nargs=2, help="a model and a setting, in this process")
    options = parser.parse_args()
    if options.only:
        name, way = options.only
        measure(name, way, options.batch, options.size, options.run)
        return
    columns = ["model", "blocks", "trace and lower, CPU s", "compile, CPU s", "temporaries GiB"]
    columns += ["step s", "peak RSS GiB"] if options.run else []
    print("| " + " | ".join(columns) + " |\n|" + " --- |" * len(columns))
    for name in options.models.split(","):
        for setting in SETTINGS:
            command = [sys.executable, *sys.argv, "--only", name, setting]
            output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            figures = [f"{float(figure):.2f}" for figure in output.split()]
            print(f"| {name} | {setting} | " + " | ".join(figures) + " |", flush=True)


if __name__ == "__main__":
    main()
