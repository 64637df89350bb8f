"""Compile time and memory of a training step: blocks one by one, scanned, scanned with remat.

    python benchmarks/scan_blocks.py [--models=vit_l_16,cait_s36,swin_b] [--batch=8] [--size=224]

Each figure is of a process of its own. Seconds are of the CPU, of all threads, which other
programs on the machine disturb least: for tracing and lowering, and for XLA's compilation (no
cache); the memory is what XLA's program needs beside its arguments, by its own account, and with
--run also the largest resident size of the process after a step, by the kernel's.
"""

import argparse
import resource
import subprocess
import sys
import time
from typing import Any

WAYS = {
    "one by one": {},
    "remat": {"remat": True},
    "scan": {"scan": True},
    "scan, remat": {"scan": True, "remat": True},
}


def measure(name: str, way: str, batch: int, size: int, run: bool) -> None:
    """Prints the figures of one way, in this process."""
    import jax
    import jax.numpy as jnp

    import zoo

    model = zoo.create(name, **WAYS[way])
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
    middle = time.process_time()
    compiled = lowered.compile()
    end = time.process_time()
    memory: Any = compiled.memory_analysis()
    figures = [middle - start, end - middle, memory.temp_size_in_bytes / 2**30]
    if run:
        arrays = jax.tree.map(lambda leaf: jnp.full(leaf.shape, 0.01), params)
        start = time.perf_counter()
        jax.block_until_ready(compiled(arrays, jnp.ones(images.shape)))
        figures.append(time.perf_counter() - start)
        figures.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
    print(*figures)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", default="vit_l_16,cait_s36,swin_b")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--run", action="store_true")
    parser.add_argument("--only", nargs=2, help="a model and a way, in this process")
    options = parser.parse_args()
    if options.only:
        name, way = options.only
        measure(name, way, options.batch, options.size, options.run)
        return
    columns = ["model", "blocks", "trace and lower, CPU s", "compile, CPU s", "temporaries GiB"]
    columns += ["step s", "peak RSS GiB"] if options.run else []
    print("| " + " | ".join(columns) + " |\n|" + " --- |" * len(columns))
    for name in options.models.split(","):
        for way in WAYS:
            command = [sys.executable, *sys.argv, "--only", name, way]
            output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            figures = [f"{float(figure):.2f}" for figure in output.split()]
            print(f"| {name} | {way} | " + " | ".join(figures) + " |", flush=True)


if __name__ == "__main__":
    main()
