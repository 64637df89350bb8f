"""Counts all models anew into zoo/data/counts.csv, which charts read.

    python docs/tools/counts.py          (some minutes)

Each model at its own image size, and at those of zoo/data/charts.
"""

import csv

import zoo
from zoo.counts import TABLE, Counts, count


def keys() -> list[tuple[str, int]]:
    """Pairs of a model and an image size in pixels."""
    found = {(name, zoo.info(name).image_size) for name in zoo.list_models()}
    with (TABLE.parent / "charts" / "transformers.csv").open(newline="") as file:
        found |= {(row["model"], int(row["image_size"])) for row in csv.DictReader(file)}
    return sorted(found)


if __name__ == "__main__":
    with TABLE.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("model", "image_size", *Counts._fields))
        for name, size in keys():
            writer.writerow((name, size, *count(name, size)))
            file.flush()
