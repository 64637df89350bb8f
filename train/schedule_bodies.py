"""The bodies of schedules: learning rates as functions of the time after the warm-up."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict

from train.errors import TrainError
from train.functions import with_options
from train.momentum import WithMomentum
from train.plateau import Rule
from train.schedule_clock import Clock


@dataclass(frozen=True)
class Body:
    """What the keys of the section `schedule` say of a body.

    Attributes:
      peak, end: its first and, where it has one, its last rate.
      start: time of the run at which its own time is 0.
      length: its own time at its end, N.
      clock: of durations.
      boundaries, factors: of "steps".
    """

    peak: float
    end: float
    start: float
    length: Any
    clock: Clock
    boundaries: tuple[str, ...]
    factors: tuple[float, ...]


def constant(body: Body) -> optax.Schedule:
    """The peak."""
    return optax.constant_schedule(body.peak)


def linear(body: Body) -> optax.Schedule:
    """From the peak to `end`."""
    return optax.linear_schedule(body.peak, body.end, body.length)


def polynomial(body: Body, power: float = 1.0) -> optax.Schedule:
    """end + (peak - end) (1 - t/N) ** power: PyTorch's, Caffe's "poly"."""
    return optax.polynomial_schedule(body.peak, body.end, power, body.length)


def cosine(body: Body) -> optax.Schedule:
    """end + (peak - end) (1 + cos(pi t/N)) / 2."""
    return optax.cosine_decay_schedule(body.peak, body.length, alpha=body.end / body.peak)


def steps(body: Body) -> optax.Schedule:
    """Multiplied by a factor from each boundary on, which counts from the start of the run."""
    if len(body.boundaries) != len(body.factors):
        raise TrainError(
            f"schedule.boundaries has {len(body.boundaries)} entries and schedule.factors has "
            f"{len(body.factors)}: there must be one factor for each boundary."
        )
    times = [body.clock.length(boundary) - body.start for boundary in body.boundaries]
    return optax.piecewise_constant_schedule(
        body.peak,
        cast(Any, dict(zip(times, body.factors, strict=True))),
    )


def exponential(body: Body, factor: float, every: str, staircase: bool = False) -> optax.Schedule:
    """peak factor ** (t / every), by whole powers with `staircase`, and never below `end`.

    Args:
      body: the keys.
      factor: of the rate.
      every: duration, such as "2.4 epochs", which is not rounded.
      staircase: whether the rate falls in steps.
    """
    period = body.clock.exact_length(every)
    if not period > 0:
        raise TrainError(f"schedule.options.every={every!r}: it has to be above 0.")
    whole = period == int(period)  # then the quotient of whole numbers is exact, also in float32
    if staircase and not whole:
        powers = np.arange(np.ceil(body.length) + 2) // period
        falls = np.flatnonzero(np.diff(powers)) + 1
        powers = np.concatenate([[0], powers[falls]])

    def power(t) -> Any:
        if not staircase:
            return t / period
        if whole:
            return jnp.floor(t / period)
        return jnp.array(powers, t.dtype)[jnp.searchsorted(falls, t, side="right")]

    return lambda t: jnp.maximum(body.peak * factor ** power(t), body.end)


def restarts(body: Body, first: str, multiply: float = 1.0, decay: float = 1.0) -> optax.Schedule:
    """Cosines from the peak to `end`, one after the other (SGDR, Loshchilov and Hutter 2017).

    Args:
      body: the keys.
      first: duration of the first.
      multiply: length of each by that of the one before.
      decay: peak of each by that of the one before.
    """
    length = body.clock.exact_length(first)
    if not (length > 0 and multiply >= 1):
        raise TrainError(
            f"schedule.options: first={first!r} and multiply={multiply}: the first has to be above "
            "0, and the others at least as long."
        )
    lengths, begins = [length], [0.0]
    while begins[-1] + lengths[-1] <= body.length:
        begins.append(begins[-1] + lengths[-1])
        lengths.append(lengths[-1] * multiply)
    number = jnp.result_type(float)

    def rate(t) -> Any:
        cycle = jnp.searchsorted(np.array(begins[1:]), t, side="right")
        share = (t - jnp.array(begins, number)[cycle]) / jnp.array(lengths, number)[cycle]
        peak = body.peak * decay ** cycle.astype(number)
        return body.end + (peak - body.end) * (1 + jnp.cos(jnp.pi * share)) / 2

    return rate


def one_cycle(
    body: Body,
    pct_start: float = 0.3,
    anneal: str = "cos",
    three_phase: bool = False,
    div_factor: float = 25.0,
    final_div_factor: float = 1e4,
    base_momentum: float | None = None,
    max_momentum: float = 0.95,
) -> optax.Schedule:
    """Up to the peak and down again (Smith and Topin 2018), as PyTorch's `OneCycleLR`.

    It begins at peak / div_factor and ends at that over final_div_factor; the key `end` is not
    used. With a `base_momentum` the momentum of the optimizer goes the other way.

    Args:
      body: the keys.
      pct_start: share of the rise.
      anneal: "cos" or "linear".
      three_phase: whether it falls as it rose before it falls to its end.
      div_factor, final_div_factor: see above.
      base_momentum, max_momentum: the momentum at the peak, and at the start and the end; None:
        that of the optimizer's options, all along. PyTorch's default is 0.85.
    """
    if anneal not in ("cos", "linear"):
        raise TrainError(f'schedule.options.anneal={anneal!r}: there are "cos" and "linear".')
    low, last = body.peak / div_factor, body.length - 1
    final = low / final_div_factor
    times = [pct_start * body.length - 1, last]
    rates = [low, body.peak, final]
    momenta = [max_momentum, base_momentum, max_momentum]
    if three_phase:
        times.insert(1, 2 * pct_start * body.length - 2)
        rates.insert(2, low)
        momenta.append(max_momentum)
    rate = _through(rates, times, anneal)
    if base_momentum is None:
        return rate
    return WithMomentum(rate, _through(cast(list[float], momenta), times, anneal))


def _through(values: list[float], times: list[float], anneal: str) -> optax.Schedule:
    """The schedule from the first of the values at time 0 to each of the others at its time."""

    def value(t) -> Any:
        found, begin = [], 0.0
        for end, before, after in zip(times, values, values[1:], strict=False):
            share = jnp.clip((t - begin) / max(end - begin, 1e-9), 0, 1)
            if anneal == "cos":
                found.append(after + (before - after) * (1 + jnp.cos(jnp.pi * share)) / 2)
            else:
                found.append(before + (after - before) * share)
            begin = end
        return jnp.select([t <= end for end in times], found, found[-1])

    return value


def reciprocal_sqrt(body: Body, timescale: str) -> optax.Schedule:
    """peak / sqrt(1 + t / timescale), of a duration `timescale` (Zhai et al. 2022, big_vision)."""
    scale = body.clock.exact_length(timescale)
    if not scale > 0:
        raise TrainError(f"schedule.options.timescale={timescale!r}: it has to be above 0.")
    return lambda t: body.peak / jnp.sqrt(1 + jnp.maximum(t, 0) / scale)


def plateau(body: Body, **options) -> optax.Schedule:
    """The peak, which falls by a factor whenever a figure stands still; see `train.plateau`."""
    plateau_rule(body, options)
    return optax.constant_schedule(body.peak)


def plateau_rule(body: Body, options: Mapping[str, Any] | ConfigDict) -> Rule:
    """Returns the rule that the options of "plateau" describe.

    Raises:
      TrainError: there are no such options, or not of such values.
    """

    def rule(
        metric: str = "-loss",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        eps: float = 1e-8,
    ) -> Rule:
        if threshold_mode not in ("rel", "abs"):
            raise TrainError(
                f'schedule.options.threshold_mode={threshold_mode!r}: there are "rel" and "abs".'
            )
        return Rule(
            *(body.peak, body.end, metric, factor, patience),
            *(threshold, threshold_mode, cooldown, eps),
        )

    rule.__name__ = "plateau"
    return with_options("schedule", rule, **options)


BODIES: Mapping[str, Callable[..., optax.Schedule]] = {
    body.__name__: body
    for body in (
        *(constant, linear, polynomial, cosine, steps, exponential, restarts, one_cycle),
        *(reciprocal_sqrt, plateau),
    )
}
