"""Config keys: dotted names, and the old names of renamed keys.

An old name keeps working for one release, with a FutureWarning: in recipes, on the command line and
in the config.json of a workdir.
"""

import warnings
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from configs import functions

# Old dotted name: new one, in the same section. Remove an entry one release after its rename.
RENAMED = {
    "loss.rubbish_logit": "loss.reject_class_logit",  # renamed in 0.2
}


class Section(ConfigDict):
    """A ConfigDict in which a renamed key can be read and set by its old name, with a warning.

    A function that is assigned to a key becomes the text that names it, see `configs.functions`.
    """

    def __getitem__(self, key: str) -> Any:
        return super().__getitem__(self._current(key))

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(self._current(key), functions.named(key, value))

    def _current(self, key: str) -> str:
        if key in self._fields:
            return key
        for old, new in RENAMED.items():
            new_key = new.split(".")[-1]
            if key == old.split(".")[-1] and new_key in self._fields:
                _warn(old, new, stacklevel=5)  # the line of the recipe
                return new_key
        return key


def current_key(key: str) -> str:
    """Returns the dotted name that a key has now, with a warning if `key` is an old name."""
    if key not in RENAMED:
        return key
    _warn(key, RENAMED[key], stacklevel=3)
    return RENAMED[key]


def current_keys(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns {dotted name: value} with the names that the keys have now."""
    return {RENAMED.get(key, key): value for key, value in values.items()}


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns a nested mapping by dotted names: {"a": {"b": 1}} becomes {"a.b": 1}."""
    result = {}
    for key, value in tree.items():
        nested = isinstance(value, Mapping)
        result |= flat(value, f"{prefix}{key}.") if nested else {prefix + key: value}
    return result


def _warn(old: str, new: str, stacklevel: int) -> None:
    message = f"The config key {old} is now {new}; the old name stops working in version 0.3."
    warnings.warn(message, FutureWarning, stacklevel=stacklevel)
