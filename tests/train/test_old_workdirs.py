"""Runs that version 0.1 began are gone on with: same command, same figures."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WORKDIRS = Path(__file__).parent / "workdirs"


@pytest.mark.parametrize("name", [pytest.param("lenet5", marks=pytest.mark.full), "resnet8"])
def test_a_run_of_version_0_1_goes_on(name, mnist_dir, tmp_path):
    workdir = tmp_path / name
    shutil.copytree(WORKDIRS / name, workdir)
    _, *arguments = json.loads((workdir / "environment.json").read_text())[0]["command"]
    recipe = workdir / "recipe.py"
    if recipe.exists():
        arguments = [a.replace("--config=recipe.py", f"--config={recipe}") for a in arguments]
    command = [sys.executable, "-m", "train", *arguments, f"--workdir={workdir}"]
    command += [f"--config.data.dir={mnist_dir}"]
    environment = os.environ | {"XLA_FLAGS": ""}  # one device
    run = subprocess.run(command, cwd=ROOT, env=environment, text=True, capture_output=True)
    assert run.returncode == 0, run.stderr

    found, expected = (
        [json.loads(line) for line in (workdir / file).read_text().splitlines()]
        for file in ("metrics.jsonl", "expected.jsonl")
    )
    before = (WORKDIRS / name / "metrics.jsonl").read_text().splitlines()
    assert found[: len(before)] == [json.loads(line) for line in before]
    rest = found[len(before) :]
    assert [(line["split"], line["step"]) for line in rest] == [
        (line["split"], line["step"]) for line in expected
    ]
    for ours, theirs in zip(rest, expected, strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-4)
