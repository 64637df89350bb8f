"""python -m zoo export [NAME] --weights=... --to=stablehlo|onnx|safetensors|saved_variables"""

import argparse
import sys
from pathlib import Path
from typing import Any

SUFFIXES = {
    "stablehlo": ".stablehlo",
    "onnx": ".onnx",
    "safetensors": ".safetensors",
    "saved_variables": ".msgpack",
}
RANDOM = "random"
# Options that have a meaning in some formats only.
PROGRAMS = ("onnx", "stablehlo")
ONLY = {
    "layout": PROGRAMS,
    "normalize": PROGRAMS,
    "platforms": ("stablehlo",),
    "names": ("safetensors",),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the command to a parser."""
    parser.add_argument("name", nargs="?", default="", help="a model, where the weights do not say")
    parser.add_argument("--weights", default="", help="what zoo.load takes: a name, a file, a run")
    parser.add_argument("--to", choices=list(SUFFIXES), required=True, help="the format")
    parser.add_argument("--out", default="", help="the file, by default MODEL and a suffix")
    parser.add_argument("--check", action="store_true", help="run the file, and compare")
    parser.add_argument("--image_size", type=int, help="side of the images in pixels")
    parser.add_argument("--num_classes", type=int, help="0: features, without the classifier")
    parser.add_argument("--layout", choices=("nchw", "nhwc"), help="nchw in ONNX, nhwc elsewhere")
    parser.add_argument("--normalize", action="store_true", help="the file takes uint8 pixels")
    parser.add_argument("--platforms", help="of StableHLO (cpu,cuda,tpu)")
    parser.add_argument("--names", choices=("zoo", "torch"), help="in safetensors (zoo)")


def run(options: argparse.Namespace) -> int:
    """Runs the command; returns the exit status: 1 for an error or a file that differs."""
    from zoo.export.graph import ExportError

    try:
        return _export(options)
    except (ExportError, ValueError, TypeError, OSError, ImportError) as error:
        print(error, file=sys.stderr)
        return 1


def _export(options: argparse.Namespace) -> int:
    from zoo.export import arrays, onnx_file, stablehlo
    from zoo.export.program import program

    for option, formats in ONLY.items():
        if getattr(options, option) and options.to not in formats:
            raise ValueError(f"--{option} is for --to={' and '.join(formats)}.")
    loaded, names = open_model(options), options.names or "zoo"
    path = Path(options.out or loaded.info.name + SUFFIXES[options.to]).expanduser()
    if options.to == "safetensors":
        arrays.write_safetensors(path, loaded, names)
    elif options.to == "saved_variables":
        arrays.write_msgpack(path, loaded)
    else:
        layout = options.layout or ("nchw" if options.to == "onnx" else "nhwc")
        exported = program(loaded, layout=layout, normalize=options.normalize)
        if options.to == "onnx":
            onnx_file.write(path, exported)
        else:
            stablehlo.write(path, exported, (options.platforms or "cpu,cuda,tpu").split(","))
    print(f"{path}: {loaded.info.name}, {path.stat().st_size / 1e6:.1f} MB")
    if not options.check:
        return 0
    if options.to in PROGRAMS:
        return _check_program(path, exported, options.to)
    if different := arrays.differences(path, loaded, options.to, names):
        print(f"Read back, {len(different)} variables differ, such as {different[0]}.")
        return 1
    print("Read back, all variables are the same, bit for bit.")
    return 0


def _check_program(path: Path, exported: Any, form: str) -> int:
    """Prints how far the file's logits are from ours; returns the exit status."""
    from zoo.export import check

    status = 0
    for runtime, difference in check.differences(path, exported, form):
        fine = difference <= check.TOLERANCE  # False for NaN
        verdict = "" if fine else f", and {check.TOLERANCE:g} is allowed"
        print(f"{runtime}: {difference:.1e} of the logits' standard deviation{verdict}")
        status = status if fine else 1
    return status


def open_model(options: argparse.Namespace) -> Any:
    """Returns the model that the command line asks for.

    Raises:
      ValueError: No weights are named, or they are of another model.
    """
    from zoo.weights import by_name, table

    overrides: dict[str, Any] = {}
    if options.num_classes is not None:
        overrides["num_classes"] = options.num_classes
    if not options.weights:
        raise ValueError(
            "Say which weights: --weights=zoo/lenet5.mnist, another name of zoo.list_weights(), or "
            "a file; --weights=random makes a file to measure speed with."
        )
    if options.weights == RANDOM:
        return random_model(options.name, options.image_size, overrides)
    kind = options.weights.partition("/")[0]
    says_model = kind in (*table.KINDS, "zoo") or not options.name
    arguments = overrides if says_model else overrides | {"model": options.name}
    loaded = by_name.load(options.weights, image_size=options.image_size, **arguments)
    if options.name not in ("", loaded.info.name):
        raise ValueError(
            f"{options.weights} are weights of {loaded.info.name}, and not of {options.name}."
        )
    return loaded


def random_model(name: str, image_size: int | None, overrides: dict[str, Any]) -> Any:
    """Returns a model with random weights, none of them zero, whose logits are of no use."""
    import dataclasses

    import jax
    import numpy as np

    from zoo import registry
    from zoo.preprocess import Preprocessing
    from zoo.weights.pretrained import PretrainedModel

    if not name:
        raise ValueError("Say which model: python -m zoo export NAME --weights=random.")
    random = np.random.default_rng(0)

    def draw(path, leaf) -> np.ndarray:
        kind = path[-1].key
        if kind in ("scale", "var"):
            return random.uniform(0.7, 1.3, leaf.shape).astype(leaf.dtype)
        deviation = 0.1 if kind != "kernel" else (1.5 / np.prod(leaf.shape[:-1])) ** 0.5
        return (deviation * random.standard_normal(leaf.shape)).astype(leaf.dtype)

    info = registry.info(name)
    info = dataclasses.replace(info, image_size=image_size or info.image_size, weights=RANDOM)
    shapes = registry.abstract_variables(name, image_size, **overrides)
    variables = jax.tree_util.tree_map_with_path(draw, shapes)
    model = registry.create(name, **overrides)
    return PretrainedModel(model, variables, info, Preprocessing.from_info(info))
