"""Mutated images, records and tars: an error that names them, or what Pillow reads; no harm.

A seed makes the same input at any time, and a fault is reported with its seed. `-m soak` tries
200,000 inputs of each reader, and goes on where it was stopped.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("images_and_records.py")
READERS = (
    "png",
    "jpeg",
    "other images",
    "tfrecord",
    "index",
    "record",
    "idx",
    "tar",
    "checkpoint list",
    "arrays",
)
INPUTS, CHUNK, CHUNKS = 150, 20_000, 10


def run(reader: str, first: int, last: int, folder: Path) -> dict[str, int]:
    """How often which outcome came; fails with the seed if there was a fault."""
    note = folder / "seed"
    process = subprocess.run(
        [sys.executable, str(PROGRAM), reader, str(first), str(last)],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(PROGRAM.parents[2]), "FUZZ_SEED": str(note)},
    )
    at = note.read_text() if note.exists() else "before the first"
    assert not process.returncode, f"status {process.returncode}, {at}: {process.stderr[-2000:]}"
    outcomes = json.loads(process.stdout.splitlines()[-1])
    assert sum(outcomes.values()) == last - first
    return outcomes


@pytest.mark.parametrize("reader", READERS)
def test_mutated_files_do_no_harm(reader, tmp_path):
    outcomes = run(reader, 0, INPUTS, tmp_path)
    assert set(outcomes) <= {"read", "DataError", "UnreadableImage"}


@pytest.mark.soak
@pytest.mark.parametrize("chunk", range(CHUNKS))
@pytest.mark.parametrize("reader", READERS)
def test_many_mutated_files_do_no_harm(reader, chunk, tmp_path):
    print(reader, chunk, run(reader, chunk * CHUNK, (chunk + 1) * CHUNK, tmp_path))


def test_a_hang_and_a_hunger_are_noticed(tmp_path):
    text = PROGRAM.read_text()
    for change, expected in (
        ("SECONDS, MEMORY = 1, 2**30\ndef read_idx(content): import time; time.sleep(60)\n", -14),
        ("def read_idx(content): raise KeyError('other')\n", 1),
        ("def read_idx(content):\n    x = bytearray(2**31)\n", 1),
    ):
        program = tmp_path / "changed.py"
        name, body = "# Reader: (it, the good", text.replace("read(content)  # what is", "pass  #")
        program.write_text(body.replace(name, f"{change}\n{name}"))
        process = subprocess.run(
            [sys.executable, str(program), "idx", "0", "2"],
            capture_output=True,
            env=os.environ | {"PYTHONPATH": str(PROGRAM.parents[2])},
        )
        assert process.returncode == expected, process.stderr
