"""The folders that a run writes to.

The compile cache is on by default, and a second start of a recipe compiles nothing; a workdir has
one owner.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import jax
import pytest

from train.errors import TrainError
from train.workspace import _own_folder, claimed, open_workdir, use_compile_cache

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


@pytest.mark.full
@pytest.mark.parametrize("on_device", [pytest.param("yes", marks=pytest.mark.full), "no"])
def test_a_second_start_compiles_nothing(on_device, tmp_path):
    _, misses = cache_events(tmp_path / "first", tmp_path, on_device)
    assert misses > 0
    hits, misses_again = cache_events(tmp_path / "second", tmp_path, on_device)
    assert misses_again == 0 and hits >= misses


CLAIM = """
import sys, time, pathlib
from train.workspace import claimed
with claimed(pathlib.Path(sys.argv[1])):
    print("mine", flush=True)
    time.sleep(60)
"""


def claim(folder):
    command = [sys.executable, "-c", CLAIM, str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    return process, process.stdout.readline()


def test_one_process_trains_in_a_workdir(tmp_path):
    first, said = claim(tmp_path)
    assert said == "mine\n"
    with pytest.raises(TrainError, match=f"in use: process {first.pid} on {socket.gethostname()}"):
        with claimed(tmp_path):
            pass
    first.kill()  # the claim of a dead process is taken over
    first.communicate()
    with claimed(tmp_path):
        owner = json.loads((tmp_path / "owner.json").read_text())
        assert owner == {"host": socket.gethostname(), "pid": os.getpid()}
    assert not list(tmp_path.iterdir())
    with claimed(tmp_path):
        pass


def test_children_do_not_keep_the_claim(tmp_path):
    """A loader's worker may outlive its program by a moment."""
    code = "import os, sys, time, pathlib; from train.workspace import claimed\n"
    code += "with claimed(pathlib.Path(sys.argv[1])):\n"
    code += "    child = os.fork()\n    if child == 0: os.close(1); os.close(2); time.sleep(60)\n"
    code += "    print(child, flush=True); os._exit(0)\n"
    command = [sys.executable, "-W", "ignore", "-c", code, str(tmp_path)]
    child = int(subprocess.run(command, stdout=subprocess.PIPE, text=True).stdout)
    try:
        with claimed(tmp_path):
            pass
    finally:
        os.kill(child, signal.SIGKILL)


@pytest.mark.parametrize("workdir", ["gs://bucket/run", "s3://bucket/run", "hdfs://x", "gs:/x"])
def test_buckets_are_refused_in_words(workdir, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TrainError, match=f"{workdir} is no folder of this machine"):
        open_workdir(workdir)
    assert not list(tmp_path.iterdir())


def test_without_a_home_programs_are_kept_in_a_temporary_folder(tmp_path, monkeypatch, capsys):
    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    before = jax.config.jax_compilation_cache_dir
    try:
        use_compile_cache("auto")
        assert jax.config.jax_compilation_cache_dir.startswith(str(tmp_path))
    finally:
        jax.config.update("jax_compilation_cache_dir", before)
    assert "no cache folder" in capsys.readouterr().out


def test_a_folder_that_another_user_prepared_is_not_trusted(tmp_path, monkeypatch):
    path = tmp_path / "cache"
    assert _own_folder(path) == path and path.stat().st_mode & 0o777 == 0o700
    path.chmod(0o777)
    assert _own_folder(path) == path and path.stat().st_mode & 0o777 == 0o700
    (tmp_path / "link").symlink_to(path)
    (tmp_path / "file").touch()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for taken in ("link", "file"):
        assert _own_folder(tmp_path / taken).name.startswith("cache-")
    monkeypatch.setattr(os, "getuid", lambda: path.stat().st_uid + 1)
    assert _own_folder(path) != path
