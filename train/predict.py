"""python -m train.predict --weights=NAME|FILE IMAGE|FOLDER|PATTERN ... [--top=5] [--out=FILE]

Names what is in pictures. The model is --weights=zoo/lenet5.mnist or another name that `zoo.load`
knows, a file of weights with --model=NAME, or that of a run: --workdir=runs/lenet. A folder stands
for all images in it and below, and a pattern such as 'photos/**/*.jpg' for those that match.

The exit status is 0 if all images were read, and 3 if some were not: they are named, and the others
done. It is 1 if nothing could be done, and 2 for a wrong command line.
"""

import argparse
import dataclasses
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from train.console import open_streams
from train.use import options

if TYPE_CHECKING:
    from train.use.predictions import Result


def parse(arguments: list[str]) -> argparse.Namespace:
    """Returns the values of the command line; exits with 2 if it is wrong."""
    parser = options.parser(__doc__ or "")
    parser.add_argument("images", nargs="+", help="files, folders, patterns")
    options.add_model(parser)
    parser.add_argument("--classes", default="", help="label set, or a file: a name a line")
    parser.add_argument(
        "--top", type=options.positive, default=5, help="classes for each image (5)"
    )
    parser.add_argument("--format", choices=("table", "csv", "json", "parquet"), default="")
    parser.add_argument("--out", default="", help="file of the results, instead of the terminal")
    parser.add_argument("--exif_orientation", action="store_true", help="turn photographs")
    options.add_batches(parser)
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    """Runs the command line; returns the exit status."""
    open_streams()
    given = parse(arguments)  # before JAX is imported, so that a typo shows at once
    from tqdm import tqdm

    from input_pipeline.example import DataError
    from train.errors import TrainError
    from train.memory import keep_freed_memory
    from train.use import formats, predictions
    from train.use.weights import open_model, read_classes, register_models
    from train.workspace import use_compile_cache

    keep_freed_memory()
    use_compile_cache("auto")
    unreadable: list[str] = []
    try:
        form = formats.format_of(given.out, given.format)
        files = predictions.find_images(given.images)
        classes = read_classes(given.classes)
        register_models(given.imports)
        trained = open_model(given.weights, given.workdir, given.model, classes)
        if given.exif_orientation:
            preprocessing = dataclasses.replace(trained.preprocessing, exif_orientation=True)
            trained = dataclasses.replace(trained, preprocessing=preprocessing)
        results = predictions.predict(
            trained,
            files,
            top=given.top,
            classes=classes,
            batch_size=given.batch_size,
            threads=given.threads,
        )
        with tqdm(results, total=len(files), unit="image", disable=None) as bar:
            formats.write(_told(bar, unreadable), form, given.out or sys.stdout)
    except BrokenPipeError:
        raise
    except (TrainError, DataError, ValueError, OSError) as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    if unreadable:
        print(f"{len(unreadable):,} of {len(files):,} images were not read.", file=sys.stderr)
    return 3 if unreadable else 0


def _told(results: "Iterable[Result]", unreadable: list[str]) -> "Iterator[Result]":
    """Hands on the results, and names the images that could not be read, which it collects."""
    from tqdm import tqdm

    for result in results:
        if result.error:
            unreadable.append(result.file)
            tqdm.write(result.error, file=sys.stderr)
        yield result


if __name__ == "__main__":
    options.run(main)
