"""Soak tests go on where they were stopped."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

# The second test stops everything, as a cut cable does, until there is a file "go".
TESTS = """
import os, pathlib, pytest
pytestmark = pytest.mark.soak
def note(name):
    with open("ran", "a") as file:
        file.write(name)
def test_a():
    note("a")
def test_b():
    note("b")
    pathlib.Path("go").exists() or os.killpg(0, 9)
def test_c():
    note("c")
"""
SETTINGS = """
[pytest]
markers =
    soak:
    quick:
    full:
"""


@pytest.mark.full
def test_what_has_passed_is_not_run_again(tmp_path):
    (tmp_path / "tests").mkdir()
    shutil.copy(Path(__file__).parent / "conftest.py", tmp_path / "tests")
    (tmp_path / "tests" / "test_long.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text(SETTINGS)
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}

    def ran() -> str:
        (tmp_path / "ran").write_text("")
        command = [sys.executable, "-m", "pytest", "-n1", "-m", "soak", "tests"]
        output = dict(stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT)
        subprocess.run(command, cwd=tmp_path, env=clean, start_new_session=True, **output)
        return (tmp_path / "ran").read_text()

    assert ran() == "ab"
    (tmp_path / "go").touch()
    assert ran() == "bc"
    assert ran() == "abc"
