"""python -m train.predict --weights=NAME|FILE IMAGE|FOLDER|PATTERN ... [--top=5] [--out=FILE]

Names what is in pictures. The model is --weights=zoo/lenet5.mnist or another name that `zoo.load`
knows, a file of weights with --model=NAME, or that of a run: --workdir=runs/lenet. A folder stands
for all images in it and below, and a pattern such as 'photos/**/*.jpg' for those that match.

The exit status is 0 if all images were read, and 3 if some were not: they are named, and the others
done. It is 1 if nothing could be done, and 2 for a wrong command line.
"""

import argparse
import dataclasses
import os
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from train.console import open_streams

if TYPE_CHECKING:
    from train.use.predictions import Result


def parse(arguments: list[str]) -> argparse.Namespace:
    """Returns the values of the command line; exits with 2 if it is wrong."""
    usage, _, description = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        usage=usage, description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("images", nargs="+", help="files, folders, patterns")
    parser.add_argument("--weights", default="", help="name of weights, or a file of them")
    parser.add_argument("--workdir", default="", help="folder of a run of python -m train")
    parser.add_argument("--model", default="", help="the model in a file that does not say it")
    parser.add_argument("--classes", default="", help="label set, or a file: a name a line")
    parser.add_argument("--top", type=_positive, default=5, help="classes for each image (5)")
    parser.add_argument("--format", choices=("table", "csv", "json", "parquet"), default="")
    parser.add_argument("--out", default="", help="file of the results, instead of the terminal")
    parser.add_argument("--exif_orientation", action="store_true", help="turn photographs")
    parser.add_argument("--batch_size", type=_positive, default=32, help="images at once (32)")
    parser.add_argument("--threads", type=_positive, help="that decode (one for each processor)")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    """Runs the command line; returns the exit status."""
    open_streams()
    options = parse(arguments)  # before JAX is imported, so that a typo shows at once
    from tqdm import tqdm

    from input_pipeline.example import DataError
    from train.errors import TrainError
    from train.memory import keep_freed_memory
    from train.use import formats, predictions
    from train.use.weights import open_model, read_classes
    from train.workspace import use_compile_cache

    keep_freed_memory()
    use_compile_cache("auto")
    unreadable: list[str] = []
    try:
        form = formats.format_of(options.out, options.format)
        files = predictions.find_images(options.images)
        classes = read_classes(options.classes)
        trained = open_model(options.weights, options.workdir, options.model, classes)
        if options.exif_orientation:
            preprocessing = dataclasses.replace(trained.preprocessing, exif_orientation=True)
            trained = dataclasses.replace(trained, preprocessing=preprocessing)
        results = predictions.predict(
            trained,
            files,
            top=options.top,
            classes=classes,
            batch_size=options.batch_size,
            threads=options.threads,
        )
        with tqdm(results, total=len(files), unit="image", disable=None) as bar:
            formats.write(_told(bar, unreadable), form, options.out or sys.stdout)
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


def _positive(text: str) -> int:
    """A number of the command line that is at least 1."""
    if (number := int(text)) < 1:
        raise ValueError(text)  # argparse says which argument it was
    return number


if __name__ == "__main__":
    try:
        code = main(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:  # the reader, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        code = 130
    sys.exit(code)
