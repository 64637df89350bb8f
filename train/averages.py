"""Averages of the parameters over the steps of a run: moving ones (EMA), and SWA's."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from train.errors import TrainError

CONVENTIONS = ("", "tensorflow", "torchvision", "timm")
_TIMM_OPTIONS = ("use_warmup", "warmup_gamma", "warmup_power", "min_decay")


@dataclass(frozen=True)
class Average:
    """The rule of an average: average = d average + (1 - d) parameters, d a function of the step.

    Step t is the number of updates done, so the first average is taken after step 1.

    Attributes:
      decay: d in the long run.
      convention: "" and "tensorflow" begin with d = min(decay, (1 + n) / (10 + n)), where n is the
        number of updates before this one, or that with it, t (`ExponentialMovingAverage` of
        TensorFlow with num_updates). "torchvision": the first average is a copy, then d is `decay`.
        "timm": the same (`ModelEmaV3`), or with `use_warmup` d begins with
        1 - (1 + n / warmup_gamma) ** -warmup_power, n = t - start - 1. "swa": all parameters that
        are averaged count alike (Izmailov et al. 2018).
      every: steps from one average to the next.
      start: until this step the average is a copy; of "swa", the first step that is averaged.
      batch_stats: whether the statistics of BatchNorm are averaged too.
      use_warmup, warmup_gamma, warmup_power, min_decay: options of "timm".
    """

    decay: float = 0.0
    convention: str = ""
    every: int = 1
    start: int = 0
    batch_stats: bool = False
    use_warmup: bool = False
    warmup_gamma: float = 1.0
    warmup_power: float = 2 / 3
    min_decay: float = 0.0

    def init(self, params: Any, batch_stats: Any) -> Any:
        """Returns the average at step 0: copies, of (params, batch_stats) or of params alone."""
        return jax.tree.map(jnp.copy, self.averaged(params, batch_stats))

    def averaged(self, params: Any, batch_stats: Any) -> Any:
        """Returns what is averaged."""
        return {"params": params, "batch_stats": batch_stats} if self.batch_stats else params

    def update(self, step: jax.Array, average: Any, new: Any) -> Any:
        """Returns the average after an update.

        Args:
          step: int32 [], number of updates before it.
          average: tree of arrays.
          new: the same tree of parameters after the update.
        """
        rate = self.rate(step)
        return jax.tree.map(
            lambda old, new: (rate * old + (1 - rate) * new).astype(old.dtype), average, new
        )

    def rate(self, step: jax.Array) -> jax.Array:
        """Returns d of the update after `step` updates; 1 where nothing is averaged."""
        number = jnp.result_type(float)
        before = jnp.asarray(step, number)
        done = before + 1
        if self.convention == "swa":
            count = (done - self.start) // self.every + 1
            taken = (done >= self.start) & ((done - self.start) % self.every == 0)
            return jnp.where(taken, 1 - 1 / jnp.maximum(count, 1), 1.0)
        rate = self._decay(before, done)
        if self.every > 1:
            rate = jnp.where(done % self.every == 0, rate, 1.0)
        return rate

    def _decay(self, before: jax.Array, done: jax.Array) -> jax.Array:
        if self.convention == "timm":
            count = done - self.start - 1
            rate = jnp.full_like(done, self.decay)
            if self.use_warmup:
                grown = 1 - (1 + jnp.maximum(count, 0) / self.warmup_gamma) ** -self.warmup_power
                rate = jnp.maximum(jnp.minimum(grown, self.decay), self.min_decay)
            return jnp.where(count <= 0, 0.0, rate)
        if self.convention == "torchvision":  # the first one after `start` is a copy, too
            return jnp.where(done - self.every <= self.start, 0.0, self.decay)
        updates = before if self.convention == "" else done
        rate = jnp.minimum(self.decay, (1 + updates) / (10 + updates))
        return jnp.where(done <= self.start, 0.0, rate) if self.start else rate

    @property
    def first(self) -> int:
        """The first step after which there is an average; before, it is as at step 0."""
        return self.start if self.convention == "swa" else self.every if self.every > 1 else 0


def make_average(
    config: ConfigDict, steps: Callable[[str], int], reestimated: bool
) -> Average | None:
    """Returns the average that the sections `ema` and `swa` of a recipe describe; None for none.

    Args:
      config: a recipe.
      steps: from a duration to a number of steps.
      reestimated: whether statistics of BatchNorm are estimated anew for the average.

    Raises:
      TrainError: there are two averages, or options do not fit.
    """
    ema, swa = config.ema, config.swa
    if ema.decay and swa.start:
        raise TrainError(
            "ema.decay and swa.start: a run has one average, so leave out one of them."
        )
    if swa.start:
        start, every = max(1, steps(swa.start)), max(1, steps(swa.every))
        return Average(convention="swa", every=every, start=start, batch_stats=True)
    if not ema.decay:
        return None
    known = _TIMM_OPTIONS if ema.convention == "timm" else ()
    if unknown := sorted(set(ema.options) - set(known)):
        raise TrainError(
            f"ema.options.{unknown[0]}: ema.convention={ema.convention!r} takes "
            f"{', '.join(known) or 'no options; timm has some'}."
        )
    return Average(
        decay=ema.decay,
        convention=ema.convention,
        every=max(1, steps(ema.every)),
        start=steps(ema.start),
        batch_stats=ema.batch_stats or reestimated,
        **ema.options,
    )
