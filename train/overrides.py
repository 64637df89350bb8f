"""Keys on the command line that ml_collections cannot set: free ones, None, another optimizer's."""

import ast
import re
from typing import Any

from ml_collections import ConfigDict

from configs import base
from configs.keys import flat

# Sections whose keys a recipe need not have: they are arguments of what the recipe names.
FREE = re.compile(
    r"((?:model|loss|optimizer|schedule|ema)\.options|augment\.policy_options)\.(\w+)"
)


def take_out(arguments: list[str]) -> tuple[list[str], dict[str, Any]]:
    """Separates the keys that `apply` sets from the other arguments.

    Returns:
      The other arguments, and {key: value} of those taken out.
    """
    rest, taken = [], {}
    remaining = list(arguments)
    while remaining:
        argument = remaining.pop(0)
        match = re.fullmatch(r"--?config\.([\w.]+)(?:=(.*))?", argument, re.S)
        key, text = match.groups() if match else ("", None)
        free = FREE.fullmatch(key)
        if match and text is None and (free or remaining[:1] == ["None"]):  # --config.KEY VALUE
            text = remaining.pop(0) if remaining else ""
        if free or (key and text == "None"):
            taken[key] = _literal(text or "")
        else:
            rest.append(argument)
    return rest, taken


def apply(config: ConfigDict, recipe: ConfigDict, taken: dict[str, Any]) -> None:
    """Sets what `take_out` has taken out.

    Options of the recipe's optimizer are dropped, with a word, if another one is named.

    Args:
      config: the recipe, changed by all other arguments.
      recipe: the recipe as its file says.
      taken: {key: value}.

    Raises:
      KeyError: there is no such key.
      ValueError: the key cannot be None.
    """
    old, new = recipe.optimizer, config.optimizer
    if new.name != old.name and old.options and new.options == old.options:
        dropped = ", ".join(f"{key}={value}" for key, value in old.options.items())
        print(f"Using {new.name} without the options that the recipe has for {old.name}: {dropped}")
        new.options = ConfigDict()
    schema = flat(base.get_config().to_dict())
    for key, value in taken.items():
        section, _, name = key.rpartition(".")
        if FREE.fullmatch(key):
            part, _, name_of_options = section.partition(".")
            options = config[part][name_of_options]
            as_float = isinstance(options.get(name), float) and type(value) is int
            with options.unlocked(), options.ignore_type():
                options[name] = float(value) if as_float else value
        elif key not in schema:
            raise KeyError(key)
        elif schema[key] is not None:
            raise ValueError(f"--config.{key}=None: this key needs a value.")
        else:
            parent = config[section] if section else config
            parent[name] = None


def _literal(text: str) -> Any:
    """The value of a Python literal, also of true and false; any other text stays text."""
    try:
        return ast.literal_eval({"true": "True", "false": "False"}.get(text, text))
    except (ValueError, SyntaxError):
        return text
