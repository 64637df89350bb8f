"""What a run tells: a progress bar, and the files that explain a workdir.

metrics.jsonl      one line a report: {"split": "train" | "eval", "step", "epoch", ...}
events.out.*       the same for TensorBoard
curves.png         the same as a picture
config.json        the recipe, all keys
environment.json   versions, devices and command line of each start
"""

import importlib.metadata
import json
import platform
import sys
import time
from pathlib import Path

import jax
from ml_collections import ConfigDict
from tqdm import tqdm

from train.checkpoint import write_whole
from train.errors import TrainError
from train.workspace import disk_errors

METRICS = "metrics.jsonl"
CURVES_EVERY = 60.0  # seconds; drawing takes one
PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "tensorflow-datasets")


class NonFiniteLoss(Exception):
    """The loss of a step was inf or nan."""

    def __init__(self, step: int, learning_rate: float):
        super().__init__(f"The loss is not finite at step {step}.")
        self.step, self.learning_rate = step, learning_rate


class Report:
    """Writes the report of one run, from `start` on; what an earlier run wrote stays.

    Training sums are fetched one stretch late, when the next one is on its way, so that the device
    never waits for the report. Only the first process writes.
    """

    def __init__(self, workdir: Path, config: ConfigDict, plan, start: int):
        self._workdir, self._plan, self._batch_size = workdir, plan, config.batch_size
        self._writes = jax.process_index() == 0
        self._pending: tuple | None = None
        self._totals: dict[str, float] = {}
        self._seconds = self._last_time = 0.0
        self._drawn = time.monotonic()
        with disk_errors(workdir):
            self.lines = cut_after(workdir / METRICS, start, write=self._writes)
            if self._writes:
                from tensorboardX import SummaryWriter

                _describe_run(workdir, config)
                self._metrics = (workdir / METRICS).open("a")
                self._events = SummaryWriter(str(workdir), purge_step=start + 1)
        self._bar = tqdm(
            total=plan.steps, initial=start, unit="step", disable=None if self._writes else True
        )

    def has_evaluation(self, step: int) -> bool:
        return any(line["split"] == "eval" and line["step"] == step for line in self.lines)

    def begin(self) -> None:
        """A stretch is about to start: its time counts from here unless another one is running."""
        if self._pending is None:
            self._last_time = time.monotonic()

    def train(self, step: int, sums) -> None:
        """Takes note of a stretch that ends at `step` and may still be running."""
        self.flush()
        self._pending = (step, sums)

    def flush(self) -> None:
        """Waits for the stretch that was noted, and reports it.

        Raises:
          NonFiniteLoss: one of its losses was not finite.
        """
        if self._pending is None:
            return
        (step, sums), self._pending = self._pending, None
        sums = {name: value.item() for name, value in jax.device_get(sums).items()}
        now = time.monotonic()
        self._seconds += now - self._last_time
        self._last_time = now
        if sums["bad_step"] >= 0:
            raise NonFiniteLoss(sums["bad_step"], sums["learning_rate"])
        for name in ("loss", "top1", "top5", "examples"):
            self._totals[name] = self._totals.get(name, 0.0) + sums[name]
        self._bar.update(step - self._bar.n)
        if self._plan.logs_at(step):
            speed = self._totals["examples"] / max(self._seconds, 1e-9)
            line = self._line("train", step, self._totals)
            line |= {"images_per_second": speed, "learning_rate": sums["learning_rate"]}
            self._totals, self._seconds = {}, 0.0
            self._write(line)
            self._bar.set_postfix_str(
                f"loss {line['loss']:.4f}, top1 {line['top1']:.2%}, {speed:.0f} images/s"
            )

    def evaluation(self, step: int, sums, skipped: int = 0) -> dict:
        """Writes an evaluation line and returns it. It holds no times, so equal runs equal it.

        Raises:
          TrainError: the loss is not finite.
        """
        sums = {name: value.item() for name, value in jax.device_get(sums).items()}
        line = self._line("eval", step, sums) | {"examples": int(sums["examples"])}
        if skipped:
            line["skipped"] = skipped
        if not abs(line["loss"]) < float("inf"):
            raise TrainError(
                f"The evaluation loss at step {step} is {line['loss']}: the model gives values "
                "that are not finite on some image. Lower schedule.learning_rate, or set "
                "optimizer.clip_norm."
            )
        self._write(line)
        self._say(
            f"step {step} (epoch {line['epoch']:.2f}): evaluation loss {line['loss']:.4f}, "
            f"top1 {line['top1']:.2%}, top5 {line['top5']:.2%} of {line['examples']} images"
        )
        if time.monotonic() - self._drawn > CURVES_EVERY:
            self.draw()
        return line

    def draw(self) -> None:
        """Draws curves.png from all lines so far."""
        if self._writes and self.lines:
            from train.curves import draw_curves

            with disk_errors(self._workdir):
                draw_curves(self.lines, self._workdir / "curves.png")
            self._drawn = time.monotonic()

    def close(self) -> None:
        self._bar.close()
        if self._writes:
            self._metrics.close()
            self._events.close()

    def _line(self, split: str, step: int, totals: dict) -> dict:
        means = {name: totals[name] / totals["examples"] for name in ("loss", "top1", "top5")}
        return {"split": split, "step": step, "epoch": step / self._plan.steps_per_epoch} | means

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

    def _say(self, text: str) -> None:
        if self._writes:
            tqdm.write(text)
            sys.stdout.flush()


def cut_after(path: Path, step: int, write: bool = True) -> list[dict]:
    """Cuts metrics.jsonl behind `step`, and a last line that is half written; returns the lines."""
    lines = []
    for text in path.read_text().splitlines() if path.exists() else ():
        try:
            line = json.loads(text)
        except ValueError:
            break  # killed while writing it
        if line["step"] <= step:
            lines.append(line)
    if write:
        write_whole(path, "".join(json.dumps(line) + "\n" for line in lines))
    return lines


def _describe_run(workdir: Path, config: ConfigDict) -> None:
    recipe = json.loads(json.dumps(config.to_dict()))
    path = workdir / "config.json"
    before = json.loads(path.read_text()) if path.exists() else recipe
    changed = sorted(key for key, value in flat(recipe).items() if flat(before).get(key) != value)
    if changed:
        print(f"Note: this workdir was started with other values of {', '.join(changed)}.")
    write_whole(path, json.dumps(recipe, indent=2) + "\n")
    path = workdir / "environment.json"
    starts = json.loads(path.read_text()) if path.exists() else []
    write_whole(path, json.dumps([*starts, environment()], indent=2) + "\n")


def flat(tree: dict, prefix: str = "") -> dict:
    """{"a": {"b": 1}} as {"a.b": 1}."""
    result = {}
    for key, value in tree.items():
        nested = isinstance(value, dict)
        result |= flat(value, f"{prefix}{key}.") if nested else {prefix + key: value}
    return result


def environment() -> dict:
    """Versions, devices and command line of this process."""
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "command": sys.argv,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
        "devices": [str(device.device_kind) for device in jax.devices()],
        "processes": jax.process_count(),
    }
