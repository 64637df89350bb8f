"""Training steps and inference on CPU: ours, the same model on plain nn.Conv, and PyTorch.

    python benchmarks/cpu_step.py --torch_python=PATH [--models=...] [--rounds=3] [--mode=train]

float32, SGD with momentum, batch 8 at 224 pixels (--mode=infer: forward at --batch images). The
programs alternate, each in a process of its own that stays; a figure is the minimum over the
rounds' runs. PyTorch runs in channels-last and in contiguous format; the faster counts. Memory is
the largest resident size of a process after its runs, its compilation included. `--plain` adds the
model on flax's own convolution, dense layer and pooling.
"""

import argparse
import math
import subprocess
import sys
from typing import Any

MODELS = {  # our name: torchvision's, or "timm/" and timm's
    "resnet50": "resnet50",
    "resnext50_32x4d": "resnext50_32x4d",
    "vgg16": "vgg16",
    "densenet121": "densenet121",
    "googlenet_bn": "googlenet",
    "inception_v3": "inception_v3",
    "squeezenet1_1": "squeezenet1_1",
    "mobilenet_v2": "mobilenet_v2",
    "shufflenet_v2_x1_0": "shufflenet_v2_x1_0",
    "efficientnet_b0": "efficientnet_b0",
    "regnet_y_800mf": "regnet_y_800mf",
    "convnext_tiny": "convnext_tiny",
    "vit_s_16": "timm/vit_small_patch16_224",
    "swin_t": "swin_t",
}


def serve(run) -> None:
    """Calls `run` for each line of stdin, and prints its seconds and the peak resident GiB."""
    import resource
    import time

    run()
    print("ready", flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        run()
        seconds = time.perf_counter() - start
        print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, flush=True)


def serve_ours(name: str, mode: str, batch: int, plain: bool) -> None:
    """Serves our model, or with `plain` the same on flax's own layers; see `serve`."""
    import jax
    import jax.numpy as jnp
    import numpy as np
    import optax
    from plain import use_plain_layers

    import zoo
    from train.memory import keep_freed_memory

    keep_freed_memory()
    if plain:
        use_plain_layers()
    model = zoo.create(name)
    images = np.random.RandomState(0).standard_normal((batch, 224, 224, 3)).astype(np.float32)
    labels = np.arange(batch)
    variables = jax.jit(model.init)(jax.random.key(0), images[:1])
    if mode == "infer":
        forward = jax.jit(model.apply).lower(variables, images).compile()
        serve(lambda: jax.block_until_ready(forward(variables, images)))
        return
    optimizer = optax.sgd(0.01, momentum=0.9)

    def step(variables, state, images):
        params = variables["params"]

        def loss(params):
            logits, updates = model.apply(
                {**variables, "params": params},
                images,
                train=True,
                mutable=["batch_stats"],
                rngs={"dropout": jax.random.key(0)},
            )
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), updates

        gradients, updates = jax.grad(loss, has_aux=True)(params)
        steps, state = optimizer.update(gradients, state, params)
        return {"params": optax.apply_updates(params, steps), **updates}, state

    train_state: Any = [variables, optimizer.init(variables["params"])]
    compiled = jax.jit(step, donate_argnums=(0, 1)).lower(*train_state, images).compile()

    def run():
        train_state[:] = compiled(*train_state, jnp.asarray(images))
        jax.block_until_ready(train_state)

    serve(run)


def serve_torch(name: str, mode: str, batch: int, channels_last: bool) -> None:
    """Serves torchvision's or timm's model in one of PyTorch's memory formats; see `serve`."""
    import numpy as np
    import torch

    torch.manual_seed(0)
    if name.startswith("timm/"):
        import timm

        model = timm.create_model(name.removeprefix("timm/"))
    else:
        import torchvision

        options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
        model = torchvision.models.get_model(name, **options)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    model = model.to(memory_format=layout)
    images = np.random.RandomState(0).standard_normal((batch, 3, 224, 224)).astype(np.float32)
    images = torch.from_numpy(images).contiguous(memory_format=layout)
    labels = torch.arange(batch)
    if mode == "infer":
        model.eval()

        def forward():
            with torch.inference_mode():
                model(images)

        serve(forward)
        return
    if hasattr(model, "aux_logits"):  # auxiliary heads, which our models do not have
        model.aux_logits, model.AuxLogits, model.aux1, model.aux2 = False, None, None, None
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    model.train()

    def run():
        optimizer.zero_grad()
        output = model(images)
        output = output if torch.is_tensor(output) else output.logits
        torch.nn.functional.cross_entropy(output, labels).backward()
        optimizer.step()

    serve(run)


class Contender:
    """A process that runs one program on demand, and the minimum of its seconds so far."""

    def __init__(self, python: str, kind: str, name: str, options: argparse.Namespace):
        command = [python, __file__, "--serve", kind, name]
        command += ["--mode", options.mode, "--batch", str(options.batch)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdin and self.process.stdout
        self.input, self.output = self.process.stdin, self.process.stdout
        self.seconds, self.memory = math.inf, 0.0

    def wait(self) -> None:
        """Waits until the program is compiled and has run once.

        Raises:
          RuntimeError: The process ended.
        """
        while (line := self.output.readline()) != "ready\n":
            if not line:
                raise RuntimeError(f"{self.process.args} ended with {self.process.wait()}")

    def run(self) -> None:
        """Runs the program once."""
        self.input.write("\n")
        self.input.flush()
        seconds, self.memory = map(float, self.output.readline().split())
        self.seconds = min(self.seconds, seconds)

    def stop(self) -> None:
        """Ends the process."""
        self.input.close()
        self.process.wait()


def compare(name: str, options: argparse.Namespace) -> tuple[float | None, float | None]:
    """Prints one row; returns our time over PyTorch's, and the plain model's over ours."""
    kinds = {"ours": (sys.executable, name)}
    if options.plain:
        kinds["plain"] = (sys.executable, name)
    if options.torch_python:
        kinds |= {kind: (options.torch_python, MODELS[name]) for kind in ("last", "contiguous")}
    contenders = {}
    for kind, (python, model) in kinds.items():  # compile one after the other
        contenders[kind] = Contender(python, kind, model, options)
        contenders[kind].wait()
    for _ in range(options.rounds):
        for contender in contenders.values():
            for _ in range(2):
                contender.run()
    for contender in contenders.values():
        contender.stop()
    ours, plain = contenders["ours"], contenders.get("plain")
    cells = [f"{1e3 * ours.seconds:.0f}", f"{ours.memory:.2f}"]
    ours_over_torch = plain_over_ours = None
    if options.torch_python:
        layout = min(("last", "contiguous"), key=lambda kind: contenders[kind].seconds)
        torch = contenders[layout]
        ours_over_torch = ours.seconds / torch.seconds
        cells += [f"{1e3 * torch.seconds:.0f} ({layout})", f"{torch.memory:.2f}"]
        cells.append(f"{ours_over_torch:.2f}")
    if plain:
        plain_over_ours = plain.seconds / ours.seconds
        cells += [f"{1e3 * plain.seconds:.0f}", f"{plain_over_ours:.1f}"]
    print(f"| {name} | " + " | ".join(cells) + " |", flush=True)
    return ours_over_torch, plain_over_ours


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--torch_python", help="a Python with torch, torchvision and timm")
    parser.add_argument("--plain", action="store_true", help="also on flax's convolution")
    parser.add_argument("--mode", choices=("train", "infer"), default="train")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--serve", nargs=2, help="run as one of the programs")
    options = parser.parse_args()
    if options.serve:
        kind, name = options.serve
        if kind in ("ours", "plain"):
            serve_ours(name, options.mode, options.batch, kind == "plain")
        else:
            serve_torch(name, options.mode, options.batch, kind == "last")
        return
    columns = ["model", "ours ms", "GiB"]
    columns += ["PyTorch ms", "GiB", "ours / PyTorch"] if options.torch_python else []
    columns += ["plain ms", "plain / ours"] if options.plain else []
    print("| " + " | ".join(columns) + " |\n|" + " --- |" * len(columns), flush=True)
    rows = [compare(name, options) for name in options.models.split(",")]
    for column, figures in zip(
        ("ours / PyTorch", "plain / ours"), zip(*rows, strict=True), strict=True
    ):
        if None not in figures:
            print(f"Geometric mean of {column}: {math.prod(figures) ** (1 / len(figures)):.2f}")


if __name__ == "__main__":
    main()
