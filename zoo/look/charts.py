"""Charts of models, and the tables under them: each a picture as PNG and SVG, and its numbers."""

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from zoo import counts, registry
from zoo.look.measure import Measured
from zoo.look.pictures import figure_of, save_figure, svg_bytes

DATA = counts.TABLE.parent / "charts"
_HOVER = re.compile(r'<g id="hover: ([^"]*)">')
_LABELLED = 40  # models at most that are all named in a picture; of more those that nothing beats
Row = Mapping[str, Any]


def model_rows(infos: Iterable[registry.Info]) -> list[dict[str, Any]]:
    """One row of figures for each model whose accuracy is known, cheapest first."""
    rows = []
    for info in infos:
        if info.top1 is None or info.protocol is None:
            continue
        counted = counts.known(info.name)
        rows.append(
            {
                "model": info.name,
                "family": info.family,
                "year": info.year,
                "image_size": info.image_size,
                "params": counted.params,
                "macs": counted.macs,
                "top1": info.top1,
                "top5": info.top5,
                "top1_per_million_params": info.top1 / (counted.params / 1e6),
                **info.protocol._asdict(),
                "source": info.accuracy_source,
            }
        )
    return sorted(rows, key=lambda row: row["macs"])


def read_rows(name: str) -> list[dict[str, str]]:
    """The rows of a table that comes with the package: "transformers", "senet" or "ilsvrc"."""
    with (DATA / f"{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def hover(text: str) -> str:
    """An id for what is drawn; `save_chart` makes of it what a browser shows under the mouse."""
    return f"hover: {text}"


class Chart(NamedTuple):
    """A picture and its numbers.

    Attributes:
      figure: The figure of matplotlib.
      rows: Rows of the same columns.
    """

    figure: Any
    rows: Sequence[Row]


def chart_svg(chart: Chart) -> bytes:
    """Returns a chart as an SVG file, in which the mouse finds what each thing is; closes it."""
    text = svg_bytes(chart.figure).decode()
    return _HOVER.sub(lambda group: f"<g><title>{group[1]}</title>", text).encode()


def save_chart(chart: Chart, path: Path) -> None:
    """Writes path.png, path.svg and, with the numbers, path.csv."""
    file = io.StringIO()
    writer = csv.DictWriter(file, list(chart.rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(chart.rows)
    _write(path.with_name(f"{path.name}.csv"), file.getvalue().encode())
    save_figure(chart.figure, path.with_name(f"{path.name}.png"))
    _write(path.with_name(f"{path.name}.svg"), chart_svg(chart))


def save_page(folder: Path, names: Sequence[str]) -> None:
    """Writes charts.html: the charts of a folder on one page, where the mouse names each thing."""
    parts = [
        '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<title>Charts</title>',
        "<style>object { display: block; max-width: 100%; margin: 1em auto }</style>",
    ]
    for name in names:
        link = f'<a href="{name}.csv">{name}: the numbers</a>'
        parts.append(f'<object data="{name}.svg" type="image/svg+xml" aria-label="{name}">')
        parts.append(f"</object>\n<p>{link}</p>")
    _write(folder / "charts.html", "\n".join([*parts, "</html>\n"]).encode())


def _write(path: Path, content: bytes) -> None:
    """Writes a file, which appears whole or not at all."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def accuracy(rows: Sequence[Row]) -> Chart:
    """Top-1 over multiply-adds; the area of a blob is the number of parameters (Canziani 2017)."""
    chart, axis = figure_of(1, 1, (11, 7))
    _blobs(axis, rows, "macs", "top1", 1e9)
    axis.set(xscale="log", xlabel="multiply-adds of one image, in 1e9", ylabel="top-1, %")
    return Chart(chart, rows)


def density(rows: Sequence[Row]) -> Chart:
    """Top-1 per million parameters over top-1 (Bianco 2018)."""
    chart, axis = figure_of(1, 1, (11, 7))
    _blobs(axis, rows, "top1", "top1_per_million_params", 1)
    axis.set(yscale="log", xlabel="top-1, %", ylabel="top-1, % per million parameters")
    return Chart(chart, rows)


def _blobs(axis: Any, rows: Sequence[Row], x: str, y: str, unit: float) -> None:
    """A blob for each model, coloured by family."""
    families, shown = sorted({row["family"] for row in rows}), set()
    named = {row["model"] for row in (rows if len(rows) <= _LABELLED else _unbeaten(rows))}
    for row in rows:
        number, place = families.index(row["family"]), (row[x] / unit, row[y])
        text = f"{row['model']}: {row['top1']:.2f} %, {row['params'] / 1e6:.4g} M parameters, "
        text += f"{row['macs'] / 1e9:.4g} G multiply-adds"
        axis.scatter(
            *([value] for value in place),
            s=max(8.0, row["params"] / 2e5),
            color=f"C{number % 10}",
            marker="os^Dv"[number // 10 % 5],
            alpha=0.6,
            label=None if row["family"] in shown else row["family"],
            gid=hover(text),
        )
        shown.add(row["family"])
        if row["model"] in named:
            axis.annotate(row["model"], place, fontsize=7)
    axis.grid(alpha=0.3)
    if len(families) > 1:
        legend = axis.legend(fontsize=6, ncols=1 + len(families) // 16, loc="best")
        for handle in legend.legend_handles:
            handle.set_sizes([30])


def _unbeaten(rows: Sequence[Row]) -> list[Row]:
    """The models than which none has both fewer multiply-adds and a better accuracy."""
    best, found = float("-inf"), []
    for row in sorted(rows, key=lambda row: row["macs"]):
        if row["top1"] > best:
            best = row["top1"]
            found.append(row)
    return found


def transformers() -> Chart:
    """The survey's table of transformers and ConvNeXts: its figures, and what is counted here."""
    rows = []
    for row in read_rows("transformers"):
        ours = counts.known(row["model"], int(row["image_size"]))
        rows.append(row | {"params_counted": ours.params, "macs_counted": ours.macs})
    chart, axis = figure_of(1, 1, (11, 7))
    for row in rows:
        text = f"{row['name']}: {row['top1']} %, {row['params_m']} M parameters"
        style: dict[str, Any] = dict(color="C0" if not row["pretraining"] else "C1", alpha=0.6)
        place = row["macs_counted"] / 1e9, float(row["top1"])
        axis.scatter(*([v] for v in place), s=row["params_counted"] / 2e5, gid=hover(text), **style)
        axis.annotate(row["name"], place, fontsize=6)
        if row["gmacs"]:
            axis.plot([float(row["gmacs"]), place[0]], [place[1]] * 2, lw=1, **style)
    title = "blobs: counted here; lines: to the survey's figure; orange: ImageNet-22k before"
    axis.set(
        xscale="log", xlabel="multiply-adds of one image, in 1e9", ylabel="top-1, %", title=title
    )
    axis.grid(alpha=0.3)
    return Chart(chart, rows)


def senet() -> Chart:
    """The table of squeeze-and-excitation: an arrow from each network to the one with gates."""
    rows = []
    for row in read_rows("senet"):
        ours = counts.known(row["model"])
        plain = ours.macs - ours.gate_macs
        rows.append(row | {"plain_macs_counted": plain, "se_macs_counted": ours.macs})
    chart, axis = figure_of(1, 1, (9, 6))
    for row in rows:
        start = row["plain_macs_counted"] / 1e9, float(row["plain_top1_error"])
        end = row["se_macs_counted"] / 1e9, float(row["se_top1_error"])
        axis.annotate("", end, start, arrowprops={"arrowstyle": "->"})
        for place, color, kind in ((start, "C0", "plain"), (end, "C1", "with gates")):
            text = f"{row['name']}, {kind}: {place[1]} % error, {place[0]:.4g} G multiply-adds"
            axis.scatter(*([value] for value in place), color=color, gid=hover(text))
        axis.annotate(row["name"], start, fontsize=8)
    axis.set(xlabel="multiply-adds of one image, in 1e9", ylabel="top-1 error, %")
    axis.grid(alpha=0.3)
    return Chart(chart, rows)


def ilsvrc() -> Chart:
    """ILSVRC by year: top-5 error of the best entries as bars, depth as a line."""
    rows = []
    for row in read_rows("ilsvrc"):
        depth = counts.known(row["model"]).depth if row["model"] else ""
        rows.append(row | {"depth_counted": depth})
    chart, axis = figure_of(1, 1, (10, 6))
    names = [f"{row['entry']}\n{row['year']}" for row in rows]
    errors = [float(row["top5_error"]) for row in rows]
    axis.bar_label(axis.bar(range(len(rows)), errors, color="C0", alpha=0.7))
    axis.set(ylabel="top-5 error, %", xticks=range(len(rows)), xticklabels=names)
    other = axis.twinx()
    deep = [(place, row["depth_counted"]) for place, row in enumerate(rows) if row["model"]]
    other.plot(*zip(*deep, strict=True), "o-", color="C1")
    for place, depth in deep:
        other.annotate(
            str(depth), (place, depth), color="C1", xytext=(0, 6), textcoords="offset points"
        )
    other.set(ylabel="layers with weights")
    return Chart(chart, rows)


# Charts of what is measured: (column, label, factor from the measured unit).
_BY_BATCH: dict[str, tuple[str, str, float]] = {
    "time": ("seconds", "forward time of a batch, ms", 1e3),
    "throughput": ("images_per_second", "images per second", 1.0),
    "memory": ("memory", "memory at the peak, MiB", 2**-20),
    "energy": ("joules", "energy of a batch, J", 1.0),
}


def measured(found: Sequence[Measured]) -> dict[str, Chart]:
    """Time, throughput, memory and energy over batch size, and operations over time, by name.

    What the system does not tell has no chart.
    """
    rows = []
    for one in found:
        operations = {
            "macs": counts.known(one.model).macs,
            "images_per_second": one.images_per_second,
        }
        rows.append(one._asdict() | operations)
    drawn = {}
    for name, (column, label, factor) in _BY_BATCH.items():
        if any(row[column] is None for row in rows):
            continue
        chart, axis = figure_of(1, 1, (8, 5))
        for model in dict.fromkeys(row["model"] for row in rows):
            own = [row for row in rows if row["model"] == model]
            values = [row[column] * factor for row in own]
            axis.plot([row["batch"] for row in own], values, "o-", label=model)
        axis.set(xscale="log", yscale="log", xlabel="images in a batch", ylabel=label)
        axis.set_xticks(sorted({row["batch"] for row in rows}), minor=False)
        axis.xaxis.set_major_formatter("{x:g}")
        axis.grid(alpha=0.3)
        axis.legend()
        drawn[name] = Chart(chart, rows)
    chart, axis = figure_of(1, 1, (8, 5))
    for row in rows:
        place = 1e3 * row["seconds"] / row["batch"], row["macs"] / 1e9
        text = f"{row['model']}, {row['batch']} images: {place[0]:.3g} ms, {place[1]:.3g} G"
        axis.scatter(*([value] for value in place), s=10 + 4 * row["batch"], gid=hover(text))
        axis.annotate(f"{row['model']} ({row['batch']})", place, fontsize=7)
    axis.set(
        xscale="log",
        yscale="log",
        xlabel="forward time of one image, ms (in brackets: images in the batch)",
        ylabel="multiply-adds of one image, in 1e9",
    )
    axis.grid(alpha=0.3)
    return drawn | {"operations": Chart(chart, rows)}
