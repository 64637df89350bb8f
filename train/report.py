"""The report of a run: a progress bar, and the files that document a workdir.

metrics.jsonl      one line per report: {"split": "train" | "eval", "step", "epoch", ...}; "seconds"
                   count from the start of the run, without the time between processes
events.out.*       the same for TensorBoard
curves.png         the same as a picture
confusion.png      which class is taken for which, by the last evaluation (`eval.confusion`)
config.json        the recipe, all keys
classes.json       names of the classes, in the order of labels
environment.json   versions, devices and command line of each start
"""

import json
import math
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict
from tqdm import tqdm

from train.console import say
from train.durations import Intervals
from train.errors import TrainError
from train.metrics import reported
from train.settings import class_names, write_settings
from train.step import NOT_SUMS, RAW, TABLES, Metrics
from train.workspace import disk_errors, write_atomically

METRICS = "metrics.jsonl"
CURVES_EVERY = 60.0  # seconds; drawing takes one


class NonFiniteLoss(Exception):
    """The loss of a step was inf or nan.

    Attributes:
      step: number of the step.
      learning_rate: of the last step reported.
    """

    def __init__(self, step: int, learning_rate: float):
        super().__init__(f"The loss is not finite at step {step}.")
        self.step, self.learning_rate = step, learning_rate


class _Pending(NamedTuple):
    """Steps that may still be running: their last one, their metrics, when they were started."""

    step: int
    fetched: Future
    started: float


class Report:
    """Context manager that writes the report of a run from step `start` on.

    What was reported up to that step by an earlier process is kept. Training metrics are fetched by
    a thread and reported when the next steps are dispatched, so the device never waits for the
    report. Only the first process writes.

    Attributes:
      lines: those of metrics.jsonl.
    """

    def __init__(self, workdir: Path, config: ConfigDict, intervals: Intervals, start: int):
        self._workdir, self._intervals = workdir, intervals
        self._writes = jax.process_index() == 0
        self._fetcher = ThreadPoolExecutor(1)
        self._pending: _Pending | None = None
        self._totals: dict[str, float] = {}  # since the last training line
        self._figures = reported(config.eval.metrics).figures
        self._draws_confusion, self._confusion = config.eval.confusion, None
        self._speedometer = Speedometer()
        self._started = 0.0
        self._began = time.monotonic()
        self._drawn = time.monotonic()
        with disk_errors(workdir):
            self.lines = cut_after(workdir / METRICS, start, write=self._writes)
            if self._writes:
                from tensorboardX import SummaryWriter

                write_settings(workdir, config)
                self._metrics = (workdir / METRICS).open("a")
                self._events = SummaryWriter(str(workdir), purge_step=start + 1)
        seconds = [line["seconds"] for line in self.lines if "seconds" in line]
        self._began -= max(seconds, default=0.0)  # what earlier processes took
        self._bar = tqdm(
            total=intervals.total,
            initial=start,
            unit="step",
            disable=None if self._writes else True,
        )

    def __enter__(self) -> "Report":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def has_evaluation(self, step: int) -> bool:
        """Whether the evaluation after `step` was reported, by this process or an earlier one."""
        return any(line["split"] == "eval" and line["step"] == step for line in self.lines)

    @property
    def last_evaluation(self) -> dict[str, Any]:
        """The last evaluation line, which every run has at its end."""
        return next(line for line in reversed(self.lines) if line["split"] == "eval")

    def start_timer(self) -> None:
        """Notes that training steps are about to be dispatched."""
        self._started = time.monotonic()

    def train(self, step: int, metrics: Metrics | None) -> None:
        """Reports the steps up to `step` at the next call or `flush`; they may still be running.

        Args:
          metrics: of all steps since the last call; None if there were none.
        """
        self.flush()
        if metrics is not None:
            self._pending = _Pending(step, self._fetcher.submit(_fetch, metrics), self._started)
            if not self._speedometer.warm:  # steps queued meanwhile would seem to take no time
                self.flush()

    def flush(self) -> None:
        """Waits for the steps of the last call of `train`, and reports them.

        Raises:
          NonFiniteLoss: the loss of one of them is not finite.
        """
        if self._pending is None:
            return
        (step, fetched, started), self._pending = self._pending, None
        metrics, finished = fetched.result()
        if metrics["nonfinite_step"] >= 0:
            raise NonFiniteLoss(metrics["nonfinite_step"], metrics["learning_rate"])
        self._speedometer.add(metrics["examples"], started, finished)
        for name in metrics.keys() - set(NOT_SUMS):
            self._totals[name] = self._totals.get(name, 0.0) + metrics[name]
        self._bar.update(step - self._bar.n)
        if self._intervals.logs_at(step):
            self._write_train_line(step, metrics["learning_rate"])

    def _write_train_line(self, step: int, learning_rate: float) -> None:
        line = self._line("train", step, self._totals)
        summary = f"loss {line['loss']:.4f}, top1 {line['top1']:.2%}"
        speed = self._speedometer.read()
        if speed is not None:
            line["images_per_second"] = speed
            summary += f", {speed:.0f} images/s"
        line["learning_rate"] = learning_rate
        self._totals = {}
        self._write(line)
        self._bar.set_postfix_str(summary)

    def evaluation_line(self, step: int, metrics: Metrics, skipped: int = 0) -> dict[str, Any]:
        """Returns the line of an evaluation. Equal runs have equal ones, but for `seconds`.

        Args:
          metrics: of the whole evaluation split.
          skipped: number of images that could not be read, so far in this process.

        Raises:
          TrainError: the loss is not finite.
        """
        values = jax.device_get(metrics)
        tables = {prefix: values.pop(f"{prefix}{TABLES}", {}) for prefix in ("", RAW)}
        sums = {name: value.item() for name, value in values.items()}
        line = self._line("eval", step, sums) | {"examples": int(sums["examples"])}
        for prefix, of_prefix in tables.items():
            for name, figure in self._figures.items():
                if of_prefix:
                    line[f"{prefix}{name}"] = sums[f"{prefix}{name}"] = figure(of_prefix)
        self._confusion = tables[""].get("confusion")
        if skipped:
            line["skipped"] = skipped
        for name in (sums.keys() & line.keys()) - {"loss", "examples"}:
            if not math.isfinite(line[name]):  # which JSON cannot say
                say(f"Note: {name} is {line.pop(name)} at step {step}, and left out.")
        if not abs(line["loss"]) < float("inf"):
            raise TrainError(
                f"The evaluation loss at step {step} is {line['loss']}: the model's output is not "
                "finite for some image. Lower schedule.learning_rate, or set optimizer.clip_norm."
            )
        return line

    def evaluation(self, line: dict[str, Any]) -> None:
        """Writes the line of an evaluation."""
        self._write(line)
        self._print(_describe_evaluation(line))
        if self._draws_confusion and self._writes and self._confusion is not None:
            from train.use import confusion

            names = class_names(self._workdir, len(self._confusion))
            with disk_errors(self._workdir):
                confusion.write(str(self._workdir / "confusion.png"), self._confusion, names)
        if time.monotonic() - self._drawn > CURVES_EVERY:
            self.draw()

    def complete(self) -> None:
        """Reports that the run was complete before this process started, and its last figures."""
        self.draw()
        self._print(
            f"The run in {self._workdir} is complete at "
            f"{_describe_evaluation(self.last_evaluation)}. To train longer, raise duration; to "
            "start again, name another --workdir."
        )

    def draw(self) -> None:
        """Draws curves.png from all lines so far."""
        if self._writes and self.lines:
            from train.curves import draw_curves

            with disk_errors(self._workdir):
                draw_curves(self.lines, self._workdir / "curves.png")
            self._drawn = time.monotonic()

    def close(self) -> None:
        """Closes all files; what is pending is lost."""
        self._fetcher.shutdown(wait=False)
        self._bar.close()
        if self._writes:
            self._metrics.close()
            self._events.close()

    def _line(self, split: str, step: int, totals: dict) -> dict[str, Any]:
        names = sorted(totals.keys() - {"examples", *NOT_SUMS}, key=_order)
        means = {name: totals[name] / totals["examples"] for name in names}
        epoch = step / self._intervals.steps_per_epoch
        seconds = round(time.monotonic() - self._began, 3)
        return {"split": split, "step": step, "epoch": epoch, "seconds": seconds} | means

    def _write(self, line: dict) -> None:
        self.lines.append(line)
        if not self._writes:
            return
        with disk_errors(self._workdir):
            self._metrics.write(json.dumps(line) + "\n")
            self._metrics.flush()
            for name, value in line.items():
                if name not in ("split", "step"):
                    self._events.add_scalar(f"{line['split']}/{name}", value, line["step"])
            self._events.flush()

    def _print(self, text: str) -> None:
        if self._writes:
            say(text)


class Speedometer:
    """Images per second of training, without the first steps of a process.

    Those are slower than all others: workers start, programs are loaded, memory is allocated.

    Attributes:
      warm: whether the first steps are done.
    """

    def __init__(self):
        self.warm = False
        self._finished = 0.0
        self._examples = self._seconds = 0.0

    def add(self, examples: float, started: float, finished: float) -> None:
        """Adds steps dispatched from `started` on, the last of which ended at `finished`.

        Both are in seconds. Steps that were dispatched while others were running count from the end
        of those.
        """
        if self.warm:
            self._examples += examples
            self._seconds += finished - max(started, self._finished)
        self.warm, self._finished = True, finished

    def read(self) -> float | None:
        """Returns the mean since the last call, or None if no step was timed."""
        examples, seconds = self._examples, self._seconds
        self._examples = self._seconds = 0.0
        return examples / max(seconds, 1e-9) if examples else None


def _fetch(metrics: Metrics) -> tuple[dict[str, float], float]:
    """Waits for the metrics; returns them as Python numbers, and the time."""
    values = {name: value.item() for name, value in jax.device_get(metrics).items()}
    return values, time.monotonic()


def _order(name: str) -> tuple[bool, int, str]:
    """Loss and accuracies come first, then other metrics, and those of raw parameters last."""
    first, plain = ("loss", "top1", "top5"), name.removeprefix(RAW)
    return name != plain, first.index(plain) if plain in first else len(first), plain


def _describe_evaluation(line: dict) -> str:
    told = ("split", "step", "epoch", "seconds", "loss", "top1", "top5", "examples", "skipped")
    others = [
        f", {name} {line[name]:{'.2%' if name.endswith(('top1', 'top5')) else '.4g'}}"
        for name in line
        if name not in told
    ]
    return (
        f"step {line['step']} (epoch {line['epoch']:.2f}): evaluation loss {line['loss']:.4f}, "
        f"top1 {line['top1']:.2%}, top5 {line['top5']:.2%}{''.join(others)} of {line['examples']} "
        "images"
    )


def cut_after(path: Path, step: int, write: bool = True) -> list[dict[str, Any]]:
    """Removes the lines of metrics.jsonl that follow `step`, and a last line that is half written.

    Args:
      path: of metrics.jsonl, which need not exist.
      write: False leaves the file as it is.

    Returns:
      The lines that are kept.
    """
    lines = []
    content = path.read_text(errors="replace") if path.exists() else ""
    for text in content.splitlines():
        try:
            line = json.loads(text)
            kept = line["step"] <= step and line["split"] in ("train", "eval")
        except (ValueError, TypeError, KeyError, RecursionError):
            break  # the process was killed while writing it, or the disk lost it
        if kept:
            lines.append(line)
    if write:
        write_atomically(path, "".join(json.dumps(line) + "\n" for line in lines))
    return lines
