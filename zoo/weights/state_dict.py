"""Finds the state dict of a model in what a training program saved.

Programs keep it in other dicts, as "model" or "state_dict" beside an optimizer's state, and modules
that contain the model put a prefix before every name: "module." (DataParallel), "_orig_mod."
(torch.compile), "model." (Lightning), "backbone.". Both are found by what they contain: the state
dict is where most of the model's names are.
"""

import collections
import dataclasses
import re
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from zoo.weights.pickled import Placeholder, shown

# Counters of PyTorch's BatchNorm and AveragedModel, which nothing reads.
_COUNTERS = re.compile(r"(^|\.)(num_batches_tracked|n_averaged)$")
# How programs call a moving average of the weights.
_AVERAGE = re.compile(r"(^|[._/])(ema|swa|averaged?|teacher|shadow)($|[._/])", re.IGNORECASE)
_MAX_DEPTH = 5
_MAX_DICTS = 1000
_MAX_PREFIXES = 10


@dataclasses.dataclass(frozen=True)
class Part:
    """A state dict in a checkpoint.

    Attributes:
      path: Keys of the dicts that lead to it.
      prefix: What its names begin with in the file.
      table: Number of the set of names that fits it best.
      matches: How many of these names it has.
      tensors: All of the dict that it is in, with the names in the file, counters left out.
    """

    path: tuple[str, ...]
    prefix: str
    table: int
    matches: int
    tensors: Mapping[str, Any]

    @property
    def label(self) -> str:
        """Where it is, as messages say it: "model/module.*"."""
        return shown("/".join(self.path + ((f"{self.prefix}*",) if self.prefix else ())) or "/")

    @property
    def is_average(self) -> bool:
        """Whether it is a moving average of the weights, by what it is called."""
        return bool(_AVERAGE.search("/".join((*self.path, self.prefix))))

    def named(self, excused: Collection[str] = ()) -> dict[str, Any]:
        """Returns its tensors by the model's names, and what else the dict has by the file's.

        Single numbers outside of the prefix, and what has one of the `excused` prefixes, are left
        out.
        """
        inside = {
            name.removeprefix(self.prefix): value
            for name, value in self.tensors.items()
            if name.startswith(self.prefix)
        }
        outside = {
            name: value
            for name, value in self.tensors.items()
            if not name.startswith((self.prefix, *excused)) and np.ndim(value)
        }
        return outside | inside


def find(
    checkpoint: Mapping[str, Any],
    tables: Sequence[Collection[str]],
    rename: Callable[[Mapping[str, Any]], Mapping[str, Any]],
    ema: bool | None,
) -> tuple[dict[str, Any], int, str]:
    """Finds the tensors of a model.

    Args:
      checkpoint: Names and tensors, perhaps in dicts of dicts, beside other things.
      tables: Sets of names that the model may have, one for each implementation.
      rename: What gives the tensors of a published file the names of those.
      ema: Whether to take the moving average of the weights. None takes it where there is one, and
        warns that there are two.

    Returns:
      The tensors by name, the number of the set of names that fits best, and where they were found.

    Raises:
      ValueError: There are no tensors, or `ema` asks for weights that are not there.
    """
    parts = [
        part
        for path, tensors in _dicts(checkpoint)
        for part in _parts(path, rename(tensors), tables)
    ]
    if not parts:
        raise ValueError(
            f"There are no tensors in it, only {_content(checkpoint)}. Of a whole model, save the "
            "state dict: torch.save(model.state_dict(), path)."
        )
    most = max(part.matches for part in parts)
    fitting = [part for part in parts if 2 * part.matches >= most]
    if ema is not None:
        kind, other = ("moving average", "plain copy") if ema else ("plain copy", "moving average")
        fitting = [part for part in fitting if part.is_average == ema]
        if not fitting:
            raise ValueError(
                f"It has no {kind} of the weights, only a {other}: load with ema={not ema}."
            )
    best = [part for part in fitting if part.matches == max(p.matches for p in fitting)]
    # Of what fits equally well the average, as timm does; then what comes first.
    taken = next((part for part in best if part.is_average), best[0])
    if not most:
        taken = max(best, key=lambda part: len(part.tensors))
    elif ema is None and len(best) > 1:
        kind = "moving average" if taken.is_average else "first"
        warnings.warn(
            f"The checkpoint has the weights {len(best)} times, at "
            f"{', '.join(part.label for part in best)}. The {kind}, {taken.label}, was taken; "
            "zoo.load_torch(..., ema=True) or ema=False chooses.",
            stacklevel=4,
        )
    excused = [
        part.prefix
        for part in parts
        if part.path == taken.path and part.is_average != taken.is_average and part.prefix
    ]
    return taken.named(excused), taken.table, taken.label


def _dicts(checkpoint: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """Yields the dicts in it that hold tensors and where they are, outer ones first."""
    queue: list[tuple[tuple[str, ...], Mapping]] = [((), checkpoint)]
    seen = {id(checkpoint)}
    for path, mapping in queue:  # which grows
        items = [(name, value) for name, value in mapping.items() if isinstance(name, str)]
        tensors = {
            name: value for name, value in items if is_tensor(value) and not _COUNTERS.search(name)
        }
        if tensors:
            others = {name: value for name, value in items if isinstance(value, (Placeholder, str))}
            yield path, tensors | others
        for name, value in items:
            inner = isinstance(value, Mapping) and len(path) < _MAX_DEPTH and id(value) not in seen
            if inner and len(queue) < _MAX_DICTS:
                seen.add(id(value))
                queue.append(((*path, name), value))


def is_tensor(value: Any) -> bool:
    """Returns whether this is an array of numbers, of whatever library."""
    if not hasattr(value, "shape") or not hasattr(value, "dtype"):
        return False
    kind = getattr(value.dtype, "kind", "f")  # other libraries' dtypes have none
    # bfloat16 and its like are of kind "V", but not of numpy's type for bytes without a meaning.
    return kind in "biuf" or kind == "V" and value.dtype.type is not np.void


def _parts(path, tensors: Mapping[str, Any], tables: Sequence[Collection[str]]) -> list[Part]:
    """Returns the state dicts in one dict: for each prefix the table that fits it best.

    Prefixes under which there are fewer than half as many names as under the best are left out.
    """
    found: dict[str, tuple[int, int]] = {}
    for table, names in enumerate(tables):
        matches = collections.Counter({"": 0})
        for name in tensors:
            pieces = name.split(".", _MAX_PREFIXES)
            for i in range(len(pieces)):
                start = sum(len(piece) + 1 for piece in pieces[:i])
                matches[name[:start]] += name[start:] in names
        for prefix, count in matches.items():
            if count > found.get(prefix, (-1, 0))[0]:
                found[prefix] = (count, table)
    most = max(count for count, _ in found.values())
    return [
        Part(path, prefix, table, count, tensors)
        for prefix, (count, table) in sorted(found.items(), key=lambda item: len(item[0]))
        if 2 * count >= most
    ]


def _content(checkpoint: Mapping[str, Any]) -> str:
    """Describes what a checkpoint without tensors holds."""
    items = [
        f"{shown(str(key))} ({value if isinstance(value, Placeholder) else type(value).__name__})"
        for key, value in list(checkpoint.items())[:5]
    ]
    more = f" and {len(checkpoint) - 5} more" if len(checkpoint) > 5 else ""
    return (", ".join(items) or "nothing") + more
