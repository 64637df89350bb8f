"""What the programs of this package share: the recipe's flag, the usage, and error messages."""

import contextlib
import difflib
import itertools
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

import configs
from configs import functions
from configs.keys import IMPLIED, current_key, flat, imply
from train import overrides

CONFIG = config_flags.DEFINE_config_file("config", help_string="Recipe: NAME or FILE.py[:smoke].")
_HELP = ("-h", "-help", "--help", "-helpfull", "--helpfull", "-helpshort", "--helpshort")


# What flags and recipes raise.
_WRONG = (*(flags.Error, OSError, ImportError, AttributeError, LookupError, TypeError, ValueError),)


class WrongCommandLine(Exception):
    """The message says what is wrong with the command line."""


def parse(arguments: list[str]) -> ConfigDict:
    """Parses all flags and returns the recipe, changed by the --config.KEY flags.

    Args:
      arguments: as `sys.argv`.

    Raises:
      WrongCommandLine: an argument is not understood, or there is no such recipe.
    """
    given = _with_recipe_path(arguments)
    arguments = [_with_current_key(argument) for argument in given]
    rest, taken = overrides.take_out(arguments)
    try:
        with _argv(rest):
            _find_modules_beside(rest)
            _, *more = flags.FLAGS(rest)
        if more:
            raise ValueError(f"{more[0]}: options begin with two dashes, such as --config=lenet.")
        if CONFIG.value is None:
            raise ValueError("Name a recipe, such as --config=configs/lenet.py.")
        flat(CONFIG.value.to_dict())  # raises the error with which the recipe could not be loaded
        overrides.apply(CONFIG.value, _as_written(rest), taken)
        for argument in given:
            section, _, old = argument.partition("=")[0].partition("config.")[2].rpartition(".")
            if f"{section}.{old}" in IMPLIED:
                imply(CONFIG.value[section], old)
    except _WRONG as error:
        raise WrongCommandLine(unknown_key(arguments) or _last_line(error)) from error
    return CONFIG.value


def find_recipe(recipe: str) -> Path:
    """Returns the file of a recipe.

    A file in the current folder takes precedence over an installed recipe, which is then mentioned.

    Args:
      recipe: a path, or the name of an installed recipe: "lenet", "lenet.py", "configs/lenet.py".

    Raises:
      WrongCommandLine: there is none; the message lists the installed ones.
    """
    name = re.fullmatch(r"(?:configs/)?(\w+?)(?:\.py)?", recipe)
    installed = configs.FOLDER / f"{name[1]}.py" if name and name[1] in configs.names() else None
    local = [Path(recipe)] + ([Path("configs", f"{name[1]}.py")] if name else [])
    for path in filter(Path.is_file, local):
        if installed and name and not path.samefile(installed):
            print(f"Using {path} of this folder instead of the installed recipe {name[1]}.")
        return path
    if installed:
        return installed
    near = difflib.get_close_matches(Path(recipe).stem, configs.names(), n=3, cutoff=0.5)
    hint = f"The closest names are {', '.join(near)}. " if near else ""
    raise WrongCommandLine(
        f"There is no recipe {recipe}: no file of that name in {Path.cwd()}, and none that is "
        f"installed. {hint}Installed are {', '.join(configs.names())}."
    )


def unknown_key(arguments: list[str]) -> str:
    """Returns a message that names the first --config.KEY the recipe does not have, or ""."""
    try:
        known = flat(_as_written(arguments).to_dict())
    except (OSError, ValueError):
        return ""  # the recipe itself cannot be loaded, which has a message of its own
    for argument in arguments:
        key = argument.lstrip("-").partition("=")[0].removeprefix("config.")
        is_key = argument.lstrip("-").startswith("config.")
        if is_key and key not in known and not overrides.FREE.fullmatch(key):
            near = difflib.get_close_matches(key, known, n=3, cutoff=0.5)
            hint = f"The closest are {', '.join(near)}. " if near else ""
            return f"There is no config key {key!r}. {hint}configs/base.py explains all of them."
    return ""


def _recipe_of(arguments: list[str]) -> tuple[str, str]:
    """The file of the recipe and its argument, or "" if there are none."""
    recipe = ""
    for argument, following in itertools.pairwise([*arguments, ""]):
        flag, equals, value = argument.partition("=")
        if flag in ("-config", "--config"):
            recipe = value if equals else following
    path, _, argument = recipe.partition(":")
    return path, argument


def _find_modules_beside(arguments: list[str]) -> None:
    """Lets the recipe import modules that lie beside it, after all others."""
    path, _ = _recipe_of(arguments)
    folder = str(Path(path).absolute().parent)
    if path and folder not in sys.path:
        sys.path.append(folder)


def _as_written(arguments: list[str]) -> ConfigDict:
    """The recipe as its file says, without the --config.KEY flags.

    Raises:
      OSError: there is no such file.
    """
    path, argument = _recipe_of(arguments)
    if not Path(path).is_file():
        raise FileNotFoundError(path)
    module: Any = functions.load_file(Path(path))
    return module.get_config(*([argument] if argument else []))


def wants_help(arguments: list[str]) -> bool:
    """Whether the arguments ask for the usage."""
    return any(argument in _HELP for argument in arguments[1:])


def usage(description: str, *own_flags: flags.FlagHolder) -> str:
    """Returns the text of --help: what the program does, its flags, and the installed recipes.

    Args:
      description: docstring of the program, whose first line is the command.
      own_flags: its flags besides --config.
    """
    lines = [f"usage: {description.strip()}", "", "flags:"]
    for holder in (CONFIG, *own_flags):
        lines.append(f"  --{holder.name}: {flags.FLAGS[holder.name].help}")
    lines += [
        "  --config.KEY=VALUE: changes one key of the recipe, such as --config.batch_size=64.",
        "",
        f"installed recipes, whose keys are explained in {configs.FOLDER / 'base.py'}:",
    ]
    width = max(map(len, configs.names()))
    for name in configs.names():
        docstring = (configs.FOLDER / f"{name}.py").read_text().removeprefix('"""')
        lines.append(f"  {name:{width}}  {docstring.splitlines()[0]}")
    return "\n".join(lines)


def fail(message: str, code: int) -> int:
    """Prints why the program ends; returns its exit code."""
    print(f"\n{message}", file=sys.stderr, flush=True)
    return code


def _with_recipe_path(arguments: list[str]) -> list[str]:
    """The arguments with the value of --config replaced by the recipe's path."""
    result, is_value = [], False
    for argument in arguments:
        flag, equals, value = argument.partition("=")
        if is_value:
            result.append(_recipe_path(argument))
        elif flag in ("-config", "--config") and equals:
            result.append(f"{flag}={_recipe_path(value)}")
        else:
            result.append(argument)
        is_value = argument in ("-config", "--config")
    return result


def _recipe_path(value: str) -> str:
    recipe, colon, argument = value.partition(":")
    return f"{find_recipe(recipe)}{colon}{argument}"


def _with_current_key(argument: str) -> str:
    """The argument, with the key's present name if it is --config.KEY with an old one."""
    match = re.fullmatch(r"(--?config\.)([^=]+)(.*)", argument, re.S)
    return f"{match[1]}{current_key(match[2])}{match[3]}" if match else argument


@contextlib.contextmanager
def _argv(arguments: list[str]) -> Iterator[None]:
    """Sets sys.argv, in which ml_collections looks for the keys that are changed."""
    original, sys.argv = sys.argv, arguments
    try:
        yield
    finally:
        sys.argv = original


def _last_line(error: Exception) -> str:
    """The last line of an error; ml_collections puts the whole traceback of a recipe before it."""
    lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
