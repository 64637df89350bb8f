"""Mutated weights files are read or refused by ValueError: no crash, no hang, no hunger."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

FUZZER = Path(__file__).parent / "weights_fuzzer.py"
KINDS = ("zip", "legacy", "safetensors", "shards", "npz")
QUICK, PART, PARTS = 500, 10_000, 10


def fuzz(kind: str, start: int, count: int) -> dict:
    """Reads `count` inputs in a process of their own, and returns what it counted."""
    command = [sys.executable, str(FUZZER), kind, str(start), str(count)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=FUZZER.parents[2])
    lines = done.stdout.splitlines()
    last = lines[-1] if lines else "none"
    assert done.returncode == 0, f"{kind} ended at input {last}: {done.returncode} {done.stderr}"
    return json.loads(last)


def check(kind: str, start: int, count: int) -> None:
    found = fuzz(kind, start, count)
    assert found["outcomes"].keys() == {"read", "refused"}, (kind, found["outcomes"])
    assert sum(found["outcomes"].values()) == count
    assert found["slowest"][0] < 10 and found["peak"] < 2**30


@pytest.mark.parametrize("kind", KINDS)
def test_mutated_files(kind):
    check(kind, 0, QUICK)


@pytest.mark.soak
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("kind", KINDS)
def test_many_mutated_files(kind, part):
    check(kind, QUICK + part * PART, PART)
