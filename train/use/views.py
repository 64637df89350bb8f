"""Views of an image at evaluation: one crop, mirrors, ten crops, 144, or the whole image.

A protocol is three choices: which views are shown (`VIEWS`), at which sizes of the image, and how
their predictions are averaged (`AVERAGES`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from input_pipeline.example import Example, UnreadableImage
from zoo import pictures
from zoo.preprocess import Preprocessing

VIEWS = ("center", "flip", "ten_crop", "ten_crop_square", "googlenet_144", "dense")
AVERAGES = ("probabilities", "logits", "log_probabilities")
GOOGLENET_SCALES = (256, 288, 320, 352)  # shorter sides, for crops of 224 pixels


def center_crop(image: np.ndarray, size: int) -> np.ndarray:
    """Returns the central square of an image [H, W, C], rounded as by torchvision."""
    top, left = (round((length - size) / 2) for length in image.shape[:2])
    return image[top : top + size, left : left + size]


def mirrored(images: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Returns the images and, after them, their mirrors from left to right."""
    return [*images, *(image[:, ::-1] for image in images)]


def five_crops(image: np.ndarray, size: int) -> list[np.ndarray]:
    """Returns the four corners and the centre of an image [H, W, C], in torchvision's order."""
    bottom, right = (length - size for length in image.shape[:2])
    corners = [(0, 0), (0, right), (bottom, 0), (bottom, right)]
    crops = [image[top : top + size, left : left + size] for top, left in corners]
    return [*crops, center_crop(image, size)]


def ten_crops(image: np.ndarray, size: int) -> list[np.ndarray]:
    """Returns the five crops of an image and those of its mirror, in torchvision's order.

    Source: Krizhevsky et al. 2012, section 4.1; there of the central square of the image only.
    """
    return [*five_crops(image, size), *five_crops(image[:, ::-1], size)]


def googlenet_views(
    image: np.ndarray, size: int, interpolation: str = "bilinear"
) -> list[np.ndarray]:
    """Returns the 36 views of an image at one scale: 3 squares, 6 crops of each, and mirrors.

    The squares are at the left, centre and right of the image [H, W, C], or at its top, centre and
    bottom; of each there are the five crops of `five_crops` and the square itself, resized.

    Source: Szegedy et al. 2014, arXiv:1409.4842, section 7.
    """
    side = min(image.shape[:2])
    crops = []
    for part in range(3):  # of whole and half pixels, as the corner of a crop
        top, left = ((length - side) * part // 2 for length in image.shape[:2])
        square = image[top : top + side, left : left + side]
        crops += [*five_crops(square, size), _resized_square(square, size, interpolation)]
    return mirrored(crops)


def views_of(protocol: str) -> Callable[..., list[np.ndarray]]:
    """Returns the function (image [H, W, C], size) -> views of it that a name stands for.

    "center" is the central square, "flip" it and its mirror, "ten_crop" ten crops,
    "ten_crop_square" ten crops of the central square (AlexNet's), "googlenet_144" 36 crops, at each
    of four scales, all of `size` pixels; "dense" is the whole image and its mirror (Simonyan and
    Zisserman 2015, section 3.2; He et al. 2016, section 3.4), for networks that slide over it.

    Raises:
      ValueError: the name is none of `VIEWS`.
    """
    known: dict[str, Callable[..., list[np.ndarray]]] = {
        "center": lambda image, size: [center_crop(image, size)],
        "flip": lambda image, size: mirrored([center_crop(image, size)]),
        "ten_crop": ten_crops,
        "ten_crop_square": lambda image, size: ten_crops(
            center_crop(image, min(image.shape[:2])), size
        ),
        "googlenet_144": googlenet_views,
        "dense": lambda image, size: mirrored([image]),
    }
    if protocol not in known:
        raise ValueError(f"views={protocol!r} is not known: choose {', '.join(VIEWS)}.")
    return known[protocol]


def count(views: str) -> int:
    """Returns the number of views of an image at its usual scales."""
    example = np.zeros((512, 512, 1), np.uint8)
    return len(shown(example, Preprocessing(32, 1, mean=(0.0,), std=(1.0,)), views))


def shown(
    image: Any, preprocessing: Preprocessing, views: str = "center", scales: Sequence[int] = ()
) -> list[np.ndarray]:
    """Returns the views of an image: uint8 [H, W, C] each, of one size but for "dense".

    Args:
      image: an array, or the bytes or path of a file, as `Preprocessing` takes it.
      preprocessing: what says the size, crop and interpolation of the views.
      views: one of `VIEWS`.
      scales: lengths in pixels to which the shorter side is resized, all of which are used; () for
        that of the preprocessing, or the four of "googlenet_144".

    Raises:
      ValueError: it is not an image.
    """
    size, crop = preprocessing.image_size, preprocessing.crop
    make = views_of(views)
    if views == "center" and not scales:
        return [preprocessing.resize(image)]
    if views == "googlenet_144":
        make = partial(make, interpolation=preprocessing.interpolation)
        scales = scales or tuple(round(size * scale / 224) for scale in GOOGLENET_SCALES)
    elif not scales and crop is None:  # the model sees whole images, as squares
        return make(preprocessing.resize(image), size)
    scales = scales or (round(size / (crop or 1)),)
    resized = (_resized(image, preprocessing, scale) for scale in scales)
    return [view for pixels in resized for view in make(pixels, size)]


def average(logits: Any, how: str = "probabilities") -> Any:
    """Returns the average of the views of each example, as logits or logarithms of probabilities.

    They are different protocols: AlexNet, VGG and ResNet average probabilities.

    Args:
      logits: [..., V, K] of V views; an array of numpy, or of JAX also under `jax.jit`.
      how: "logits" for their mean; "probabilities" for the logarithm of the mean of the views'
        probabilities; "log_probabilities" for the mean of their logarithms.

    Returns:
      [..., K].

    Raises:
      ValueError: `how` is none of these.
    """
    if how not in AVERAGES:
        raise ValueError(f"average={how!r} is not known: choose {', '.join(AVERAGES)}.")
    if how == "logits":
        return logits.mean(-2)
    array: Any = jnp if isinstance(logits, jax.Array) else np
    logs = logits - _log_sum(array, logits, -1)
    if how == "log_probabilities":
        return logs.mean(-2)
    return _log_sum(array, logs, -2)[..., 0, :] - np.log(logits.shape[-2])


@dataclass(frozen=True)
class Views:
    """A transform of `input_pipeline`: an example -> uint8 [V, H, W, C].

    Attributes:
      views: one of `VIEWS` but "dense", whose views have many sizes.
      preprocessing: see `shown`.
    """

    views: str
    preprocessing: Preprocessing

    def __call__(self, example: Example, rng: np.random.Generator | None = None) -> np.ndarray:
        try:
            return np.stack(shown(example.image, self.preprocessing, self.views))
        except (ValueError, OSError) as error:
            raise UnreadableImage(f"{example.name}: {error}") from error


def _log_sum(array: Any, x: Any, axis: int) -> Any:
    """The logarithm of the sum of exponentials along an axis, which stays with length 1."""
    largest = x.max(axis, keepdims=True)
    return largest + array.log(array.exp(x - largest).sum(axis, keepdims=True))


def _resized(image: Any, preprocessing: Preprocessing, shorter: int) -> np.ndarray:
    """The whole image with a shorter side of that length, uint8 [H, W, C]."""
    mode = pictures.MODES[preprocessing.channels]
    turn = preprocessing.exif_orientation
    picture, (width, height), _ = pictures.open_picture(image, mode, lambda *_: 1, turn)
    sides = shorter * width // min(width, height), shorter * height // min(width, height)
    if sides[0] * sides[1] > pictures.MAX_PIXELS:
        raise ValueError(f"an image of {width} x {height} pixels is too large at {shorter}")
    picture = picture.resize(sides, pictures.resampling(preprocessing.interpolation))
    return np.asarray(picture).reshape(sides[1], sides[0], preprocessing.channels)


def _resized_square(square: np.ndarray, size: int, interpolation: str) -> np.ndarray:
    mode = pictures.MODES[square.shape[2]]
    picture, _, _ = pictures.open_picture(square, mode, lambda *_: 1, False)
    picture = picture.resize((size, size), pictures.resampling(interpolation))
    return np.asarray(picture).reshape(size, size, square.shape[2])
