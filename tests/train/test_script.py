"""`flax-zoo` runs our programs where `python -m` would run a stranger's."""

import os
import runpy
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from train import script

ROOT = Path(__file__).parents[2]
# What an installed console script does: its own folder is on the path, the current one is not.
START = f"import sys; sys.path[:1] = [{str(ROOT)!r}]; from train.script import main; main()"


def flax_zoo(folder, *arguments, path=""):
    return subprocess.run(
        [sys.executable, "-c", START, *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": path, "XLA_FLAGS": ""},
        capture_output=True,
        text=True,
    )


def test_it_is_installed_by_that_name():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["scripts"] == {"flax-zoo": "train.script:main"}


@pytest.mark.parametrize(
    "command, expected",
    [
        ("train", "python -m train --config"),
        ("plan", "--topology"),
        ("predict", "--weights=NAME"),
        ("explore", "page.html"),
        ("prepare", "--manual_dir"),
        ("list", "all models"),
        ("summary", "model layer by layer"),
    ],
)
def test_every_program_has_its_command(command, expected, tmp_path):
    for name in ("train.py", "zoo.py", "input_pipeline.py"):
        (tmp_path / name).write_text("raise SystemExit('a script of the user')\n")
    done = flax_zoo(tmp_path, command, "--help")
    assert done.returncode == 0, done.stderr
    assert "usage: " in done.stdout
    assert "Note: zoo.py, train.py, input_pipeline.py of this folder" in done.stderr


def test_a_table_in_a_folder_with_a_zoo_of_its_own(tmp_path):
    (tmp_path / "zoo.py").write_text("animals = 3\n")
    done = flax_zoo(tmp_path, "list", "lenet5")
    assert done.returncode == 0 and "| `lenet5` |" in done.stdout, done.stderr


def test_a_module_that_python_takes_for_ours_is_named(tmp_path):
    for name in ("train", "zoo"):
        (tmp_path / f"{name}.py").write_text("")
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import train.script as s; "
    code += f"sys.path.insert(0, {str(tmp_path)!r}); "
    code += "sys.modules.pop('train'); print(s.taken_name())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert str(tmp_path / "zoo.py") in done.stdout and "Rename it" in done.stdout, done.stderr


def test_unknown_commands_are_told():
    done = flax_zoo(ROOT, "trian")
    assert done.returncode == 1 and "train | plan | prepare" in done.stderr
    assert flax_zoo(ROOT).stdout.startswith("usage: flax-zoo COMMAND")


def test_a_run_is_resumed_by_the_command_that_began_it(monkeypatch):
    assert script.invocation("train")[1:] == ["-m", "train"]
    monkeypatch.setattr(sys, "argv", ["flax-zoo", "train", "--config=lenet"])
    seen = []
    monkeypatch.setattr(
        runpy, "run_module", lambda *_, **__: seen.append(script.invocation("train"))
    )
    monkeypatch.setattr(script, "_started", [])
    script.main()
    assert seen == [["flax-zoo", "train"]]
