"""Lets others see the steps of a network that are no modules: poolings, normalisations."""

import contextlib
import contextvars
import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax


class Step(NamedTuple):
    """One call of a function of `zoo.layers`.

    Attributes:
      kind: Name of the function, such as "max_pool".
      output: What it returned, [B, H, W, C], or [B, C] without positions.
      window: Side of its window in pixels, 0 if it has none.
      strides: Stride of the window.
      padding: "SAME" or the number of pixels on every side of the input.
      input_size: Height and width of the input.
    """

    kind: str
    output: jax.Array
    window: int
    strides: int
    padding: str | int
    input_size: tuple[int, ...]


_observer: contextvars.ContextVar[Callable[[Step], object] | None] = contextvars.ContextVar(
    "observer", default=None
)


def observable(function: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """Returns the function, whose calls are shown to `observed_by`."""
    signature = inspect.signature(function)

    @functools.wraps(function)
    def shown(*args: Any, **kwargs: Any) -> jax.Array:
        output = function(*args, **kwargs)
        if observer := _observer.get():
            given = signature.bind(*args, **kwargs)
            given.apply_defaults()
            keys = ("window", "strides", "padding")
            window, strides, padding = (given.arguments.get(key, 0) for key in keys)
            size = given.args[0].shape[1:3]
            observer(Step(function.__name__, output, window, strides, padding, size))
        return output

    return shown


@contextlib.contextmanager
def observed_by(observer: Callable[[Step], object]) -> Iterator[None]:
    """Within it, `observer` is called with each step, in the order in which they are traced."""
    token = _observer.set(observer)
    try:
        yield
    finally:
        _observer.reset(token)
