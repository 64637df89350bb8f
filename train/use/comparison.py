"""Compares runs: figures with their mean and spread over seeds, and their curves in one picture."""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from configs import base
from configs.keys import current_keys, flat
from train.errors import TrainError
from train.report import METRICS, cut_after
from train.settings import CONFIG

# Keys that say where and how a run was computed, and nothing about its result.
_OF_NO_ACCOUNT = ("seed", "compile_cache", "data.dir", "data.manual_dir", "data.workers", "signals")


@dataclass(frozen=True)
class Run:
    """What the folder of a run says.

    Attributes:
      folder: of the run.
      settings: of config.json, by dotted names; {} if it cannot be read.
      train, evaluation: lines of metrics.jsonl.
    """

    folder: Path
    settings: dict[str, Any]
    train: list[dict[str, Any]]
    evaluation: list[dict[str, Any]]


@dataclass(frozen=True)
class Group:
    """Runs that differ in their seed only.

    Attributes:
      name: what they are called in tables and pictures.
      runs: one for each seed.
    """

    name: str
    runs: tuple[Run, ...]

    def spread(self, figure: str, best: bool = False) -> tuple[float, float]:
        """Returns mean and standard deviation of a figure of the last evaluation; nan for none.

        Args:
          figure: name of the figure; "train_loss" is that of the last line of training.
          best: the best evaluation instead of the last: lowest for losses, highest for others.
        """
        values = [value for run in self.runs if (value := _figure(run, figure, best)) is not None]
        if not values:
            return float("nan"), float("nan")
        return statistics.fmean(values), statistics.stdev(values) if values[1:] else float("nan")


def open_groups(folders: Sequence[str]) -> list[Group]:
    """Returns the runs in the order of the folders; those that differ in their seed only together.

    Args:
      folders: each is a run, or holds runs, such as those of several seeds that `--seeds` makes.

    Raises:
      TrainError: a folder is neither, or a run has no evaluation.
    """
    groups: dict[str, list[Run]] = {}
    for folder in map(Path, folders):
        folder = folder.expanduser()
        inside = [folder] if (folder / METRICS).is_file() else _runs_in(folder)
        if not inside:
            raise TrainError(f"{folder} is not the folder of a run: it has no {METRICS}.")
        runs = [read_run(path) for path in inside]
        name = str(folder) if all(_settings(x) == _settings(runs[0]) for x in runs) else ""
        for run in runs:
            groups.setdefault(_alike(run, groups) or name or str(run.folder), []).append(run)
    return [Group(_name(name, runs), tuple(runs)) for name, runs in groups.items()]


def _name(name: str, runs: Sequence[Run]) -> str:
    """The folder of `--seeds` where all runs are in it, and else the name that a group has."""
    (parent, *others) = {run.folder.parent for run in runs}
    seeds = all(run.folder.name.startswith("seed-") for run in runs)
    return str(parent) if seeds and not others and runs[1:] else name


def _runs_in(folder: Path) -> list[Path]:
    return sorted(path.parent for path in folder.glob(f"*/{METRICS}"))


def read_run(folder: Path) -> Run:
    """Returns what the folder of a run says.

    Raises:
      TrainError: there is no evaluation in it.
    """
    lines = cut_after(folder / METRICS, 2**62, write=False)
    lines = [line for line in lines if isinstance(line.get("epoch"), (int, float))]
    try:
        settings = current_keys(flat(json.loads((folder / CONFIG).read_text())))
        settings = flat(base.get_config().to_dict()) | settings
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        settings = {}
    train, evaluation = ([x for x in lines if x["split"] == s] for s in ("train", "eval"))
    if not evaluation:
        raise TrainError(f"The run in {folder} has not been evaluated so far.")
    return Run(folder, settings, train, evaluation)


def differences(groups: Sequence[Group]) -> dict[str, list[Any]]:
    """Returns {key: value in each group} of the settings in which groups differ."""
    settings = [group.runs[0].settings for group in groups]
    return {
        key: [of_group.get(key) for of_group in settings]
        for key in sorted(set().union(*settings))
        if not _passed_over(key) and len({_text(of_group.get(key)) for of_group in settings}) > 1
    }


def rows(groups: Sequence[Group], figures: Sequence[str]) -> list[dict[str, Any]]:
    """Returns a row for each group: name, seeds, steps, figures, and the settings that differ.

    A figure F has the columns F, F_spread and best_F: mean and standard deviation over the seeds of
    the last evaluation, and the mean of the best.
    """
    different = differences(groups)
    table = []
    for number, group in enumerate(groups):
        row: dict[str, Any] = {
            "run": group.name,
            "seeds": len(group.runs),
            "steps": max(run.evaluation[-1]["step"] for run in group.runs),
        }
        for figure in figures:
            row[figure], row[f"{figure}_spread"] = group.spread(figure)
            row[f"best_{figure}"], _ = group.spread(figure, best=True)
        row["train_loss"], _ = group.spread("train_loss")
        row["images_per_second"], _ = group.spread("images_per_second")
        table.append(row | {key: values[number] for key, values in different.items()})
    return table


def as_text(table: Sequence[Mapping[str, Any]]) -> str:
    """Returns rows as a table for people: a spread stands behind its figure, accuracies in %."""
    shown = []
    for row in table:
        line: dict[str, str] = {}
        for key, value in row.items():
            figure, is_spread = key.removesuffix("_spread"), key.endswith("_spread")
            percent = figure.removeprefix("best_").removeprefix("raw_") in ("top1", "top5")
            text = _number(value, percent) if isinstance(value, float) else _text(value)
            if is_spread and figure in line:
                line[figure] += f" ± {text}" if text != "-" else ""
            else:
                line[key] = text
        shown.append(line)
    widths = {key: max(len(key), *(len(line[key]) for line in shown)) for key in shown[0]}
    lines = ["  ".join(f"{key:{width}}" for key, width in widths.items())]
    lines += ["  ".join(f"{line[key]:{width}}" for key, width in widths.items()) for line in shown]
    return "\n".join(line.rstrip() for line in lines)


def draw(groups: Sequence[Group], path: Path, figure: str = "top1") -> None:
    """Draws loss in training and a figure of the evaluation over epochs, a colour a group.

    Lines are means over the seeds, and bands reach from the lowest to the highest seed.
    """
    from zoo.look.pictures import figure_of, save_figure

    error = figure in ("top1", "top5")
    panes, axes = figure_of(1, 3, (16, 4.5))
    titles = "training loss", "evaluation loss", f"{figure} error, %" if error else figure
    for number, group in enumerate(groups):
        for axis, split, key in zip(
            axes, ("train", "evaluation", "evaluation"), ("loss", "loss", figure), strict=True
        ):
            epochs, values = _curves([getattr(run, split) for run in group.runs], key)
            values = 100 * (1 - values) if axis is axes[2] and error else values
            if not len(epochs):
                continue
            colour, label = f"C{number % 10}", f"{group.name} ({len(group.runs)})"
            axis.plot(epochs, values.mean(0), color=colour, label=label)
            axis.fill_between(epochs, values.min(0), values.max(0), color=colour, alpha=0.2, lw=0)
    for axis, title in zip(axes, titles, strict=True):
        axis.set(title=title, xlabel="epoch")
        axis.grid(alpha=0.3)
        drawn = [line.get_ydata() for line in axis.get_lines()]
        if title.endswith(("loss", "%")) and all((np.asarray(y) > 0).all() for y in drawn):
            axis.set_yscale("log")
    axes[1].legend()  # every run has been evaluated, and a short one not logged
    save_figure(panes, path)


def _curves(lines: Sequence[list[dict]], key: str) -> tuple[np.ndarray, np.ndarray]:
    """Epochs [N] and values [runs, N] at the steps that all runs have reported."""
    by_step = [{x["step"]: x for x in run if isinstance(x.get(key), (int, float))} for run in lines]
    steps = sorted(set.intersection(*map(set, by_step))) if by_step else []
    epochs = np.array([by_step[0][step]["epoch"] for step in steps])
    return epochs, np.array([[run[step][key] for step in steps] for run in by_step])


def _figure(run: Run, figure: str, best: bool) -> float | None:
    if figure in ("train_loss", "images_per_second"):
        key = "loss" if figure == "train_loss" else figure
        found = [line[key] for line in run.train if isinstance(line.get(key), (int, float))]
        if not found:
            return None
        return found[-1] if figure == "train_loss" else statistics.median(found)
    found = [line[figure] for line in run.evaluation if isinstance(line.get(figure), (int, float))]
    if not found:
        return None
    if best:
        return min(found) if figure.endswith("loss") else max(found)
    return found[-1]


def _alike(run: Run, groups: Mapping[str, list[Run]]) -> str | None:
    """The group whose settings a run has but for the seed."""

    same = (name for name, runs in groups.items() if _settings(runs[0]) == _settings(run))
    return next(same, None) if run.settings else None


def _settings(run: Run) -> dict[str, str]:
    return {key: _text(value) for key, value in run.settings.items() if not _passed_over(key)}


def _passed_over(key: str) -> bool:
    return any(key == name or key.startswith(f"{name}.") for name in _OF_NO_ACCOUNT)


def _number(value: float, percent: bool) -> str:
    if value != value:
        return "-"
    if percent:
        return f"{100 * value:.2f}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
