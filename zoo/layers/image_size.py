"""The errors for images of a size that a network cannot take."""

import jax


def require_at_least(images: jax.Array, side: int, network: str) -> None:
    """Raises a ValueError unless the images [B, H, W, C] have `side` pixels each way, or more."""
    height, width = images.shape[1:3]
    if min(height, width) < side:
        raise ValueError(
            f"{network} takes images of {side}x{side} pixels and more, got {height}x{width}."
        )


def require_multiples(images: jax.Array, step: int, network: str) -> None:
    """Raises a ValueError unless both sides of the images [B, H, W, C] are multiples of `step`."""
    height, width = images.shape[1:3]
    if height % step or width % step or not height * width:
        raise ValueError(
            f"{network} takes images whose sides are multiples of {step}, such as "
            f"{14 * step}x{14 * step} pixels, got {height}x{width}."
        )
