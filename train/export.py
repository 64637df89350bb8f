"""python -m train.export RUN FILE.safetensors|FILE.npz|FILE.pth|FOLDER [--best]

Writes the model of a run into one file, with its preprocessing, the names of its classes and its
figures; zoo.load(FILE) makes the model of it again. A .npz is for numpy, and a .pth for PyTorch:
torch.load(FILE)["state_dict"] has the names and the layout of the model's reference. A FOLDER is
written in timm's layout. For ONNX and StableHLO see python -m zoo export --weights=RUN.

RUN is the folder of a run of python -m train, or a model of one: runs/lenet/best.safetensors.
"""

import argparse
import sys
from pathlib import Path

from train.console import open_streams
from train.use import options


def parse(arguments: list[str]) -> argparse.Namespace:
    """Returns the values of the command line; exits with 2 if it is wrong."""
    parser = options.parser(__doc__ or "")
    parser.add_argument("run", help="folder of the run")
    parser.add_argument("out", help="file or folder to be written")
    parser.add_argument("--best", action="store_true", help="the best evaluation, not the last")
    options.add_import(parser)
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    """Runs the command line; returns the exit status."""
    open_streams()
    given = parse(arguments)  # before JAX is imported, so that a typo shows at once
    import zoo
    from train.errors import TrainError
    from train.model_file import BEST
    from train.use.weights import open_model, register_models
    from zoo.weights.write_file import write_file

    run, out = Path(given.run).expanduser(), Path(given.out).expanduser()
    try:
        register_models(given.imports)
        if given.best and not run.is_dir():
            raise TrainError(f"--best is of a run, and {run} is no folder of one.")
        trained = open_model(workdir=str(run / BEST if given.best else run))
        if out.suffix:
            write_file(out, trained)
        else:
            zoo.save(out, trained)
    except (TrainError, ValueError, OSError) as error:
        print(f"{error}", file=sys.stderr)
        return 1
    figures = ", ".join(f"{key} {value:.4g}" for key, value in trained.metrics.items())
    print(f"{out}: {trained.info.name} after {trained.step} steps; {figures}.")
    return 0


if __name__ == "__main__":
    options.run(main)
