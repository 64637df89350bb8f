"""Pictures drawn by formulas, which two environments draw alike to the last bit."""

import numpy as np


def draw(width: int, height: int) -> np.ndarray:
    """uint8 [height, width, 3]: a wave, sharp stripes of 3 pixels, and a noise of integers."""
    y, x = np.mgrid[:height, :width].astype(np.int64)
    red = 255 * (4 * x * (width - x)) // width**2
    green = np.where((x + 2 * y) % 6 < 3, 240, 20)
    blue = (x * 7919 + y * 104729 + x * y * 31) % 256
    return np.stack([red, green, blue], axis=-1).astype(np.uint8)


# Name: (width, height); all are given as arrays.
DRAWN = {
    "lying": (500, 375),
    "upright": (333, 500),
    "small": (61, 47),
    "wide": (900, 150),
    "odd": (231, 337),
    "large": (1600, 1203),
}
