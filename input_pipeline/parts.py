"""Parts of splits: "train[:90%]", "train[10:20]+validation"."""

import dataclasses
import re
from collections.abc import Callable, Sequence
from fractions import Fraction

from input_pipeline.example import DataError, Example, Source

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


def join(sources: Sequence[Source]) -> Source:
    """Returns the examples of several splits, or parts, of one data set, one after the other.

    Raises:
      DataError: they have different classes, so their labels would not mean the same.
    """
    first = sources[0]
    if len({source.class_names for source in sources}) > 1:
        raise DataError(
            f"The splits {', '.join(s.split for s in sources)} of {first.dataset} have different "
            "classes, so they cannot be joined."
        )
    shapes = {source.image_shape for source in sources}
    return dataclasses.replace(
        first,
        split="+".join(source.split for source in sources),
        examples=_Joined(tuple(sources)),
        image_shape=first.image_shape if len(shapes) == 1 else None,
    )


@dataclasses.dataclass(frozen=True)
class _Joined:
    """The examples of several sources."""

    sources: tuple[Source, ...]

    @property
    def exif_orientation(self) -> bool:
        """Whether photographs are turned as their cameras say; all are of one data set."""
        return getattr(self.sources[0].examples, "exif_orientation", False)

    def __len__(self) -> int:
        return sum(map(len, self.sources))

    def __getitem__(self, index: int) -> Example:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Example]:
        if not all(0 <= index < len(self) for index in indices):
            raise IndexError(f"there are {len(self)} examples")
        found: dict[int, Example] = {}
        start = 0
        for source in self.sources:
            inside = [index for index in indices if start <= index < start + len(source)]
            examples = source.__getitems__([index - start for index in inside])
            found |= dict(zip(inside, examples, strict=True))
            start += len(source)
        return [found[index] for index in indices]
