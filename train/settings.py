"""The settings of a run: config.json, environment.json, classes.json; what may change on resume."""

import importlib.metadata
import json
import platform
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from configs import base
from configs.functions import is_reference
from configs.keys import current_keys, flat
from train.console import say
from train.durations import Intervals, to_steps
from train.errors import TrainError
from train.workspace import disk_errors, write_atomically

CONFIG, ENVIRONMENT, CLASSES = "config.json", "environment.json", "classes.json"
# Keys and sections that a resumed run may change: the model is trained alike, on whatever machine.
CHANGEABLE = (
    *("duration", "compile_cache", "data.dir", "data.manual_dir", "data.on_device", "data.workers"),
    "data.max_pixels",
    *("data.unreadable", "eval", "log", "checkpoint", "signals", "mesh", "hosts"),
)
PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "tensorflow-datasets")


def check_settings(workdir: Path, config: ConfigDict) -> None:
    """Raises TrainError if the workdir holds a run with other settings; writes nothing."""
    if not any((workdir / "checkpoints").glob("[0-9]*")) and not _has_lines(workdir):
        return  # nothing that has come of the other settings
    changed = {key: pair for key, pair in _changes(workdir, config).items() if not _may_change(key)}
    if changed:
        raise TrainError(
            f"The workdir {workdir} holds a run with other settings: {_describe(changed)}. Nothing "
            "was written. Name another folder with --workdir, or run the command with the run's "
            f"own settings; of a run that goes on, only {', '.join(CHANGEABLE)} may change. If it "
            f"is the same run all the same (its data have moved), edit {workdir / CONFIG}."
        )


def check_duration(workdir: Path, config: ConfigDict, intervals: Intervals) -> None:
    """Raises TrainError if the run in the workdir was to be longer."""
    before, _ = _changes(workdir, config).get("duration", (None, None))
    if not isinstance(before, str):
        return
    examples = round(intervals.steps_per_epoch * config.batch_size)
    steps = to_steps(before, examples, config.batch_size)
    if steps > intervals.total:
        raise TrainError(
            f"The workdir {workdir} holds a run of {before} ({steps} steps), and duration is now "
            f"{config.duration} ({intervals.total} steps). A run can be made longer, not shorter: "
            "name another folder with --workdir, or a longer duration."
        )


def write_settings(workdir: Path, config: ConfigDict) -> None:
    """Writes config.json, adds this start to environment.json, and says what has changed."""
    for path in (workdir / CONFIG, workdir / ENVIRONMENT):
        if path.exists() and _read(path) is None:
            say(f"Note: {path} cannot be read; it is written anew.")
    if changed := _changes(workdir, config):
        say(f"Note: this workdir was started with other values of {', '.join(changed)}.")
    recipe = json.dumps(config.to_dict(), indent=2)
    write_atomically(workdir / CONFIG, recipe + "\n")
    starts = _read(workdir / ENVIRONMENT)
    starts = [*starts, environment()] if isinstance(starts, list) else [environment()]
    write_atomically(workdir / ENVIRONMENT, json.dumps(starts, indent=2) + "\n")


def write_classes(workdir: Path, names: Sequence[str]) -> None:
    """Writes classes.json, the names of the classes in the order of labels, if they have names."""
    if jax.process_index() == 0 and names:
        with disk_errors(workdir):
            text = json.dumps(list(names), indent=0, ensure_ascii=False)
            write_atomically(workdir / CLASSES, text + "\n")


def class_names(workdir: Path, count: int) -> list[str]:
    """Returns a name for each of `count` classes: those of classes.json, or numbers."""
    names = _read(workdir / CLASSES)
    if isinstance(names, list) and len(names) == count:
        return [str(name) for name in names]
    return [str(number) for number in range(count)]


def environment() -> dict[str, Any]:
    """Returns versions, devices and command line of this process."""
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "command": sys.argv,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
        "devices": [str(device.device_kind) for device in jax.devices()],
        "processes": jax.process_count(),
    }


def _changes(workdir: Path, config: ConfigDict) -> dict[str, tuple[Any, Any]]:
    """{key: (value in config.json, value now)} of the values that differ.

    A key that config.json lacks had its default: it is younger than the run.
    """
    before = _read(workdir / CONFIG)
    if not isinstance(before, dict):
        return {}
    old, new = _without_folders(current_keys(before)), _without_folders(_plain(config))
    old = {key: value for key, value in _plain(base.get_config()).items() if key in new} | old
    return {
        key: (old.get(key), new.get(key))
        for key in sorted(old | new)
        if old.get(key) != new.get(key)
    }


def _plain(config: ConfigDict) -> dict[str, Any]:
    return flat(json.loads(json.dumps(config.to_dict())))


def _without_folders(values: dict[str, Any]) -> dict[str, Any]:
    """The values, in which functions of files are named without the folders of the files."""

    def shorter(value: Any) -> Any:
        if isinstance(value, list):
            return [shorter(item) for item in value]
        named = isinstance(value, str) and ".py:" in value and is_reference(value)
        return Path(value).name if named else value

    return {key: shorter(value) for key, value in values.items()}


def _may_change(key: str) -> bool:
    return any(key == name or key.startswith(f"{name}.") for name in CHANGEABLE)


def _describe(changes: dict[str, tuple[Any, Any]]) -> str:
    return ", ".join(f"{key} was {old!r} and is now {new!r}" for key, (old, new) in changes.items())


def _has_lines(workdir: Path) -> bool:
    path = workdir / "metrics.jsonl"
    return path.exists() and path.stat().st_size > 0


def _read(path: Path) -> Any:
    """The content of a JSON file, flat if it is a dict; None where it is not there or damaged.

    These files are notes: without them a run goes on.
    """
    try:
        content = json.loads(path.read_text())
        return flat(content) if isinstance(content, dict) else content
    except (OSError, ValueError, RecursionError):
        return None
