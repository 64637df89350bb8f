"""python -m train.compare RUN ... [--out=compare.png] [--figures=top1,loss] [--format=csv]

Compares runs of python -m train: a row for each, with the figures of the last evaluation, the best
one, and the settings in which the runs differ. Runs that differ in their seed only are one row,
with mean and standard deviation; a RUN may be the folder in which --seeds has put them. The picture
has the curves of all: means over the seeds, and bands from the lowest to the highest.
"""

import argparse
import csv
import json
import sys
from pathlib import Path

from train.console import open_streams
from train.use import options


def parse(arguments: list[str]) -> argparse.Namespace:
    """Returns the values of the command line; exits with 2 if it is wrong."""
    parser = options.parser(__doc__ or "")
    add = parser.add_argument
    add("runs", nargs="+", help="folders of runs")
    add("--out", default="compare.png", help="the picture (compare.png); nothing for none")
    add("--figures", default="top1,loss", help="of the evaluations (top1,loss)")
    add("--format", choices=("table", "csv", "json"), default="table")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    """Runs the command line; returns the exit status."""
    open_streams()
    given = parse(arguments)
    from train.errors import TrainError
    from train.use import comparison

    figures = [word for word in given.figures.split(",") if word]
    try:
        if given.out and Path(given.out).suffix not in (".png", ".pdf", ".svg"):
            raise TrainError(f"--out={given.out}: a picture ends in .png, .pdf or .svg.")
        groups = comparison.open_groups(given.runs)
        known = sorted(
            set().union(*(line for g in groups for r in g.runs for line in r.evaluation))
        )
        if missing := [figure for figure in figures if figure not in known]:
            raise TrainError(f"--figures={','.join(missing)}: the runs have {', '.join(known)}.")
        table = comparison.rows(groups, figures)
        if given.format == "csv":
            writer = csv.DictWriter(sys.stdout, table[0].keys(), lineterminator="\n")
            writer.writeheader()
            writer.writerows(table)
        else:
            # JSON has no nan, which a figure is that a run does not have.
            known_only = [{k: None if v != v else v for k, v in row.items()} for row in table]
            print(json.dumps(known_only) if given.format == "json" else comparison.as_text(table))
        if given.out:
            comparison.draw(groups, Path(given.out), figures[0] if figures else "top1")
            print(f"Curves: {given.out}", file=sys.stderr)
    except (TrainError, OSError) as error:
        print(f"{error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    options.run(main)
