"""python -m train.look --weights=NAME|FILE --image=cat.jpg [--data=NAME] [--out=look/]

Looks inside a network: writes page.html, which explores its layers, filters, activations and units
in a browser, and the pictures filters.png, activations.png, attribution.png and units.png.

The model is --weights=zoo/lenet5.mnist or another name that `zoo.load` knows, a file of weights
with --model=NAME, that of a run, --workdir=runs/lenet, or --model=NAME alone with random weights.
--data=folder:photos, or another data set, adds the images that drive each unit most. The page is
one file of at most 10 MB that needs no network.
"""

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from train.console import open_streams
from train.use import options

if TYPE_CHECKING:
    from zoo.weights.pretrained import PretrainedModel


def parse(arguments: list[str]) -> argparse.Namespace:
    """Returns the values of the command line; exits with 2 if it is wrong."""
    parser = options.parser(__doc__ or "")
    add = parser.add_argument
    options.add_model(parser)
    add("--seed", type=int, default=0, help="of random weights, and of the pictures of units (0)")
    add("--image", required=True, help="file of the image that is looked at")
    add("--target", default="", help="class, by name, id or number (the first)")
    what = "how many are drawn, or which: stage4:7,logits:281 (8)"
    add("--units", default="8", help=what)
    add("--steps", type=options.positive, default=256, help="of the drawing of units (256)")
    what = "side of the pictures of units in pixels (128, or the only size that the model takes)"
    add("--size", type=options.positive, default=None, help=what)
    add("--data", default="", help="data set whose images drive units most, such as folder:PATH")
    add("--split", default="", help="of the data set (the one for evaluation)")
    add("--data_dir", default="", help="folder of prepared data sets (tfds's)")
    add("--images", type=options.positive, default=5000, help="of the data set, at most (5000)")
    add("--out", default="look", help="folder of the files (look)")
    options.add_image_size(parser)
    options.add_batches(parser)
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    """Runs the command line; returns the exit status."""
    open_streams()
    given = parse(arguments)  # before JAX is imported, so that a typo shows at once
    from input_pipeline.example import DataError
    from train.errors import TrainError
    from train.memory import keep_freed_memory
    from train.workspace import use_compile_cache

    keep_freed_memory()
    use_compile_cache("auto")
    try:
        for path in look(given):
            print(path)
    except BrokenPipeError:
        raise
    except (TrainError, DataError, ValueError, OSError) as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    return 0


def look(given: argparse.Namespace) -> list[Path]:
    """Does what the command line asks for; returns the files that it has written."""
    from tqdm import tqdm

    from train.use import looking
    from train.use.weights import register_models

    def progress(steps: Iterable, what: str, total: int) -> Iterable:
        return tqdm(steps, what, total, disable=None)

    register_models(given.imports)
    trained = _open(given)
    random = not (given.weights or given.workdir)
    source = _open_data(given) if given.data else None  # errors show before the long work
    session = looking.Session(
        looking.Look(
            *(trained, given.image, given.target, given.units, given.steps, given.size, given.seed)
        )
    )
    session.attribute()
    session.visualise(progress)
    if source is not None:
        session.find_top(source, given.images, given.batch_size, given.threads, progress)
    note = f"These weights are random (seed {given.seed}): nothing was learnt." if random else ""
    return session.write(Path(given.out).expanduser(), note)


def _open(given: argparse.Namespace) -> "PretrainedModel":
    from train.errors import TrainError
    from train.use import looking
    from train.use.weights import open_model

    if given.model and not given.weights and not given.workdir:
        if given.image_size:
            raise TrainError("Random weights are for the model's own size: omit --image_size.")
        return looking.random_model(given.model, given.seed)
    return open_model(given.weights, given.workdir, given.model, None, given.image_size)


def _open_data(given: argparse.Namespace):
    import input_pipeline
    from train.data import own_data
    from train.use.data import open_split

    folder = given.data_dir or None
    split = given.split or input_pipeline.eval_split(own_data(given.data), folder)
    return open_split(given.data, split, data_dir=folder)


if __name__ == "__main__":
    options.run(main)
