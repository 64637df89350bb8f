"""Functions in a recipe become texts, and the texts functions again."""

import functools
import json
import sys

import optax
import pytest

from configs import base, functions
from train.command_line import parse

LOAD_MODULE = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")
RECIPE = """
from configs import base


def twice(logits, labels):
    return 2 * logits[:, 0]


class Digits:
    pass


def get_config(arg=""):
    config = base.get_config()
    config.loss.name = twice
    config.data.name = Digits
    config.eval.metrics = [twice]
    config.optimizer.name = "sgd"
    return config
"""


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(RECIPE)
    before = list(sys.path)
    yield path
    sys.path[:] = before


def test_a_function_of_a_module_is_named_by_the_module():
    name = functions.name_of(json.dumps)
    assert name == "json:dumps" and functions.load(name) is json.dumps
    assert functions.load(functions.name_of(optax.adamw)) is optax.adamw


@LOAD_MODULE
def test_a_recipe_may_hold_its_own_functions(recipe):
    config = parse(["train", f"--config={recipe}", "--config.batch_size=3"])
    assert config.loss.name == f"{recipe}:twice" and config.data.name == f"{recipe}:Digits"
    assert config.eval.metrics == (f"{recipe}:twice",) and config.optimizer.name == "sgd"
    assert functions.load(config.loss.name).__name__ == "twice"
    json.dumps(config.to_dict())


@LOAD_MODULE
def test_a_function_on_the_command_line(recipe):
    config = parse(
        [
            "train",
            "--config=lenet",
            f"--config.loss.name={recipe}:twice",
            f"--config.eval.metrics=('{recipe}:twice',)",
            "--config.loss.options.a=3",
        ]
    )
    assert config.loss.name == f"{recipe}:twice" and config.loss.options.a == 3
    assert config.eval.metrics == (f"{recipe}:twice",)


def test_a_file_runs_once_and_again_when_it_has_changed(recipe):
    first = functions.load_file(recipe)
    assert functions.load_file(recipe) is first
    recipe.write_text(RECIPE.replace("2 *", "3 *"))
    assert functions.load_file(recipe) is not first


def test_modules_beside_a_file_can_be_imported(recipe):
    (recipe.parent / "beside_mine.py").write_text("number = 5\n")
    recipe.write_text("import beside_mine\n\n\ndef five():\n    return beside_mine.number\n")
    assert functions.load(f"{recipe}:five")() == 5


def test_a_module_of_the_current_folder_is_found(recipe, monkeypatch):
    monkeypatch.chdir(recipe.parent)
    recipe.rename(recipe.parent / "only_here.py")
    assert functions.load("only_here:twice").__name__ == "twice"


@pytest.mark.parametrize(
    "function", [lambda x: x, functools.partial(json.dumps), (lambda: lambda: 1)()]
)
def test_a_function_without_a_name_is_refused(function):
    config = base.get_config()
    with pytest.raises(TypeError, match="top level of a file, and give it its arguments by"):
        config.loss.name = function


@pytest.mark.parametrize(
    "text, expected",
    [
        ("json:dump", True),
        ("a/b c/mine.py:f", True),
        ("package.module:Class.method", True),
        ("folder:photos", False),
        ("npz:data", False),
        ("synthetic:classes", False),
        ("mnist:3.0.1", False),
        ("imagenet2012", False),
        ("~/x.npz", False),
    ],
)
def test_what_names_a_function(text, expected):
    assert functions.is_reference(text) is expected


@pytest.mark.parametrize(
    "text, message",
    [
        ("json:nothing", "there is no function nothing in json; there are: .*dumps"),
        ("no_such_module:f", "there is no module no_such_module, and no file no_such_module.py"),
        ("/no/such/file.py:f", "There is no file /no/such/file.py"),
        ("json:decoder", "there is no function decoder"),
    ],
)
def test_what_is_not_there_is_told(text, message):
    with pytest.raises(ImportError, match=message):
        functions.load(text)


def test_a_file_that_fails_fails_again(recipe):
    recipe.write_text("1 / 0\n")
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            functions.load_file(recipe)
