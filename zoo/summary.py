"""A model layer by layer: shapes, receptive fields, parameters, multiply-adds, memory."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

from zoo import tables
from zoo.look.receptive_field import ReceptiveField
from zoo.traced_layers import STEPS, Layer, layers, trace

__all__ = ["COLUMNS", "STEPS", "Layer", "layers", "table"]

COLUMNS = (
    *("layer", "kind", "kernel", "stride", "padding", "output", "field", "jump"),
    *("parameters", "MACs", "weights", "activations", "training"),
)


def table(
    name: str,
    form: str = "table",
    *,
    by: str = "layer",
    batch: int = 1,
    image_size: int | None = None,
    **overrides: Any,
) -> str:
    """The layers of the model `name` by stage, with its input, poolings and totals.

    Args:
      name: Name of a registered model.
      form: "table" for people, "markdown", "latex", "html", or "csv", whose memory is in bytes.
      by: "layer" for a row of each, "stage" for one of each stage.
      batch: Number of images, for multiply-adds and memory.
      image_size: Side of the square images in pixels; by default the model's own.
      **overrides: Attributes of the network to replace, as in `zoo.create`.

    Raises:
      ValueError: There is no such model, form or `by`, or `batch` is below 1.
      TypeError: The model has no such attribute.
    """
    if by not in ("layer", "stage") or batch < 1:
        raise ValueError(f"Rows are by layer or stage, of 1 image or more, not {by!r}, {batch}.")
    found, outputs = trace(name, steps=True, image_size=image_size, **overrides)
    groups = [
        (stage, list(rows)) for stage, rows in itertools.groupby(found, lambda layer: layer.stage)
    ]
    shown = [tables.Group(stage, [_row(layer, batch) for layer in rows]) for stage, rows in groups]
    if by == "stage":
        given = {stage: outputs.get(stage, (rows[-1].shape, None)) for stage, rows in groups}
        sums = [_sum(key, f"{len(rows)} layers", rows, batch, *given[key]) for key, rows in groups]
        shown = [tables.Group("", sums)]
    total = tables.Group("", [_sum("total", "", found, batch)])
    return tables.render(
        _columns(batch), [*shown, total], form, key="stage" if by == "layer" else ""
    )


def _row(layer: Layer, batch: int) -> tuple:
    """The values of `COLUMNS`."""
    field = layer.field
    return (
        layer.path or ("" if layer.kind in STEPS else "(network)"),
        *(layer.kind, layer.kernel_size, layer.strides, layer.padding, layer.shape),
        *((field.size, field.stride) if field else (None, None)),
        *(layer.num_params, batch * layer.macs, layer.num_weights),
        *(batch * layer.activation_bytes, layer.training_bytes(batch)),
    )


def _sum(
    title: str,
    kind: str,
    found: Sequence[Layer],
    batch: int,
    shape: tuple[int, ...] = (),
    field: ReceptiveField | None = None,
) -> tuple:
    """A row for several layers with their sums."""
    columns = zip(*(_row(layer, batch)[8:] for layer in found), strict=True)
    seen = (field.size, field.stride) if field else (None, None)
    return title, kind, (), (), (), shape, *seen, *map(sum, columns)


def _columns(batch: int) -> list[tables.Column]:
    def sides(lengths: tuple[int, ...]) -> str:
        return "x".join(map(str, lengths))

    def same(lengths: tuple) -> str:  # once where it is the same in both directions
        texts = ["-".join(map(str, dict.fromkeys(_tuple(length)))) for length in lengths]
        return texts[0] if len(set(texts)) == 1 else "x".join(texts)

    def output(shape: tuple[int, ...]) -> str:
        return sides((batch, *shape) if batch > 1 and shape else shape)

    def pixels(length: float | None) -> str:
        return "" if length is None else "whole" if math.isinf(length) else f"{length:g}"

    texts = {"kernel": sides, "stride": same, "padding": same, "output": output}
    columns = [
        tables.Column(name, texts.get(name, str), texts.get(name, str)) for name in COLUMNS[:6]
    ]
    columns += [tables.Column(name, pixels, pixels, number=True) for name in COLUMNS[6:8]]
    columns += [tables.Column(name, "{:,}".format, number=True) for name in COLUMNS[8:11]]
    return columns + [tables.Column(name, _memory, number=True) for name in COLUMNS[11:]]


def _tuple(length: Any) -> tuple:
    return length if isinstance(length, tuple) else (length,)


def _memory(count: int) -> str:
    return f"{count / 2**20:.2f} MiB" if count >= 2**20 else f"{count / 2**10:.1f} KiB"
