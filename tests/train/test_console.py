"""What is printed cannot end a program."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TRAIN = f"{sys.executable} -m train --config=lenet:smoke --workdir=$WORKDIR"


def in_a_shell(command, **variables):
    environment = os.environ | {"XLA_FLAGS": "", "PYTHONPATH": str(ROOT)} | variables
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr, done.stderr
    return done


FULL = [
    pytest.param(closed, marks=pytest.mark.full) for closed in (">&-", "| true", "2>&1 | head -1")
]


@pytest.mark.full
@pytest.mark.parametrize("closed", [">&- 2>&-", *FULL])
def test_a_run_goes_on_when_nobody_reads(closed, tmp_path):
    done = in_a_shell(f"{TRAIN} {closed}", WORKDIR=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "model.safetensors").exists()


@pytest.mark.parametrize(
    "command", ["summary lenet5", pytest.param("list lenet*", marks=pytest.mark.full)]
)
def test_tables_end_where_their_reader_does(command):
    done = in_a_shell(f"{sys.executable} -m zoo {command} | true")
    assert done.returncode == 0, done.stderr
