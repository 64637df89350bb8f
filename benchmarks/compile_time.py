"""From a process's start to its first finished training step, and what compiling takes of it.

    python benchmarks/compile_time.py [--models=...] [--rounds=3] [--batch=2] [--size=224]

float32, SGD with momentum, no compile cache. Each figure is the minimum over the rounds, in which
the programs alternate, each in a process of its own. "plain" is the same model on flax's own
convolution, dense layer and pooling, with its blocks one after the other; "ours" is the model as
`zoo.create` makes it, and "scan", where the model has it, with its blocks in a scan. Parameters are
initialized as `python -m train` does, one after the other, and those of "plain" by
`jax.jit(model.init)` without optimisation.
"""

import argparse
import math
import subprocess
import sys
import time
from typing import Any, cast

import zoo

MODELS = [
    "resnet152",
    "densenet201",
    "efficientnet_b7",
    "nasnet_large",
    "convnext_large",
    "cait_s36",
]


def measure(name: str, layers: str, batch: int, size: int) -> None:
    """Prints the seconds of tracing and lowering, and of compiling the step, in this process.

    Args:
      name: Registered model.
      layers: "plain", "ours" or "scan", see above.
      batch: Number of images.
      size: Side of the images in pixels.
    """
    import jax
    import jax.numpy as jnp
    import optax
    from plain import use_plain_layers

    from train.build import init_eagerly
    from train.memory import keep_freed_memory

    keep_freed_memory()
    if layers == "plain":
        use_plain_layers()
    model = zoo.create(name, **({"scan": True} if layers == "scan" else {}))
    images, labels = jnp.ones((batch, size, size, 3)), jnp.zeros(batch, int)
    optimizer = optax.sgd(0.01, momentum=0.9)

    def init() -> Any:
        variables = model.init(jax.random.key(0), jnp.zeros((1, size, size, 3)))
        return variables, optimizer.init(variables["params"])

    if layers == "plain":
        quick: dict[str, Any] = {"xla_backend_optimization_level": 0}
        variables, state = jax.jit(init).lower().compile(compiler_options=quick)()
    else:
        variables, state = cast(Any, init_eagerly(init))

    def step(variables, state, images):
        def loss(params):
            rngs = {"dropout": jax.random.key(0)}
            all_variables = {**variables, "params": params}
            settings: dict[str, Any] = dict(train=True, mutable=["batch_stats"], rngs=rngs)
            logits, updates = model.apply(all_variables, images, **settings)
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), updates

        params = variables["params"]
        gradients, updates = jax.grad(loss, has_aux=True)(params)
        steps, state = optimizer.update(gradients, state, params)
        return {"params": optax.apply_updates(params, steps), **updates}, state

    start = time.perf_counter()
    lowered = jax.jit(step, donate_argnums=(0, 1)).lower(variables, state, images)
    lowered_at = time.perf_counter()
    compiled = lowered.compile()
    compiled_at = time.perf_counter()
    jax.block_until_ready(compiled(variables, state, images))
    print(lowered_at - start, compiled_at - lowered_at, flush=True)


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--only", nargs=2, help="a model and plain, ours or scan, in this process")
    options = parser.parse_args()
    if options.only:
        name, way = options.only
        measure(name, way, options.batch, options.size)
        return
    columns = ["model", "layers", "to the first step, s", "trace and lower, s", "compile, s"]
    print("| " + " | ".join([*columns, "of plain"]) + " |\n|" + " --- |" * 6, flush=True)
    for name in options.models.split(","):
        kinds = ["plain", "ours", *(["scan"] if hasattr(zoo.create(name), "scan") else [])]
        minima = {layers: [math.inf] * 3 for layers in kinds}
        for _ in range(options.rounds):
            for layers in kinds:
                command = [sys.executable, *sys.argv, "--only", name, layers]
                start = time.perf_counter()
                run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
                figures = [time.perf_counter() - start, *map(float, run.stdout.split())]
                minima[layers] = list(map(min, minima[layers], figures))
        for layers, figures in minima.items():
            cells = [f"{figure:.1f}" for figure in figures]
            cells.append(f"{figures[0] / minima['plain'][0]:.2f}")
            print(f"| {name} | {layers} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
