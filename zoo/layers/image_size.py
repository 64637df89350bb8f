"""The error for images that are too small for a network's strides."""

import jax


def require_at_least(images: jax.Array, side: int, network: str) -> None:
    """Raises a ValueError unless the images [B, H, W, C] have `side` pixels each way, or more."""
    height, width = images.shape[1:3]
    if min(height, width) < side:
        raise ValueError(
            f"{network} takes images of {side}x{side} pixels and more, got {height}x{width}."
        )
