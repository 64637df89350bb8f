"""Recipes: one file per model and data set, each a function `get_config`. See configs/base.py."""

from pathlib import Path

FOLDER = Path(__file__).parent
_NO_RECIPES = ("__init__", "base", "functions", "keys")


def names() -> list[str]:
    """Returns the names of the recipes that are installed, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.py") if path.stem not in _NO_RECIPES)
