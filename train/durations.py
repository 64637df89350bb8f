"""Durations such as "90 epochs", converted to steps, and the steps at which a run does things."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from ml_collections import ConfigDict

from train.errors import TrainError


def to_steps(duration: str, examples: int, batch_size: int) -> int:
    """Converts a duration such as "90 epochs" to a number of steps, rounded to the nearest.

    Args:
      duration: a number and a unit: step(s), epoch(s) or example(s).
      examples: images in an epoch.
      batch_size: images in a step.

    Raises:
      TrainError: the duration is written in any other way.

    Example:
      >>> to_steps("2.5 epochs", examples=1000, batch_size=10)
      250
    """
    number, unit = parse_duration(duration)
    per_unit = {"step": 1, "epoch": examples / batch_size, "example": 1 / batch_size}[unit]
    return round(number * per_unit)


def parse_duration(duration: str) -> tuple[float, str]:
    """Returns the number and the unit of a duration: "step", "epoch" or "example".

    Raises:
      TrainError: the duration is written in any other way than a number and a unit.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d*)?)\s*(step|epoch|example)s?\s*", duration)
    if not match:
        raise TrainError(
            f"The duration {duration!r} is not understood: write a number and a unit, such as "
            '"90 epochs", "2.5 epochs", "500 steps" or "60000 examples".'
        )
    return float(match[1]), match[2]


@dataclass(frozen=True)
class Intervals:
    """The length of a run and the intervals at which it logs, evaluates and saves, all in steps.

    Attributes:
      total: the last step.
      log, evaluate, checkpoint: each happens at the multiples of its interval and at the end.
      steps_per_epoch: not always a whole number: an epoch's last images share a batch with the
        first ones of the next.
    """

    total: int
    log: int
    evaluate: int
    checkpoint: int
    steps_per_epoch: float

    @classmethod
    def from_config(cls, config: ConfigDict, examples: int) -> "Intervals":
        """Returns the intervals of a recipe whose training split has `examples` images."""

        def steps(duration: str) -> int:
            return max(1, to_steps(duration, examples, config.batch_size))

        total = steps(config.duration)

        def every(duration: str) -> int:
            never = parse_duration(duration)[0] == 0
            return total if never else steps(duration)  # never: only at the end

        return cls(
            total=total,
            log=every(config.log.every),
            evaluate=every(config.eval.every),
            checkpoint=every(config.checkpoint.every),
            steps_per_epoch=examples / config.batch_size,
        )

    def logs_at(self, step: int) -> bool:
        """Whether a training line is written after `step`."""
        return step % self.log == 0 or step == self.total

    def evaluates_at(self, step: int) -> bool:
        """Whether the model is evaluated after `step`."""
        return step > 0 and (step % self.evaluate == 0 or step >= self.total)

    def saves_at(self, step: int) -> bool:
        """Whether a checkpoint is written after `step`."""
        return step > 0 and (step % self.checkpoint == 0 or step == self.total)

    def events(self, start: int) -> Iterator[int]:
        """Yields the steps at which a run that starts or resumes at `start` has something to do.

        The first is `start` itself, since a run may have been stopped before its evaluation. The
        second is `start + 1`, because the first step of a process is not timed. All others are
        multiples of the intervals, wherever the run was resumed.
        """
        yield start
        if start + 1 < self.total:
            yield start + 1
            start += 1
        while start < self.total:
            start = self.next_event(start)
            yield start

    def next_event(self, step: int) -> int:
        """Returns the next step after `step` that is a multiple of an interval, or the last."""
        intervals = (self.log, self.evaluate, self.checkpoint)
        return min(self.total, *(interval * (step // interval + 1) for interval in intervals))

    @property
    def max_steps_per_call(self) -> int:
        """The largest number of steps between two events."""
        return min(self.total, self.log, self.evaluate, self.checkpoint)
