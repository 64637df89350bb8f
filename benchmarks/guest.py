"""The CPU runtime as a guest: with busy Python threads, at the end of a program, with many sizes.

    python benchmarks/guest.py busy     # inference at batch 1, idle and beside a busy Python thread
    python benchmarks/guest.py memory   # growth of a process that serves 500 image sizes
    python benchmarks/guest.py exit     # seconds from the last line to the end of the process

Each prints a table of the default form (oneDNN) beside the portable form of the same run.
"""

import argparse
import contextlib
import gc
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

os.environ.setdefault("JAX_PLATFORMS", "cpu")

MODELS = (
    *(("efficientnet_b0", 112), ("efficientnet_b0", 224), ("mobilenet_v2", 224)),
    *(("mobilenet_v3_small", 224), ("shufflenet_v2_x1_0", 224), ("squeezenet1_1", 224)),
    *(("resnet18", 224), ("resnet50", 224), ("densenet121", 224), ("googlenet_bn", 224)),
    *(("convnext_tiny", 224), ("vit_ti_16", 224), ("vit_s_16", 224), ("swin_t", 224)),
)
RUNS, ROUNDS = 25, 4


def compiled_forms(name: str, size: int) -> dict[str, Callable[[], None]]:
    """Returns functions that run inference at batch 1, one per form, compiled and run once."""
    import jax
    import jax.numpy as jnp

    import zoo

    model = zoo.create(name)
    images = jnp.ones((1, size, size, zoo.info(name).channels))
    variables = jax.jit(model.init)(jax.random.key(0), images)
    calls = {}
    for form, context in {"default": contextlib.nullcontext, "portable": zoo.portable}.items():
        with context():
            program = jax.jit(model.apply).lower(variables, images).compile()

        def call(program=program):
            program(variables, images).block_until_ready()

        call()
        calls[form] = call
    return calls


def milliseconds(calls: dict[str, Callable[[], None]], statistic: Callable) -> dict[str, float]:
    """Returns a statistic of each function's times; the functions alternate."""
    times: dict[str, list[float]] = {form: [] for form in calls}
    for _ in range(ROUNDS):
        for form, call in calls.items():
            for _ in range(RUNS):
                start = time.perf_counter()
                call()
                times[form].append(1e3 * (time.perf_counter() - start))
    return {form: statistic(values) for form, values in times.items()}


@contextlib.contextmanager
def busy_thread() -> Iterator[None]:
    """Runs a Python thread that holds the interpreter's lock whenever it can."""
    stop = threading.Event()

    def count():
        while not stop.is_set():
            sum(range(1000))

    thread = threading.Thread(target=count)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def busy(names: list[str]) -> None:
    """Prints the times of each form: the minimum of 100 idle runs, the median of 100 busy ones.

    Idle, others on the machine only add. Beside a busy thread most of a call is the wait for the
    interpreter's lock, up to 5 ms each, and the luckiest run says nothing about the others.
    """
    print("| model | pixels | idle, ms | portable | ratio | busy, ms | portable | ratio |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for name, size in MODELS:
        if names and name not in names:
            continue
        calls = compiled_forms(name, size)
        cells = []
        for context, statistic in {
            contextlib.nullcontext: min,
            busy_thread: statistics.median,
        }.items():
            with context():
                times = milliseconds(calls, statistic)
            ours, portable = times["default"], times["portable"]
            cells += [f"{ours:.1f}", f"{portable:.1f}", f"{ours / portable:.2f}"]
        print(f"| {name} | {size} | {' | '.join(cells)} |", flush=True)


def resident() -> float:
    """Returns the resident memory of this process, in MB."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def serve(sizes: int) -> None:
    """Serves images of `sizes` sizes by a small network, and prints how the process grows."""
    import jax
    import numpy as np
    from flax import linen as nn

    from zoo.layers.conv import Conv
    from zoo.layers.dense import Dense

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            for features in (32, 64):
                x = nn.relu(Conv(features, (3, 3), 2, padding=1)(x))
            return Dense(1000)(x.mean((1, 2)))

    variables = Net().init(jax.random.key(0), np.ones((1, 64, 64, 3), np.float32))
    served = []

    def grow(widths) -> float:
        before = resident()
        for width in widths:
            images = np.ones((1, 64, width, 3), np.float32)
            served.append(jax.jit(Net().apply).lower(variables, images).compile())
            served[-1](variables, images).block_until_ready()
        return resident() - before

    grow(range(32, 42))  # what the first calls load is no growth
    growth = grow(range(64, 64 + sizes))
    served.clear()
    jax.clear_caches()
    gc.collect()
    dropped = resident()
    again = grow(range(64 + sizes, 64 + 2 * sizes))
    served.clear()
    jax.clear_caches()
    gc.collect()
    print(f"{growth:.1f} {again:.1f} {resident() - dropped:.1f}")


def memory(sizes: int) -> None:
    """Prints the growth of two processes, one in each form."""
    print("| form | growth, MB | after dropping, again | left of that, MB |")
    print("| --- | ---: | ---: | ---: |")
    for form, value in {"default": "0", "portable": "1"}.items():
        done = subprocess.run(
            [sys.executable, __file__, "serve", f"--sizes={sizes}"],
            env=os.environ | {"ZOO_PORTABLE": value},
            capture_output=True,
            text=True,
            check=True,
        )
        print(f"| {form} | {' | '.join(done.stdout.split())} |", flush=True)


def exits() -> None:
    """Prints the seconds from the last line of a program, with calls in flight, to its end."""
    program = """
import time, jax, numpy as np, zoo
model = zoo.create("resnet18")
images = np.zeros((8, 112, 112, 3), np.float32)
variables = jax.jit(model.init)(jax.random.key(0), images)
apply = jax.jit(model.apply)
apply(variables, images).block_until_ready()
logits = apply(variables, images)
print(time.monotonic(), flush=True)
"""
    print("| form | seconds to the end, median of 5 |\n| --- | ---: |")
    for form, value in {"default": "0", "portable": "1"}.items():
        seconds = []
        for _ in range(5):
            done = subprocess.run(
                [sys.executable, "-c", program],
                env=os.environ | {"ZOO_PORTABLE": value},
                capture_output=True,
                text=True,
                check=True,
            )
            seconds.append(time.monotonic() - float(done.stdout))
        print(f"| {form} | {sorted(seconds)[2]:.2f} |", flush=True)


def main() -> None:
    """Runs the part that the command line names."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("part", choices=["busy", "memory", "exit", "serve"])
    parser.add_argument("names", nargs="*", help="models of `busy`; all if none is named")
    parser.add_argument("--sizes", type=int, default=500)
    options = parser.parse_args()
    if options.part == "busy":
        busy(options.names)
    elif options.part == "memory":
        memory(options.sizes)
    elif options.part == "serve":
        serve(options.sizes)
    else:
        exits()


if __name__ == "__main__":
    main()
