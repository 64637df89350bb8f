"""Shares of oneDNN's operations, on which several threads work at once."""

import contextlib
import threading
from collections.abc import Callable, Sequence

from zoo.kernels import dnnl

# One operation at a time is prepared, and of those that use all cores one at a time runs.
_PREPARING, _ALL_CORES = threading.Lock(), threading.Lock()


class Part:
    """A share of an operation's work, for any thread to do.

    Args:
      prepare: makes the `Operation`.
      threads: how many work on it: one, or all cores.
      offsets: where the share begins in each array, in bytes.
      number: of the part among those whose results are to be added; else None.
    """

    def __init__(
        self,
        prepare: Callable[[], dnnl.Operation],
        threads: int,
        offsets: Sequence[int],
        number: int | None = None,
    ):
        self.prepare, self.threads, self.offsets, self.number = prepare, threads, offsets, number
        self.idle = []  # an operation's arrays are for one run at a time

    def run(self, addresses: Sequence[int], turns: "Turns") -> None:
        """Does the work on the arrays at these addresses."""
        try:
            dnnl.library().omp_set_num_threads(self.threads)  # of those that this one starts
            with _ALL_CORES if self.threads > 1 else contextlib.nullcontext():
                operation = self._take()
                shares = zip(addresses, self.offsets, strict=True)
                pointers = [address + offset for address, offset in shares]
                operation.run(pointers, lambda: turns.wait(self.number))
                self.idle.append(operation)
        finally:
            dnnl.library().omp_set_num_threads(dnnl.cores())
            turns.end(self.number)

    def _take(self) -> dnnl.Operation:
        try:
            return self.idle.pop()
        except IndexError:
            with _PREPARING:
                return self.prepare()


class Turns:
    """Parts are added in their order, so that rounding is the same each time."""

    def __init__(self):
        self.ended, self.change = set(), threading.Condition()

    def wait(self, number: int | None) -> None:
        """Until all before it have ended, well or with an error."""
        if number:
            with self.change:
                self.change.wait_for(lambda: self.ended.issuperset(range(number)))

    def end(self, number: int | None) -> None:
        if number is not None:
            with self.change:
                self.ended.add(number)
                self.change.notify_all()
