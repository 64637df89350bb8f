"""python -m zoo charts: pictures of what accuracy costs, counted, published and measured here."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

KINDS = ("accuracy", "density", "transformers", "senet", "ilsvrc")


def add_command(commands: Any) -> None:
    """Adds the command to the parsers of `python -m zoo`."""
    charts = commands.add_parser("charts", help="what accuracy costs, as pictures and tables")
    add = charts.add_argument
    add("pattern", nargs="?", default="*", help='models of "accuracy" and "density" (all)')
    add("--out", default="charts", help="folder of the files (charts)")
    add("--only", default=",".join(KINDS), help=f"charts ({','.join(KINDS)})")
    add("--source", default="", help="only accuracies of this source, such as torchvision")
    add("--crops", type=int, help="only accuracies of so many crops of each image, such as 1")
    add("--pixels", type=int, help="only accuracies of crops of so many pixels, such as 224")
    add("--no_distilled", action="store_true", help="without weights that learnt from others")
    add("--no_pretraining", action="store_true", help="without weights that saw more data")
    what = "measure these models here, separated by commas: time, memory, energy"
    add("--measure", default="", help=what)
    add("--batches", default="1,2,4,8,16", help="numbers of images to measure (1,2,4,8,16)")


def run(options: argparse.Namespace) -> int:
    """Runs the command; returns the exit status."""
    try:
        folder = Path(options.out).expanduser()
        for name in _draw(options, folder):
            print(f"{folder / name}: .png, .svg, .csv")
        print(folder / "charts.html")
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _draw(options: argparse.Namespace, folder: Path) -> list[str]:
    """Draws what the options ask for; returns the names of the charts."""
    from zoo.look import charts

    kinds = [kind for kind in options.only.split(",") if kind]
    if unknown := sorted(set(kinds) - set(KINDS)):
        raise ValueError(f"--only={','.join(unknown)}: charts are {', '.join(KINDS)}.")
    folder.mkdir(parents=True, exist_ok=True)
    if options.measure:
        return _measure(options, folder)
    rows = charts.model_rows(_chosen(options)) if {"accuracy", "density"} & set(kinds) else []
    draw: dict[str, Callable[[], charts.Chart]] = {
        "accuracy": lambda: charts.accuracy(rows),
        "density": lambda: charts.density(rows),
        "transformers": charts.transformers,
        "senet": charts.senet,
        "ilsvrc": charts.ilsvrc,
    }
    for kind in kinds:
        charts.save_chart(draw[kind](), folder / kind)
    charts.save_page(folder, kinds)
    return kinds


def _chosen(options: argparse.Namespace) -> list:
    """The models for ImageNet whose accuracy was measured in the way that is asked for."""
    from zoo import registry

    def fits(info: registry.Info) -> bool:
        protocol = info.protocol
        return (
            protocol is not None
            and info.image_size > 64  # ImageNet's
            and options.source in info.accuracy_source
            and options.crops in (None, protocol.crops)
            and options.pixels in (None, protocol.pixels)
            and not (options.no_distilled and protocol.distilled)
            and not (options.no_pretraining and protocol.pretraining)
        )

    chosen = [i for i in map(registry.info, registry.list_models(options.pattern)) if fits(i)]
    if not chosen:
        raise ValueError(f"No ImageNet model {options.pattern} has an accuracy of this protocol.")
    return chosen


def _measure(options: argparse.Namespace, folder: Path) -> list[str]:
    from zoo.look import charts
    from zoo.look.measure import measure

    try:
        batches = [int(batch) for batch in options.batches.split(",")]
    except ValueError:
        batches = []
    if not batches or min(batches) < 1:
        raise ValueError(f"--batches={options.batches}: numbers of images, such as 1,2,4.")
    found = []
    for name in options.measure.split(","):
        for one in measure(name, batches):
            memory = "" if one.memory is None else f", {one.memory / 2**20:.0f} MiB"
            energy = "" if one.joules is None else f", {one.joules:.3g} J"
            print(f"{name}, {one.batch} images: {one.seconds * 1e3:.4g} ms{memory}{energy}")
            found.append(one)
    drawn = charts.measured(found)
    for kind, chart in drawn.items():
        charts.save_chart(chart, folder / kind)
    charts.save_page(folder, [*drawn])
    for kind, why in {
        "memory": "the system does not say the memory of a process at its peak",
        "energy": "the system shows no counter of the processor's energy (RAPL) to this process",
    }.items():
        if kind not in drawn:
            print(f"{kind} is missing: {why}.")
    return list(drawn)
