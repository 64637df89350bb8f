"""Every public function and class has a docstring, and every public function a return type.

Nested functions and names that begin with "_"
are private, as are all functions of test and benchmark files.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ["benchmarks", "configs", "input_pipeline", "train", "zoo"]


def definitions(body: list[ast.stmt], prefix: str = "") -> Iterator[tuple[str, ast.stmt]]:
    """Yields (dotted name, node) of the public functions, classes and methods."""
    for node in body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            if not node.name.startswith("_"):
                yield prefix + node.name, node
                if isinstance(node, ast.ClassDef):
                    yield from definitions(node.body, f"{prefix}{node.name}.")


def problems(source: str) -> list[str]:
    """What is missing in a module."""
    tree = ast.parse(source)
    found = [] if ast.get_docstring(tree) else ["the module has no docstring"]
    for name, node in definitions(tree.body):
        if not ast.get_docstring(node):
            found.append(f"{name} has no docstring")
        if not isinstance(node, ast.ClassDef) and node.returns is None:
            found.append(f"{name} has no return type")
    return found


def files() -> list[Path]:
    return [path for name in PACKAGES for path in sorted((ROOT / name).rglob("*.py"))]


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_everything_public_is_documented(path):
    assert problems(path.read_text()) == []


def test_what_is_missing_is_found():
    source = '''
def public(x): ...
def _private(x): ...
class Shape:
    """A shape."""
    def area(self) -> float: ...
    def _side(self): ...
'''
    assert problems(source) == [
        "the module has no docstring",
        "public has no docstring",
        "public has no return type",
        "Shape.area has no docstring",
    ]
