"""The time of a schedule: updates or whole epochs."""

import math
from typing import Any

import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from train.durations import Intervals, parse_duration, to_steps


class Clock:
    """Converts durations and steps to the time of a schedule.

    Args:
      config: a recipe; with `schedule.per` "step" the time is the number of updates, with "epoch"
        that of whole epochs.
      intervals: of the run.

    Attributes:
      total: the end of the run.
    """

    def __init__(self, config: ConfigDict, intervals: Intervals):
        self._batch_size = config.batch_size
        self._examples = round(intervals.steps_per_epoch * config.batch_size)
        self._per_epoch = config.schedule.per == "epoch"
        self.total: float = intervals.total
        if self._per_epoch:
            self.total = self.length(config.duration)
            # First steps of the epochs from the second one on; an epoch may begin within a batch.
            epochs = np.arange(1, math.ceil(self.total) + 1)
            self._starts = np.ceil(epochs * (self._examples / self._batch_size)).astype(np.int32)

    def length(self, duration: str) -> float:
        """Returns a duration as a time, in steps rounded to whole ones."""
        if self._per_epoch:
            return self.exact_length(duration)
        return to_steps(duration, self._examples, self._batch_size)

    def exact_length(self, duration: str) -> float:
        """Returns a duration as a time that is not rounded, such as 2.4 epochs."""
        number, unit = parse_duration(duration)
        steps_per_epoch = self._examples / self._batch_size
        if self._per_epoch:
            scale = {"epoch": 1, "step": 1 / steps_per_epoch, "example": 1 / self._examples}
        else:
            scale = {"epoch": steps_per_epoch, "step": 1, "example": 1 / self._batch_size}
        return number * scale[unit]

    def now(self, step: Any) -> Any:
        """Returns the time after `step` updates, a float array []."""
        if self._per_epoch:
            step = jnp.searchsorted(self._starts, step, side="right")
        return jnp.asarray(step, jnp.result_type(float))
