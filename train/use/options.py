"""What the command lines of train.predict, train.evaluate and train.probe have in common."""

import argparse
import os
import sys
from collections.abc import Callable


def parser(documentation: str) -> argparse.ArgumentParser:
    """Returns a parser whose help is a program's docstring; its first paragraph is the usage."""
    usage, _, description = documentation.partition("\n\n")
    return argparse.ArgumentParser(
        usage=usage, description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def add_model(to: argparse.ArgumentParser) -> None:
    """Adds --weights, --workdir and --model, which `weights.open_model` takes."""
    to.add_argument("--weights", default="", help="name of weights, or a file of them")
    to.add_argument("--workdir", default="", help="folder of a run of python -m train")
    to.add_argument("--model", default="", help="the model in a file that does not say it")
    add_import(to)


def add_import(to: argparse.ArgumentParser) -> None:
    """Adds --import as `imports`, which `weights.register_models` takes."""
    what = "Python file or module that registers a model of your own"
    to.add_argument("--import", dest="imports", default="", metavar="FILE.py", help=what)


def add_image_size(to: argparse.ArgumentParser) -> None:
    """Adds --image_size, None for that of the weights."""
    to.add_argument("--image_size", type=positive, help="of the model's input (of the weights)")


def add_batches(to: argparse.ArgumentParser) -> None:
    """Adds --batch_size and --threads."""
    to.add_argument("--batch_size", type=positive, default=32, help="images at once (32)")
    threads, what = os.cpu_count() or 1, "that decode (one for each processor)"
    to.add_argument("--threads", type=positive, default=threads, help=what)


def positive(text: str) -> int:
    """Returns a number of the command line that is at least 1."""
    if not text.strip().isdecimal() or (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 on")
    return number


def positives(text: str) -> tuple[int, ...]:
    """Returns numbers of the command line, with commas between them, each at least 1."""
    return tuple(positive(word) for word in text.split(","))


def run(main: Callable[[list[str]], int], stopped: str = "Stopped.") -> None:
    """Runs a program on the command line of the process, and ends the process with its status.

    Args:
      main: the program, from its arguments to its exit status.
      stopped: what is said when it is interrupted; the status is then 130.
    """
    try:
        code = main(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:  # the reader, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except KeyboardInterrupt:
        print(f"\n{stopped}", file=sys.stderr, flush=True)
        os._exit(130)  # threads may be decoding
    sys.exit(code)
