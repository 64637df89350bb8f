"""The compile cache: it is on by default, and a second start of a recipe compiles nothing."""

import json
import os
import subprocess
import sys

import pytest

# LeNet's smoke run; prints how often JAX compiled and how often it found a program compiled.
CODE = """
import collections, json, sys
import jax
from configs.lenet import get_config
from train.loop import train_and_evaluate
counts = collections.Counter()
jax.monitoring.register_event_listener(lambda event, **_: counts.update([event]))
config = get_config("smoke")
config.data.on_device = sys.argv[2]
train_and_evaluate(config, sys.argv[1])
print(json.dumps(counts))
"""


def cache_events(folder, home, on_device):
    environment = os.environ | {"XDG_CACHE_HOME": str(home)}
    command = [sys.executable, "-c", CODE, str(folder), on_device]
    run = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert run.returncode == 0, run.stderr
    counts = json.loads(run.stdout.splitlines()[-1])
    return [counts.get(f"/jax/compilation_cache/cache_{what}", 0) for what in ("hits", "misses")]


@pytest.mark.parametrize("on_device", [pytest.param("yes", marks=pytest.mark.full), "no"])
def test_a_second_start_compiles_nothing(on_device, tmp_path):
    _, misses = cache_events(tmp_path / "first", tmp_path, on_device)
    assert misses > 0
    hits, misses_again = cache_events(tmp_path / "second", tmp_path, on_device)
    assert misses_again == 0 and hits >= misses
