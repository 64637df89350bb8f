"""Computes the chapter on transformers and ConvNeXt."""

import csv
from pathlib import Path

import jax
import jax.numpy as jnp

import zoo
from zoo import macs, registry
from zoo.look import charts
from zoo.tables import Column, Group, render


def counted(name: str, image_size: int) -> tuple[int, int]:
    """The numbers of parameters and of multiply-adds of a model at an image size."""
    variables = registry.abstract_variables(name, image_size)
    image = jax.ShapeDtypeStruct((1, image_size, image_size, 3), jnp.float32)
    products = macs.count(zoo.create(name).apply, variables, image)
    return sum(leaf.size for leaf in jax.tree.leaves(variables["params"])), products


def survey(compare) -> str:
    """The survey's table, and ConvNeXt's: their figures, what is counted here, and remarks."""
    names = ("model", "ours", "image", "parameters", "here", "", "GFLOPs", "here", "")
    columns = [Column(name) for name in (*names, "top-1 %", "quoted here", "")]
    with (Path(__file__).parent / "remarks.csv").open(newline="") as file:
        remarks = {row["name"]: row["remark"] for row in csv.DictReader(file)}
    found: dict[tuple[str, int], tuple[int, int]] = {}
    rows = []
    for row in charts.read_rows("transformers"):
        key = row["model"], int(row["image_size"])
        if key not in found:
            found[key] = counted(*key)
        cells = []
        for figure, unit, value in zip(
            (row["params_m"], row["gmacs"]), "MG", found[key], strict=True
        ):
            shown = f"{figure} {unit}" if figure else ""
            mark, text = compare(shown or f"0.0 {unit}", value)
            cells += [shown, text, mark if figure else "–"]
        info = zoo.info(row["model"])
        quoted = f"{info.top1:.1f} ({info.protocol})" if info.top1 else ""
        rows.append(
            (row["name"], f"`{row['model']}`", key[1], *cells, row["top1"], quoted)
            + (remarks.get(row["name"], ""),)
        )
    return render(columns, [Group("", rows)], "markdown")


def cait() -> dict:
    """What the printed parameters of CaiT are: multiply-adds at 384 pixels."""
    small, large = counted("cait_s24", 384), counted("cait_s36", 384)
    return {
        "s24": small[0],
        "s24_macs": small[1],
        "s36": large[0],
        "s36_macs": large[1],
    }


def picture() -> bytes:
    return charts.chart_svg(charts.transformers())
