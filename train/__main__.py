"""python -m train --config=configs/lenet.py [--config.key=value ...] [--workdir=...]"""

import difflib
import os
import runpy
import shlex
import signal
import sys
from pathlib import Path

from absl import flags
from ml_collections import config_flags

from train.report import flat

_CONFIG = config_flags.DEFINE_config_file("config", help_string="Recipe: configs/NAME.py[:smoke].")
_WORKDIR = flags.DEFINE_string("workdir", "", "Folder of the run; runs/<config name> if empty.")


def main(arguments: list[str]) -> int:
    """Runs the command line; returns the exit code."""
    command = shlex.join([Path(sys.executable).name, "-m", "train", *arguments[1:]])
    resume = f"Stopped. The same command goes on from here: {command}"
    for signum in (signal.SIGTERM, signal.SIGINT):  # the loop takes over when there is a state
        signal.signal(signum, lambda signum, _: os._exit(_fail(resume, 128 + signum)))
    try:
        flags.FLAGS(arguments)
        if _CONFIG.value is None:
            raise ValueError("Name a recipe, such as --config=configs/lenet.py.")
        flat(_CONFIG.value.to_dict())  # raises what went wrong when the recipe was loaded
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError, OSError) as error:
        return _fail(unknown_key(arguments) or _readable(error), 2)

    from input_pipeline.example import DataError  # after the flags, so that a typo shows at once
    from train.errors import Interrupted, TrainError
    from train.loop import train_and_evaluate

    workdir = _WORKDIR.value or default_workdir(flags.FLAGS["config"].config_filename)
    try:
        train_and_evaluate(_CONFIG.value, workdir)
    except (TrainError, DataError) as error:
        return _fail(str(error), 1)
    except Interrupted as error:
        return _fail(resume, 128 + error.signum)
    return 0


def default_workdir(config: str) -> str:
    """configs/lenet.py -> runs/lenet; configs/lenet.py:smoke -> runs/lenet-smoke."""
    file, _, argument = config.partition(":")
    return f"runs/{Path(file).stem}" + (f"-{argument}" if argument else "")


def unknown_key(arguments: list[str]) -> str:
    """A message that names the first --config.KEY which the recipe has not; "" if it has all."""
    recipes = [a.partition("=")[2] for a in arguments if a.lstrip("-").startswith("config=")]
    path = Path(recipes[0].partition(":")[0]) if recipes else Path()
    if not path.is_file():
        return ""  # which has a message of its own
    known = flat(runpy.run_path(str(path))["get_config"]().to_dict())
    for argument in arguments:
        key = argument.lstrip("-").partition("=")[0].removeprefix("config.")
        if argument.lstrip("-").startswith("config.") and key not in known:
            near = difflib.get_close_matches(key, known, n=3, cutoff=0.5)
            hint = f"The closest are {', '.join(near)}. " if near else ""
            return f"There is no config key {key!r}. {hint}configs/base.py explains all of them."
    return ""


def _readable(error: Exception) -> str:
    """The last line of an error; ml_collections puts the whole traceback of a recipe before it."""
    lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def _fail(message: str, code: int) -> int:
    print(f"\n{message}", file=sys.stderr, flush=True)
    return code


if __name__ == "__main__":
    code = main(sys.argv)
    sys.stdout.flush()
    os._exit(code)  # a compilation or a loader may still be running in a thread
