"""The studies of configs/README.md: trains what is missing on (Fashion-)MNIST, then reports.

    python benchmarks/studies.py --out=studies [--only=degradation,lenet] [--data_dir=...]
    python benchmarks/studies.py --out=studies --report

Each run is a process of `python -m train`, as a user starts it; a row of studies/results.csv is
written when it is done, and a command that is started again goes on where it was stopped, in the
middle of a run too. --report writes the tables into configs/README.md and the pictures into docs.
"""

import argparse
import csv
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from zoo.look.pictures import figure_of, save_figure

ROOT = Path(__file__).parents[1]
FIELDS = ("study", "recipe", "seed", "top1", "loss", "train_loss", "seconds", "sittings")
SHORT = "6 epochs"  # of the degradation study, to keep its 56 layers within half an hour

PARTS = ("resnet20", "mixup", "cutmix", "ema", "smoothing", "randaugment", "se")
DEPTHS = ("resnet20", "resnet56", "plain20", "plain56")
SHORTCUTS = ("identity", "constant", "constant_both", "exclusive_gating", "shortcut_gating")
SHORTCUTS += ("conv", "dropout")
START, END = "<!-- {}: begin -->\n", "<!-- {}: end -->\n"


class Run(NamedTuple):
    """One training of a study."""

    study: str
    recipe: str
    seed: int
    settings: tuple[str, ...] = ()

    @property
    def folder(self) -> str:
        """Name of its workdir."""
        return f"{self.study}/{self.recipe.replace(':', '_')}/seed_{self.seed}"


def runs() -> list[Run]:
    """All runs, seed by seed, so that what is there first is worth reading."""
    short = (f"--config.duration={SHORT}",)
    found = [Run("lenet", "lenet_augmented", seed) for seed in range(3)]
    found += [Run("ensemble", "lenet", seed) for seed in range(7)]
    found += [Run("parts", f"resnet20_fashion:{PARTS[0]}", seed) for seed in range(3)]
    found += [Run("shortcuts", f"resnet20_fashion:{name}", 0) for name in SHORTCUTS]
    for seed in range(3):
        found += [Run("degradation", f"resnet20_fashion:{name}", seed, short) for name in DEPTHS]
    for seed in range(3):
        found += [Run("parts", f"resnet20_fashion:{name}", seed) for name in PARTS[1:]]
    return found


def train(run: Run, out: Path, data_dir: str) -> dict[str, Any]:
    """Trains, or goes on with, a run; returns its row."""
    workdir = out / run.folder
    command = [sys.executable, "-m", "train", f"--config=configs/{run.recipe}".replace(":", ".py:")]
    if ":" not in run.recipe:
        command[-1] += ".py"
    command += [f"--workdir={workdir}", f"--config.seed={run.seed}", *run.settings]
    command += [f"--config.data.dir={data_dir}"] if data_dir else []
    start = time.perf_counter()
    sittings = 1 + (workdir / "metrics.jsonl").exists()
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - start
    lines = read_metrics(workdir)
    training = [line for line in lines if line["split"] == "train"]
    last = [line for line in lines if line["split"] != "train"][-1]
    # The mean of the last epoch: a line is a hundred steps.
    ends = [line["loss"] for line in training if line["epoch"] > last["epoch"] - 1]
    row = dict(zip(FIELDS, (*run[:3], last["top1"], last["loss"]), strict=False))
    row |= {"train_loss": statistics.fmean(ends), "seconds": round(seconds, 1)}
    return row | {"sittings": sittings}


def read_metrics(workdir: Path) -> list[dict[str, Any]]:
    """The lines of a run's metrics.jsonl."""
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def read_results(path: Path) -> list[dict[str, str]]:
    """The rows that are there."""
    if not path.exists():
        return []
    with path.open() as file:
        return list(csv.DictReader(file))


def train_missing(out: Path, only: Sequence[str], data_dir: str) -> None:
    """Trains what has no row yet."""
    path = out / "results.csv"
    for run in runs():
        if row_of(run, read_results(path)) or (only and run.study not in only):
            continue
        row = train(run, out, data_dir)
        append(path, row)


def evaluate_ensembles(out: Path) -> None:
    """Evaluates the first one, two ... seven LeNets together; keeps what is there."""
    folders = [out / run.folder for run in runs() if run.study == "ensemble"]
    path = out / "ensembles.csv"
    done = {row["members"] for row in read_results(path)}
    for members in range(1, len(folders) + 1):
        if str(members) in done or not all((f / "model.safetensors").exists() for f in folders):
            continue
        chosen = ",".join(map(str, folders[:members]))
        command = [sys.executable, "-m", "train.evaluate", f"--workdir={chosen}", "--ensemble"]
        (out / "one.csv").unlink(missing_ok=True)
        command += [f"--results={out / 'one.csv'}", "--batch_size=500"]
        subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        append(path, {"members": members, "top1": read_results(out / "one.csv")[-1]["top1"]})


def append(path: Path, row: dict[str, Any]) -> None:
    """Adds a row to a CSV file, which begins with the names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        writer = csv.DictWriter(file, row, lineterminator="\n")
        if not file.tell():
            writer.writeheader()
        writer.writerow(row)
    print(" ".join(f"{name}={value}" for name, value in row.items()), flush=True)


def tables(out: Path) -> dict[str, str]:
    """The tables of configs/README.md, in Markdown; of what has rows."""
    rows = read_results(out / "results.csv")
    found = {}
    for study in dict.fromkeys(row["study"] for row in rows):
        groups: dict[str, list[dict[str, str]]] = {}
        for row in rows:
            if row["study"] == study:
                groups.setdefault(row["recipe"], []).append(row)
        lines = ["| recipe | seeds | top-1, % | training loss | minutes |"]
        lines += ["| --- | ---: | ---: | ---: | ---: |"]
        for recipe, ones in groups.items():
            top1 = spread([100 * float(row["top1"]) for row in ones], 2)
            loss = spread([float(row["train_loss"]) for row in ones], 4)
            minutes = [float(row["seconds"]) / 60 for row in ones if row["sittings"] == "1"]
            took = f"{statistics.median(minutes):.1f}" if minutes else "-"
            lines.append(f"| `{recipe}` | {len(ones)} | {top1} | {loss} | {took} |")
        found[study] = "\n".join(lines)
    if ensembles := read_results(out / "ensembles.csv"):
        members = " | ".join(row["members"] for row in ensembles)
        top1 = " | ".join(f"{100 * float(row['top1']):.2f}" for row in ensembles)
        rule = " | ".join("---:" for _ in ensembles)
        found["ensembles"] = f"| members | {members} |\n| --- | {rule} |\n| top-1, % | {top1} |"
    return found


def spread(values: Sequence[float], digits: int) -> str:
    """Mean and standard deviation over the seeds, "93.10 ± 0.12"; of one, the value."""
    mean = f"{statistics.fmean(values):.{digits}f}"
    return f"{mean} ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else mean


def write_tables(page: Path, found: dict[str, str]) -> None:
    """Puts each table between its marks in a page."""
    text = page.read_text()
    for name, table in found.items():
        start, end = START.format(name), END.format(name)
        before, _, rest = text.partition(start)
        _, _, after = rest.partition(end)
        text = f"{before}{start}\n{table}\n\n{end}{after}"
    page.write_text(text)


def draw(out: Path, docs: Path) -> None:
    """Draws the studies: curves of degradation, bars of parts and shortcuts, the ensembles."""
    rows = read_results(out / "results.csv")
    figure, axes = figure_of(1, 2, (11, 4))
    axes[1].sharey(axes[0])
    done = [run for run in runs() if run.study == "degradation" and row_of(run, rows)]
    for run in done:
        name = run.recipe.split(":")[1]
        axis = axes[0] if name.startswith("plain") else axes[1]
        lines = [x for x in read_metrics(out / run.folder) if x["split"] == "train"]
        deep = name.endswith("56")
        style = {"color": "C3" if deep else "C0", "lw": 1.6 if deep else 1.0, "alpha": 0.8}
        label = name if run.seed == 0 else None
        axis.plot([x["epoch"] for x in lines], [x["loss"] for x in lines], label=label, **style)
    for axis, title in zip(axes, ("without shortcuts", "with shortcuts"), strict=True):
        axis.set(title=title, xlabel="epoch", ylabel="training loss", yscale="log")
        axis.grid(alpha=0.3)
        axis.legend()
    save_figure(figure, docs / "studies_degradation.png")

    for study in ("parts", "shortcuts"):
        of_study = [row for row in rows if row["study"] == study]
        names = list(dict.fromkeys(row["recipe"].split(":")[1] for row in of_study))
        figure, axis = figure_of(1, 1, (8, 0.5 * len(names) + 1.2))
        for place, name in enumerate(names):
            errors = [
                100 * (1 - float(row["top1"]))
                for row in of_study
                if row["recipe"].endswith(f":{name}")
            ]
            axis.plot(errors, [place] * len(errors), "o", color="C0", alpha=0.5)
            axis.plot(statistics.fmean(errors), place, "|", color="C3", ms=22, mew=2)
        axis.set(xlabel="top-1 error, %", yticks=range(len(names)), yticklabels=names)
        axis.invert_yaxis()
        axis.grid(alpha=0.3)
        save_figure(figure, docs / f"studies_{study}.png")

    ensembles = read_results(out / "ensembles.csv")
    figure, axis = figure_of(1, 1, (6, 4))
    members = [int(row["members"]) for row in ensembles]
    axis.plot(
        members, [100 * (1 - float(row["top1"])) for row in ensembles], "o-", label="ensemble"
    )
    singles = [100 * (1 - float(row["top1"])) for row in rows if row["study"] == "ensemble"]
    axis.plot(range(1, 1 + len(singles)), singles, "x", color="grey", label="each network alone")
    axis.set(xlabel="networks", ylabel="top-1 error on MNIST, %")
    axis.grid(alpha=0.3)
    axis.legend()
    save_figure(figure, docs / "studies_ensemble.png")


def row_of(run: Run, rows: Iterable[dict[str, str]]) -> dict[str, str] | None:
    """The row of a run, None if it is not done."""
    key = (run.study, run.recipe, str(run.seed))
    return next((row for row in rows if (row["study"], row["recipe"], row["seed"]) == key), None)


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("studies"), help="folder of the runs")
    parser.add_argument("--only", default="", help="studies, with commas")
    parser.add_argument("--data_dir", default="", help="folder of prepared data sets")
    parser.add_argument("--report", action="store_true", help="only report")
    given = parser.parse_args()
    if not given.report:
        train_missing(given.out.resolve(), [x for x in given.only.split(",") if x], given.data_dir)
        evaluate_ensembles(given.out.resolve())
    else:
        write_tables(ROOT / "configs/README.md", tables(given.out))
        draw(given.out, ROOT / "docs")


if __name__ == "__main__":
    main()
