"""Durations in words, resolved once to steps, and the grid on which a run does things."""

import re
from dataclasses import dataclass

from ml_collections import ConfigDict

from train.errors import TrainError


def to_steps(words: str, examples: int, batch_size: int) -> int:
    """ "90 epochs" or "500 steps" as a number of steps.

    Args:
      words: a number and a unit: step(s), epoch(s) or example(s).
      examples: images in an epoch.
      batch_size: images in a step.

    Raises:
      TrainError: the words are something else.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d*)?)\s*(step|epoch|example)s?\s*", words)
    if not match:
        raise TrainError(
            f"The duration {words!r} is not understood: write a number and a unit, such as "
            '"90 epochs", "2.5 epochs", "500 steps" or "60000 examples".'
        )
    number, unit = float(match[1]), match[2]
    per_unit = {"step": 1, "epoch": examples / batch_size, "example": 1 / batch_size}[unit]
    return round(number * per_unit)


@dataclass(frozen=True)
class Plan:
    """When things happen, in steps since the start of the run.

    Attributes:
      steps: where training ends.
      log, evaluate, checkpoint: each happens at multiples of its number; the last two also at the
        end.
      steps_per_epoch: not always a whole number: an epoch's last images share a batch with the
        next one's first.
    """

    steps: int
    log: int
    evaluate: int
    checkpoint: int
    steps_per_epoch: float

    @classmethod
    def of(cls, config: ConfigDict, examples: int) -> "Plan":
        """The plan of a recipe whose training split has `examples` images."""

        def steps(words: str) -> int:
            return max(1, to_steps(words, examples, config.batch_size))

        return cls(
            steps=steps(config.duration),
            log=steps(config.log.every),
            evaluate=steps(config.eval.every),
            checkpoint=steps(config.checkpoint.every),
            steps_per_epoch=examples / config.batch_size,
        )

    def logs_at(self, step: int) -> bool:
        return step % self.log == 0 or step == self.steps

    def evaluates_at(self, step: int) -> bool:
        return step > 0 and (step % self.evaluate == 0 or step == self.steps)

    def saves_at(self, step: int) -> bool:
        return step > 0 and (step % self.checkpoint == 0 or step == self.steps)

    def next_stop(self, step: int) -> int:
        """The next step after `step` at which something happens.

        It does not depend on where the run was started, so a resumed run stops at the same places.
        """
        periods = (self.log, self.evaluate, self.checkpoint)
        return min(self.steps, *(period * (step // period + 1) for period in periods))

    @property
    def longest_stretch(self) -> int:
        """The most steps that can lie between two stops."""
        return min(self.steps, self.log, self.evaluate, self.checkpoint)
