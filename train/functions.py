"""The functions that a recipe names: ours by their names, others as `configs.functions` says."""

import difflib
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from configs import functions
from train.errors import TrainError


def find(key: str, text: str, known: Mapping[str, Callable]) -> Callable:
    """Returns the function that the value of a key names.

    Args:
      key: dotted name of the key, for messages.
      text: the name of one of ours, "module:function" or "file.py:function".
      known: ours by their names.

    Raises:
      TrainError: there is no such function; the message has the closest names.
    """
    if text in known:
        return known[text]
    if functions.is_reference(text):
        try:
            return functions.load(text)
        except ImportError as error:
            raise TrainError(f"{key}: {error}") from error
    near = difflib.get_close_matches(text, known, n=3, cutoff=0.4)
    names = f"the closest names are {', '.join(near)}" if near else f"there are {', '.join(known)}"
    raise TrainError(
        f"{key}={text!r} is not known: {names if known else 'there are none of ours'}. A function "
        "of your own is named as module:function or file.py:function."
    )


def with_options(section: str, function: Callable, *arguments: Any, **options: Any) -> Any:
    """Calls a function that a recipe's section names, with the options of the section.

    Raises:
      TrainError: it does not take them.
    """
    check_options(section, function, len(arguments), options)
    return function(*arguments, **options)


def check_options(
    section: str, function: Callable, positional: int, options: Mapping[str, Any]
) -> None:
    """Raises TrainError if a function does not take so many arguments and these options."""
    signature = inspect.signature(function)
    try:
        signature.bind(*[None] * positional, **options)
    except TypeError as error:
        name = getattr(function, "__name__", str(function))
        known = [str(p.replace(annotation=p.empty)) for p in signature.parameters.values()]
        takes = ", ".join(known[positional:]) or "none"
        raise TrainError(
            f"{section}.options do not fit {name}: {error}. Its options are: {takes}."
        ) from error


def find_all(
    key: str, texts: Sequence[str], known: Mapping[str, Callable] | None = None
) -> dict[str, Callable]:
    """Returns {name: function} of all that the value of a key names.

    Raises:
      TrainError: there is no such function, or two have the same name.
    """
    found: dict[str, Callable] = {}
    for text in texts:
        name = text.rpartition(":")[2]
        if name in found:
            raise TrainError(f"{key}: there are two functions of the name {name}.")
        found[name] = find(key, text, known or {})
    return found
