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
    "augment.shift": "augment.padding",  # renamed in 0.2, of a crop with a name now
}
# What an old name also meant, where another key has its default: {old: (key, default, value)}.
IMPLIED = {"augment.shift": ("augment.crop", "none", "padded")}


class Section(ConfigDict):
    """A ConfigDict in which a renamed key can be read and set by its old name, with a warning.

    A function that is assigned to a key becomes the text that names it, see `configs.functions`.
    """

    def __getitem__(self, key: str) -> Any:
        return super().__getitem__(self._current(key))

    def __setitem__(self, key: str, value: Any) -> None:
        current = self._current(key)
        super().__setitem__(current, functions.named(key, value))
        if key != current:
            imply(self, key)

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


def imply(section: ConfigDict, old: str) -> None:
    """Sets what the last part of an old name also meant, once its key is set."""
    for name, (other, default, implied) in IMPLIED.items():
        new, other = RENAMED[name].split(".")[-1], other.split(".")[-1]
        if name.split(".")[-1] == old and section.get(new) and section.get(other) == default:
            section[other] = implied


def current_keys(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns {dotted name: value} with the names that the keys have now."""
    current = {RENAMED.get(key, key): value for key, value in values.items()}
    for old, (other, default, implied) in IMPLIED.items():
        if values.get(old) and values.get(other, default) == default:
            current[other] = implied
    return current


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
