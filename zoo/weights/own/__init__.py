"""Small weights that ship with the package; README.md says how each was made."""

from pathlib import Path

_FOLDER = Path(__file__).parent
_KIND = ".safetensors"


def names() -> list[str]:
    """Returns the names of all weights in this folder, such as "lenet5.mnist"."""
    return sorted(file.name.removesuffix(_KIND) for file in _FOLDER.glob(f"*{_KIND}"))


def path(name: str) -> Path:
    """Returns the file of such weights, which `zoo.load` reads.

    Raises:
      ValueError: There are none of that name.

    Example:
      >>> zoo.load(path("lenet5.mnist")).metrics["top1"] > 0.993
      True
    """
    if name not in names():
        raise ValueError(f"No weights {name!r} ship with the package; {', '.join(names())} do.")
    return _FOLDER / f"{name}{_KIND}"
