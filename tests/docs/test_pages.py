"""The Python in README.md, CONTRIBUTING.md and docs/ runs, and prints what stands below it.

The blocks of a page run one after the other in one namespace. A ```text block right after a block
is what it prints. `<!-- raises ValueError -->` right before a block says that it ends so; then the
text is the error's message. A ```py block is not run: it needs PyTorch.
"""

import contextlib
import io
import pathlib
import re
import sys
import types

import pytest
from flax import traverse_util

import zoo
from configs import base
from train.overrides import FREE
from zoo import registry

ROOT = pathlib.Path(__file__).parent.parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(
    r"(?:<!-- raises (?P<error>\w+) -->\n\n?)?"
    r"^```python\n(?P<code>.*?)^```\n"
    r"(?:\n```text\n(?P<text>.*?)^```\n)?",
    re.MULTILINE | re.DOTALL,
)


@pytest.fixture
def own_models(monkeypatch):
    """Models that a page registers are gone after it."""
    zoo.list_models()
    monkeypatch.setattr(registry, "_models", dict(registry._models))
    registry._all_models.cache_clear()
    yield
    registry._all_models.cache_clear()


# Pages whose programs take long to compile.
LONG = {"augmentation", "look", "mixing", "use", "weights"}
WITH_CODE = [
    pytest.param(page, marks=[pytest.mark.full] if page.stem in LONG else [], id=page.stem)
    for page in PAGES
    if BLOCK.search(page.read_text())
]


@pytest.mark.parametrize("page", WITH_CODE)
@pytest.mark.usefixtures("folder", "own_models", "quick_compilation")
def test_code_runs(page, monkeypatch):
    text = page.read_text()
    module = types.ModuleType("page")
    monkeypatch.setitem(sys.modules, "page", module)
    for block in BLOCK.finditer(text):
        line = text.count("\n", 0, block.start("code"))
        code = compile("\n" * line + block["code"], str(page), "exec")
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            if block["error"]:
                with pytest.raises(Exception) as error:
                    exec(code, module.__dict__)
                assert type(error.value).__name__ == block["error"]
                print(error.value)
            else:
                exec(code, module.__dict__)
        if block["text"]:
            assert " ".join(output.getvalue().split()) == " ".join(block["text"].split())


FILES = [path for path in (ROOT / "configs").glob("*.py") if "def get_config" in path.read_text()]
RECIPES = {path.stem for path in FILES} - {"base"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_name_recipes_and_keys_that_there_are(page):
    text = page.read_text()
    recipes = re.findall(r"configs/(\w+)\.py", text)
    keys = re.findall(r"(?:--|`)config\.(?!json\b|KEY\b)([\w.]*\w)", text)
    known = traverse_util.flatten_dict(base.get_config().to_dict(), keep_empty_nodes=True, sep=".")
    assert set(recipes) <= RECIPES | {"base"}
    sections = {key.rpartition(".")[0] for key in known}
    assert {key for key in keys if not FREE.fullmatch(key)} <= {*known, *sections}


def test_all_recipes_are_on_the_page():
    _, table, _ = re.split("<!-- /?recipes -->", (ROOT / "docs/recipes.md").read_text())
    rows = re.findall(r"^\| `(\w+)[:`]", table, re.M)
    assert set(rows) == RECIPES
