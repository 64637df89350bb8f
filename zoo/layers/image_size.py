"""Errors for images of a size that a network cannot take."""

import contextlib
import contextvars
from collections.abc import Iterator

import jax

_any_size = contextvars.ContextVar("any_size", default=False)


@contextlib.contextmanager
def any_size() -> Iterator[None]:
    """Context manager in which `require_exactly` accepts all images.

    It is for code that initialises networks of one image size at other sizes, to see how shapes
    depend on it.
    """
    token = _any_size.set(True)
    try:
        yield
    finally:
        _any_size.reset(token)


def require_at_least(images: jax.Array, side: int, network: str) -> None:
    """Raises a ValueError unless both sides of images [B, H, W, C] are at least `side` pixels."""
    if min(images.shape[1:3]) < side:
        _raise_size_error(images, f"{network} takes images of at least {side}x{side} pixels")


def require_exactly(images: jax.Array, side: int, network: str, advice: str = "") -> None:
    """Raises a ValueError unless both sides of images [B, H, W, C] are `side` pixels.

    `advice` is a sentence at the end of the message.
    """
    if images.shape[1:3] != (side, side) and not _any_size.get():
        _raise_size_error(images, f"{network} takes images of {side}x{side} pixels", advice)


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
      images: Images, [B, H, W, C].
      step: Number of pixels that divides both sides.
      network: Name of the network, for the message.
      missing: Number of pixels by which a side may fall short of a multiple.
      square: Whether both sides must be the same.
      example: A side that fits, for the message; by default the multiple nearest to 224.
    """
    height, width = images.shape[1:3]
    fits = height * width and -height % step <= missing and -width % step <= missing
    nearest = max(1, round(224 / step)) * step
    if not fits or (square and height != width):
        kind, example = "square images" if square else "images", example or nearest
        _raise_size_error(
            images,
            f"{network} takes {kind} whose sides are multiples of {step}, such as "
            f"{example}x{example} pixels",
        )


def _raise_size_error(images: jax.Array, expected: str, advice: str = "") -> None:
    height, width = images.shape[1:3]
    raise ValueError(f"{expected}, got {height}x{width}.{' ' * bool(advice)}{advice}")
