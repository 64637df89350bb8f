"""Views of an image at evaluation: one crop, mirrors, ten crops, or the whole image."""

from collections.abc import Callable, Sequence

import numpy as np

VIEWS = ("center", "flip", "ten_crop", "dense")


def center_crop(image: np.ndarray, size: int) -> np.ndarray:
    """Returns the central square of an image [H, W, C], rounded as by torchvision."""
    top, left = (round((length - size) / 2) for length in image.shape[:2])
    return image[top : top + size, left : left + size]


def mirrored(images: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Returns the images and, after them, their mirrors from left to right."""
    return [*images, *(image[:, ::-1] for image in images)]


def ten_crops(image: np.ndarray, size: int) -> list[np.ndarray]:
    """Returns the four corners, the centre, and their mirrors, in torchvision's order.

    Source: Krizhevsky et al. 2012, section 4.1; there of the central square of the image only.
    """
    bottom, right = (length - size for length in image.shape[:2])
    corners = [(0, 0), (0, right), (bottom, 0), (bottom, right)]
    crops = [image[top : top + size, left : left + size] for top, left in corners]
    return mirrored([*crops, center_crop(image, size)])


def views_of(protocol: str) -> Callable[[np.ndarray, int], list[np.ndarray]]:
    """Returns the function (image [H, W, C], size) -> views of it that a name stands for.

    "center" is the central square, "flip" it and its mirror, "ten_crop" ten crops, all of `size`
    pixels; "dense" is the whole image and its mirror (Simonyan and Zisserman 2015, section 3.2; He
    et al. 2016, section 3.4), for networks that end in global pooling.

    Raises:
      ValueError: the name is none of `VIEWS`.
    """
    known = {
        "center": lambda image, size: [center_crop(image, size)],
        "flip": lambda image, size: mirrored([center_crop(image, size)]),
        "ten_crop": ten_crops,
        "dense": lambda image, size: mirrored([image]),
    }
    if protocol not in known:
        raise ValueError(f"views={protocol!r} is not known: choose {', '.join(VIEWS)}.")
    return known[protocol]
