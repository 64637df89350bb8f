"""Real MNIST digits, and runs of `python -m train` as a user starts them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# A small network on part of the digits; 515 of them leave a remainder in every batch size used.
SMALL = {
    "model.name": "mlp",
    "data.train_split": "train[:2000]",
    "data.eval_split": "test[:515]",
    "batch_size": 40,
    "duration": "120 steps",
    "log.every": "20 steps",
    "eval.every": "50 steps",
    "checkpoint.every": "30 steps",
    "eval.batch_size": 64,
}


class Run:
    """One workdir and the command line that trains in it."""

    def __init__(self, workdir: Path, settings: dict, environment: dict):
        self.workdir = workdir
        self.environment = os.environ | {"XLA_FLAGS": ""} | environment  # one device
        arguments = [f"--config.{key}={value}" for key, value in settings.items()]
        recipe = f"--config={ROOT / 'configs' / 'lenet.py'}"
        self.command = [sys.executable, "-m", "train", recipe, f"--workdir={workdir}", *arguments]

    def start(self, **how) -> subprocess.Popen:
        return subprocess.Popen(
            self.command,
            cwd=ROOT,
            env=self.environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            **how,
        )

    def finish(self, code: int = 0) -> str:
        """Runs to the end, checks the exit code and returns what was printed."""
        process = self.start()
        output, _ = process.communicate(timeout=300)
        assert process.returncode == code, output
        return output

    def all_lines(self) -> list[dict]:
        """The whole lines of metrics.jsonl."""
        path = self.workdir / "metrics.jsonl"
        texts = path.read_text().split("\n")[:-1] if path.exists() else []
        return [json.loads(text) for text in texts]

    def lines(self, split: str) -> list[dict]:
        return [line for line in self.all_lines() if line["split"] == split]

    def figures(self) -> list[dict]:
        """The lines of evaluations without their times, which are equal in equal runs."""
        lines = self.lines("eval")
        return [{key: line[key] for key in line if key != "seconds"} for line in lines]

    def wait_for(self, process: subprocess.Popen, condition) -> None:
        """Returns as soon as the condition holds; the process must still be running."""
        while not condition():
            assert process.poll() is None, process.communicate()[0]
            try:
                process.wait(timeout=0.01)
            except subprocess.TimeoutExpired:
                continue

    def checkpoints(self) -> list[int]:
        """Steps of the complete checkpoints."""
        found = (self.workdir / "checkpoints").glob("*/files.json")
        return sorted(int(path.parent.name) for path in found)

    def leaves(self, step: int) -> dict:
        """The arrays of a checkpoint as {path: bytes}."""
        import jax
        import numpy as np
        import orbax.checkpoint as ocp

        folder = self.workdir / "checkpoints" / str(step) / "default"
        with ocp.StandardCheckpointer() as checkpointer:
            tree = checkpointer.restore(folder)
        leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
        return {jax.tree_util.keystr(path): np.asarray(leaf).tobytes() for path, leaf in leaves}


@pytest.fixture(scope="session")
def make_run(mnist_dir, tmp_path_factory):
    """make_run(environment=..., **settings): a new workdir; all share one compile cache."""
    cache = str(tmp_path_factory.mktemp("compile_cache"))

    def make(environment: dict | None = None, **settings) -> Run:
        settings = {key.replace("__", "."): value for key, value in settings.items()}
        given = {"data.dir": mnist_dir, "compile_cache": cache}
        workdir = tmp_path_factory.mktemp("run")
        return Run(workdir, SMALL | given | settings, environment or {})

    return make


# Few enough that no ReLU falls on the other side of zero by a rounding, which is a jump.
FIRST_STEPS = {"duration": "5 steps", "log.every": "1 steps"}


@pytest.fixture(scope="session")
def assert_first_steps(make_run):
    """assert_first_steps(run): its losses are those of one device to float32 rounding."""
    alone = make_run(**FIRST_STEPS)
    alone.finish()

    def check(run: Run) -> None:
        for ours, theirs in zip(run.all_lines(), alone.all_lines(), strict=True):
            assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-5)
            assert ours.get("examples") == theirs.get("examples")

    return check


@pytest.fixture(scope="session")
def make_first_steps(make_run):
    """As make_run, for 5 steps that are all reported."""
    return lambda *environment, **settings: make_run(*environment, **FIRST_STEPS, **settings)


@pytest.fixture(scope="session")
def uninterrupted(make_run) -> Run:
    """The small run, never stopped."""
    run = make_run()
    run.finish()
    return run


@pytest.fixture
def float64():
    """Within it, arrays are of 64 bits unless they say otherwise."""
    import jax

    with jax.enable_x64(True):
        yield
