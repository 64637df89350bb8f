"""Functions of one's own in a recipe, and the texts that name them.

A recipe holds texts: they can be written to config.json, compared, and changed on the command line.
A function is named by "module:function" or "path/to/file.py:function"; a function that is assigned
to a key becomes the text that names it.
"""

import hashlib
import importlib
import importlib.util
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

# Keys, by their last names, whose values are names of functions or tuples of such.
KEYS = ("name", "metrics", "callbacks", "operations", "host_operations")
_KINDS_OF_DATA = ("folder", "npz", "synthetic")  # "folder:photos" is no function of a module
_REFERENCE = re.compile(r"(?P<place>.+\.py|[A-Za-z_][\w.]*):(?P<name>[A-Za-z_]\w*(\.\w+)*)")


def is_reference(text: str) -> bool:
    """Whether a text names a function, as "module:function" or "file.py:function"."""
    match = _REFERENCE.fullmatch(text)
    return bool(match) and match["place"] not in _KINDS_OF_DATA


def named(key: str, value: Any) -> Any:
    """Returns the value of a key with each function replaced by the text that names it."""
    if key not in KEYS:
        return value
    if isinstance(value, (tuple, list)):
        return tuple(name_of(item) if callable(item) else item for item in value)
    return name_of(value) if callable(value) else value


def name_of(function: Callable) -> str:
    """Returns the text that names a function: `load` gives the function back.

    Raises:
      TypeError: it has no name of its own, as a lambda or a function inside of another.
    """
    name, module = getattr(function, "__qualname__", "<"), getattr(function, "__module__", None)
    if "<" in name or not module:
        raise TypeError(
            f"{function!r} has no name by which it could be found again: define it by `def` at the "
            "top level of a file, and give it its arguments by the section's options."
        )
    file = getattr(sys.modules.get(module), "__file__", None)
    if not file or Path(file).stem in (module.rpartition(".")[2], "__init__"):
        return f"{module}:{name}"
    return f"{Path(file).absolute()}:{name}"  # a recipe, or a script that is run


def load(text: str) -> Callable:
    """Returns the function that a text names.

    Args:
      text: "module:function", of a module that can be imported or a file of the current folder, or
        "path/to/file.py:function".

    Raises:
      ImportError: there is no such file, module or function; the message says which.
    """
    place, _, name = text.rpartition(":")
    local = Path(*place.split(".")).with_suffix(".py")
    if place.endswith(".py"):
        module = load_file(Path(place))
    elif place in sys.modules or importlib.util.find_spec(place.partition(".")[0]):
        module = importlib.import_module(place)
    elif local.is_file():  # `flax-zoo` does not look for modules in the current folder
        module = load_file(local)
    else:
        raise ImportError(f"{text}: there is no module {place}, and no file {local} here.")
    found: Any = module
    for part in name.split("."):
        found = getattr(found, part, None)
    if not callable(found):
        functions = [key for key, value in vars(module).items() if _is_of(module, value)]
        raise ImportError(
            f"{text}: there is no function {name} in {place}; there are: "
            f"{', '.join(functions) or 'none'}."
        )
    return found


def load_file(path: Path) -> ModuleType:
    """Runs a Python file once, and returns it as a module.

    Worker processes get what they need of it by value: they could not import it. Modules beside the
    file can be imported by it.

    Raises:
      ImportError: there is no such file.
    """
    path = path.expanduser().absolute()
    script = getattr(sys.modules["__main__"], "__file__", None)
    if script and Path(script).absolute() == path:
        return sys.modules["__main__"]
    if not path.is_file():
        raise ImportError(f"There is no file {path}.")
    folder = str(path.parent)
    if folder not in sys.path:
        sys.path.append(folder)  # at the end, so that it hides nothing
    content = path.read_bytes()
    name = f"{path.stem}_{hashlib.sha256(str(path).encode() + content).hexdigest()[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # before it runs, as dataclasses look for it there
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    import cloudpickle  # with which grain sends data sets to its worker processes

    cloudpickle.register_pickle_by_value(module)
    return module


def _is_of(module: ModuleType, value: Any) -> bool:
    return callable(value) and getattr(value, "__module__", None) == module.__name__
