"""The errors for images of a size that a network cannot take."""

import contextlib
import contextvars
from collections.abc import Iterator

import jax

_any_size = contextvars.ContextVar("any_size", default=False)


@contextlib.contextmanager
def any_size() -> Iterator[None]:
    """Within it `require_exactly` accepts all images.

    For code that initialises networks of one image size at other sizes, to see how shapes depend on
    it.
    """
    token = _any_size.set(True)
    try:
        yield
    finally:
        _any_size.reset(token)


def require_at_least(images: jax.Array, side: int, network: str) -> None:
    """Raises a ValueError unless images [B, H, W, C] have `side` pixels each way, or more."""
    if min(images.shape[1:3]) < side:
        _refuse(images, f"{network} takes images of at least {side}x{side} pixels")


def require_exactly(images: jax.Array, side: int, network: str, advice: str = "") -> None:
    """Raises a ValueError unless images [B, H, W, C] have `side` pixels each way.

    `advice` is a sentence at the end of the message.
    """
    if images.shape[1:3] != (side, side) and not _any_size.get():
        _refuse(images, f"{network} takes images of {side}x{side} pixels", advice)


def require_multiples(
    images: jax.Array,
    step: int,
    network: str,
    *,
    missing: int = 0,
    square: bool = False,
    example: int | None = None,
) -> None:
    """Raises a ValueError unless both sides of images [B, H, W, C] are multiples of `step`.

    Args:
      images: [B, H, W, C].
      step: in pixels.
      network: its name, for the message.
      missing: so many pixels fewer than a multiple will do as well.
      square: whether both sides must be the same.
      example: a side that fits, for the message; by default the multiple nearest to 224.
    """
    height, width = images.shape[1:3]
    fits = height * width and -height % step <= missing and -width % step <= missing
    nearest = max(1, round(224 / step)) * step
    if not fits or (square and height != width):
        kind, example = "square images" if square else "images", example or nearest
        _refuse(
            images,
            f"{network} takes {kind} whose sides are multiples of {step}, such as "
            f"{example}x{example} pixels",
        )


def _refuse(images: jax.Array, expected: str, advice: str = "") -> None:
    height, width = images.shape[1:3]
    raise ValueError(f"{expected}, got {height}x{width}.{' ' * bool(advice)}{advice}")
