"""Parts of a split: "train[:90%]", "train[10:20]"."""

import re
from collections.abc import Callable
from fractions import Fraction

from input_pipeline.example import DataError

_BOUND = r"(-?[0-9]{1,18}|-?[0-9]{1,3}(\.[0-9]{1,9})?%)?"
_PART = re.compile(rf"(?P<name>[^\[\]]+)(\[(?P<start>{_BOUND}):(?P<stop>{_BOUND})\])?")


def part_of(split: str) -> tuple[str, Callable[[int], tuple[int, int]]]:
    """Returns the name of a split, and the function from its length to the bounds of the part.

    Bounds are numbers of examples or percentages, counted from the end if negative; percentages are
    rounded as by tfds.

    Raises:
      DataError: it is not written so.
    """
    match = _PART.fullmatch(split)
    if match is None:
        raise DataError(
            f"The split {split!r} is not understood. Parts of a split are written as train[:90%] "
            "or train[10:20]."
        )

    def bounds(length: int) -> tuple[int, int]:
        ends = []
        for text in (match["start"] or "0", match["stop"] or "100%"):
            number = Fraction(text.rstrip("%"))
            ends.append(round(number * length / 100) if text.endswith("%") else int(number))
        return ends[0], ends[1]

    return match["name"], bounds
