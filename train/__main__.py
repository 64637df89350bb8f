"""python -m train --config=configs/lenet.py [--config.key=value ...] [--workdir=...]"""

import os
import shlex
import sys
from pathlib import Path

from absl import flags
from ml_collections import config_flags

_CONFIG = config_flags.DEFINE_config_file("config", help_string="Recipe: configs/NAME.py[:smoke].")
_WORKDIR = flags.DEFINE_string("workdir", "", "Folder of the run; runs/<config name> if empty.")


def main(arguments: list[str]) -> int:
    """Runs the command line; returns the exit code."""
    try:
        flags.FLAGS(arguments)
        if _CONFIG.value is None:
            raise ValueError("Name a recipe, such as --config=configs/lenet.py.")
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError, OSError) as error:
        return _fail(_readable(error), 2)

    from input_pipeline.example import DataError  # after the flags, so that a typo shows at once
    from train.errors import Interrupted, TrainError
    from train.loop import train_and_evaluate

    workdir = _WORKDIR.value or default_workdir(flags.FLAGS["config"].config_filename)
    command = shlex.join([Path(sys.executable).name, "-m", "train", *arguments[1:]])
    try:
        train_and_evaluate(_CONFIG.value, workdir)
    except (TrainError, DataError) as error:
        return _fail(str(error), 1)
    except Interrupted as error:
        return _fail(f"Stopped. The same command goes on from here: {command}", 128 + error.signum)
    return 0


def default_workdir(config: str) -> str:
    """configs/lenet.py -> runs/lenet; configs/lenet.py:smoke -> runs/lenet-smoke."""
    file, _, argument = config.partition(":")
    return f"runs/{Path(file).stem}" + (f"-{argument}" if argument else "")


def _readable(error: Exception) -> str:
    """The text of an error; ml_collections wraps its own in quotes, with escaped line ends."""
    text = str(error).replace("\\n", " ").replace("\\", "").strip("\"' ")
    return f"{text} (See configs/base.py for all keys.)"


def _fail(message: str, code: int) -> int:
    print(f"\n{message}", file=sys.stderr, flush=True)
    return code


if __name__ == "__main__":
    code = main(sys.argv)
    sys.stdout.flush()
    os._exit(code)  # a compilation or a loader may still be running in a thread
