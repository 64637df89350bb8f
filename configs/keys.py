"""Config keys: dotted names, and the old names of those that were renamed.

An old name keeps working for one release, with a FutureWarning: in recipes, on the command line and
in the config.json of a workdir.
"""

import warnings
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

# Old dotted name: new one, in the same section. Remove an entry one release after its rename.
RENAMED = {
    "loss.rubbish_logit": "loss.reject_class_logit",  # renamed in 0.2
}


class Section(ConfigDict):
    """A ConfigDict in which a renamed key can be read and set by its old name, with a warning."""

    def __getitem__(self, key: str) -> Any:
        return super().__getitem__(self._current(key))

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(self._current(key), value)

    def accept_old_name(self, old: str, new: str) -> None:
        """Makes `old` another name of the key `new` of this section."""
        object.__setattr__(self, "_old_names", {**self.__dict__.get("_old_names", {}), old: new})

    def _current(self, key: str) -> str:
        new = self.__dict__.get("_old_names", {}).get(key)
        if new is None:
            return key
        # The caller is a recipe, three calls up: __setattr__ or __getattr__, __setitem__, here.
        _warn(key, new, stacklevel=5)
        return new


def accept_old_names(config: ConfigDict) -> None:
    """Makes all old names of `RENAMED` work in a recipe whose sections are `Section`s."""
    for old, new in RENAMED.items():
        section, _, key = old.rpartition(".")
        new_section, _, new_key = new.rpartition(".")
        assert section == new_section, "a renamed key stays in its section"
        (config[section] if section else config).accept_old_name(key, new_key)


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
    message = f"The config key {old} is now {new}; the old name stops working in the next release."
    warnings.warn(message, FutureWarning, stacklevel=stacklevel)
