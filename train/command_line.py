"""What the programs of this package share: the recipe's flag, and errors in one clear line."""

import difflib
import runpy
import sys
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict, config_flags

from train.report import flat

CONFIG = config_flags.DEFINE_config_file("config", help_string="Recipe: configs/NAME.py[:smoke].")


class WrongCommandLine(Exception):
    """The message says what is wrong."""


def parse(arguments: list[str]) -> ConfigDict:
    """The recipe that the arguments name, changed as they say; other flags get their values too.

    Raises:
      WrongCommandLine: an argument is not understood.
    """
    try:
        flags.FLAGS(arguments)
        if CONFIG.value is None:
            raise ValueError("Name a recipe, such as --config=configs/lenet.py.")
        flat(CONFIG.value.to_dict())  # raises what went wrong when the recipe was loaded
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError, OSError) as error:
        raise WrongCommandLine(unknown_key(arguments) or _readable(error)) from error
    return CONFIG.value


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


def fail(message: str, code: int) -> int:
    """Says why the program ends; returns its exit code."""
    print(f"\n{message}", file=sys.stderr, flush=True)
    return code
