"""The commands on the page docs/evaluate.md print what stands below them, or run."""

import pathlib
import re
import shlex

import pytest

import train.workspace
from train import evaluate, probe

PAGE = (pathlib.Path(__file__).parents[2] / "docs/evaluate.md").read_text()
COMMAND = re.compile(
    r"^python -m train\.(\w+) (--weights=zoo.*)$(?:\n```\n\n```text\n(.*\n))?", re.M
)
COMMANDS = COMMAND.findall(PAGE)


def test_there_are_commands():
    assert [program for program, *_ in COMMANDS] == ["evaluate", "probe", "probe"]


@pytest.mark.parametrize(
    ("program", "command", "expected"),
    [*(pytest.param(*command, marks=pytest.mark.full) for command in COMMANDS[:2]), *COMMANDS[2:]],
    ids=range(len(COMMANDS)),
)
def test_a_command_prints_what_stands_below(
    program, command, expected, mnist_dir, monkeypatch, capsys
):
    monkeypatch.setattr(train.workspace, "use_compile_cache", lambda _: None)
    main = {"evaluate": evaluate, "probe": probe}[program].main
    assert main([*shlex.split(command), f"--data_dir={mnist_dir}"]) == 0
    out = capsys.readouterr().out
    assert out == expected if expected else "10 shots: accuracy" in out
