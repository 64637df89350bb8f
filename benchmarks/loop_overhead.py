"""What the training loop costs over its bare compiled program.

    python benchmarks/loop_overhead.py [--rounds=5]

Both call the same compiled program, on data that lies on the device: bare, in a Python loop that
does nothing else, and through `train.loop.training_loop` with progress bar, metrics.jsonl,
TensorBoard events and data order. Evaluation, checkpoints and curves.png are left out: they are
work that was asked for, not overhead. Rounds alternate; the fastest of each counts.
Target: at most 3 %, for ResNet-18 at 64x64 (one call per step) and LeNet-5 (one for many steps).
"""

import argparse
import contextlib
import dataclasses
import io
import tempfile
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from configs import base
from train.build import initial_state, make_runner, make_task, state_shapes
from train.checkpoint import Checkpoints
from train.data import open_data
from train.durations import Intervals
from train.interruption import Interruption
from train.loop import Progress, training_loop
from train.report import Report
from train.sharding import make_mesh
from train.step import empty_metrics

CASES = {
    "resnet18": {"data": "synthetic:examples=512,size=64", "size": 64, "batch": 8, "steps": 6},
    "lenet5": {"data": "synthetic:examples=512,size=28,channels=1", "size": 32, "batch": 128},
}


class NoCheckpoints(Checkpoints):
    """Stands for a checkpoint manager, and writes nothing."""

    def __init__(self):
        pass

    def save(self, step: int, state) -> None:
        """Does nothing."""


class Case:
    """One model, compiled once, whose steps run bare or in the loop."""

    def __init__(self, model: str, settings: dict):
        self.config = base.get_config()
        self.config.model.name = model
        self.config.data.name = settings["data"]
        self.config.data.image_size = settings["size"]
        self.config.batch_size = settings["batch"]
        self.config.optimizer.options = ConfigDict({"momentum": 0.9})
        self.config.schedule.learning_rate = 1e-3
        self.steps = settings.get("steps", 200)
        self.config.log.every = f"{self.steps // 2} steps"
        data = open_data(self.config)
        self.intervals = dataclasses.replace(
            Intervals.from_config(self.config, len(data.train)),
            total=10**6,
            evaluate=10**6,
            checkpoint=10**6,
        )
        task = make_task(self.config, data, self.intervals, make_mesh(1, 1))
        shapes = state_shapes(task)
        self.runner = make_runner(self.config, task, shapes, self.intervals, data)
        self.state = initial_state(task, shapes)

    def bare(self) -> float:
        """Returns the seconds per step of the compiled program alone."""
        runner: Any = self.runner
        batch = self.config.batch_size
        program, data = runner.train_program, runner.train_data
        rows = jax.device_put(np.zeros((self.intervals.max_steps_per_call, batch), np.int32))
        row, count, metrics = rows[0], jax.device_put(np.int32(len(rows))), empty_metrics()
        jax.block_until_ready((rows, row, count, metrics, self.state))
        calls = self.steps // len(rows) if runner.multi_step else self.steps
        begin = time.perf_counter()
        for _ in range(calls):
            if runner.multi_step:
                self.state, metrics = program(self.state, data, rows, count)
            else:
                self.state, metrics = program(self.state, metrics, data, row)
        jax.block_until_ready((self.state, metrics))
        return (time.perf_counter() - begin) / self.steps

    def in_loop(self) -> float:
        """Returns the seconds per step in the training loop."""
        # The step counter includes the bare steps. The loop starts there, at a step that is logged.
        start = int(self.state.step)
        intervals = dataclasses.replace(self.intervals, total=start + self.steps)
        progress = Progress(self.state, start)
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
            report = Report(Path(folder), self.config, intervals, start)
            report.lines.append(
                {"split": "eval", "step": intervals.total}
            )  # as if the evaluation were done
            report.draw = lambda: None
            with Interruption() as interruption:
                begin = time.perf_counter()
                nothing: Any = None  # no file of the model is written before the end
                training_loop(
                    *(progress, self.runner, intervals, report, NoCheckpoints()),
                    *(nothing, nothing, interruption),
                )
                report.flush()
                seconds = time.perf_counter() - begin
            report.close()
        self.state = progress.state
        return seconds / self.steps


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    for model, settings in CASES.items():
        case = Case(model, settings)
        for first_call in (case.bare, case.in_loop):
            first_call()
        bare, in_loop = zip(*((case.bare(), case.in_loop()) for _ in range(rounds)), strict=True)
        overhead = min(in_loop) / min(bare) - 1
        print(
            f"{model:10} bare {1e3 * min(bare):8.2f} ms per step, in the loop "
            f"{1e3 * min(in_loop):8.2f} ms: {overhead:+.1%}",
            flush=True,
        )


if __name__ == "__main__":
    main()
