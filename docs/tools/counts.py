"""Counts all models anew into zoo/data/counts.csv, which charts read.

    python docs/tools/counts.py          (a quarter of an hour)

Each model at its own image size, and at those of zoo/data/charts.
"""

import csv
from collections.abc import Iterator

import zoo
from zoo.counts import TABLE, Counts, count


def keys() -> list[tuple[str, int]]:
    """Pairs of a model and an image size in pixels."""
    found = {(name, zoo.info(name).image_size) for name in zoo.list_models()}
    with (TABLE.parent / "charts" / "transformers.csv").open(newline="") as file:
        found |= {(row["model"], int(row["image_size"])) for row in csv.DictReader(file)}
    return sorted(found)


def rows() -> Iterator[tuple]:
    for name, size in keys():
        yield name, size, *count(name, size)


if __name__ == "__main__":
    lines = [("model", "image_size", *Counts._fields), *rows()]
    with TABLE.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(lines)
    print(f"{len(lines) - 1} counts in {TABLE}")
