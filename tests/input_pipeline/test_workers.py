"""Worker processes end with their program, on every way out.

The programs run all at once: most of their time is the start of Python.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = """
import os, signal, sys
import input_pipeline
from input_pipeline import loader, transforms
def main(how):
    # A shell that starts pytest in the background has its programs ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    source = input_pipeline.open("folder:" + sys.argv[2], "train")
    batches = loader.train_batches(source, transforms.RandomResizedCrop(16), batch_size=4, seed=0,
                                   start_step=0, num_steps=10**6,
                                   workers=2 if how == "unreadable" else 1)
    for step, _ in enumerate(batches):
        if step == 2:
            print("started", flush=True)
        if step == 3 and how == "exception":
            raise KeyError("of the program")
        if step == 3 and how == "exit":
            os._exit(3)
        if step == 3 and how == "stopped, then exit":
            loader.stop_workers()
            os._exit(4)
"""
GUARDED = PROGRAM + "if __name__ == '__main__': main(sys.argv[1])"
# How the program ends: (its exit status, whether Python may complain of what is left behind).
ENDS = {
    "unreadable": (1, False),
    "exception": (1, False),
    "exit": (3, True),
    "stopped, then exit": (4, False),
    "killed": (-signal.SIGKILL, True),
    "Ctrl-C": (-signal.SIGINT, False),
    "without a guard": (1, False),
}


@pytest.fixture(scope="module")
def programs(tmp_path_factory, image_folder) -> dict[str, tuple[int, str]]:
    """For each end: the exit status and all that was printed until the last process was gone."""
    folder = tmp_path_factory.mktemp("programs")
    (folder / "guarded.py").write_text(GUARDED)
    (folder / "unguarded.py").write_text(PROGRAM + "main(sys.argv[1])")
    broken = folder / "broken" / "train" / "cat"
    broken.mkdir(parents=True)
    for index in range(8):
        good = (image_folder / "train" / "cat" / "0.jpg").read_bytes()
        (broken / f"{index}.jpg").write_bytes(b"no image" if index == 5 else good)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    running = {}
    for end in ENDS:
        name = "unguarded.py" if end == "without a guard" else "guarded.py"
        data = folder / "broken" if end == "unreadable" else image_folder
        running[end] = subprocess.Popen(
            [sys.executable, str(folder / name), end, str(data)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
            start_new_session=True,
        )
    try:
        for end, send in (("killed", os.kill), ("Ctrl-C", os.killpg)):
            assert running[end].stdout.readline() == "started\n"
            send(running[end].pid, signal.SIGKILL if end == "killed" else signal.SIGINT)
        # communicate() returns when nobody holds the pipe any more: neither program nor worker.
        return {end: (p.communicate(timeout=60)[0], p.returncode) for end, p in running.items()}
    finally:
        for process in running.values():
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


@pytest.mark.parametrize("end", ENDS)
def test_the_workers_end_with_their_program(programs, end):
    printed, status = programs[end]
    expected, may_complain = ENDS[end]
    assert status == expected, printed
    assert may_complain or "leaked semaphore" not in printed
    if end == "unreadable":
        assert "5.jpg cannot be decoded" in printed
    if end == "without a guard":
        assert "DataError: A worker process of the loader ended" in printed
        assert 'if __name__ == "__main__":' in printed.splitlines()[-1]
