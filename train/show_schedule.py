"""python -m train.show_schedule --config=NAME [--config.KEY=VALUE ...] [--out=rates.png]

Shows the learning rate that a recipe has over its run: as a table, and with --out as a picture
(.png, .pdf or .svg). The data set need not be there if it is MNIST, CIFAR or ImageNet; --examples
says how many images an epoch of another one has. The rate of a "plateau" is shown without its
falls, which nobody knows before.
"""

import sys
from pathlib import Path

import numpy as np
from absl import flags
from ml_collections import ConfigDict

from train.command_line import WrongCommandLine, fail, parse, usage, wants_help
from train.console import open_streams

_OUT = flags.DEFINE_string("out", "", "The picture; nothing for none.", allow_override=True)
_EXAMPLES = flags.DEFINE_integer(
    "examples", 0, "Images in an epoch; 0: of the data set.", lower_bound=0
)


def main(arguments: list[str]) -> int:
    """Runs the command line; returns the exit status."""
    open_streams()
    if wants_help(arguments):
        print(usage(__doc__ or "", _OUT, _EXAMPLES))
        return 0
    try:
        config = parse(arguments)
    except WrongCommandLine as error:
        return fail(str(error), 2)
    from input_pipeline.example import DataError
    from train.errors import TrainError

    try:
        show(config, _OUT.value, _EXAMPLES.value)
    except (TrainError, DataError, OSError) as error:
        return fail(str(error), 1)
    return 0


def show(config: ConfigDict, out: str = "", examples: int = 0) -> None:
    """Prints the table of a recipe's rates, and draws the picture.

    Args:
      config: a recipe.
      out: file of the picture; "" for none.
      examples: images in an epoch; 0: as many as the data set has.

    Raises:
      TrainError: a value of the recipe cannot be, or the picture is of another kind.
      DataError: the data set cannot be opened.
    """
    from train.check import check_values
    from train.curves import draw_rates
    from train.durations import Intervals
    from train.errors import TrainError
    from train.plan.roofline import known_data
    from train.schedules import make_schedule, rates

    if out and Path(out).suffix not in (".png", ".pdf", ".svg"):
        raise TrainError(f"--out={out}: a picture ends in .png, .pdf or .svg.")
    if not Path(out).parent.is_dir():
        raise TrainError(f"--out={out}: there is no folder {Path(out).parent}.")
    check_values(config)
    intervals = Intervals.from_config(config, examples or len(known_data(config).train))
    steps, values = rates(make_schedule(config, intervals), intervals.total)
    epochs = steps / intervals.steps_per_epoch
    print(f"{'step':>9}  {'epoch':>8}  learning rate")
    for row in _rows(values):
        print(f"{int(steps[row]):9}  {epochs[row]:8.2f}  {values[row]:.6g}")
    if out:
        draw_rates({config.schedule.name: (epochs, values)}, Path(out))
        print(f"Picture: {out}", file=sys.stderr)


def _rows(values: np.ndarray, points: int = 20) -> list[int]:
    """Indices of the table's rows: evenly spaced ones, and both sides of jumps if they are few."""
    rows = set(np.linspace(0, len(values) - 1, min(points, len(values))).round().astype(int))
    changes = np.abs(np.diff(values))
    jumps = np.flatnonzero(changes > 0.02 * values.max()) if len(values) > points else []
    if len(jumps) <= points:
        rows |= {int(x) for jump in jumps for x in (jump, jump + 1)}
    return sorted(int(row) for row in rows)


if __name__ == "__main__":
    code = main(sys.argv)
    sys.exit(code)
