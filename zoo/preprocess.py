"""From an image to the input of a model, in numpy and Pillow."""

import dataclasses
import math
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from zoo import pictures, registry
from zoo import representation as representations

if TYPE_CHECKING:
    from PIL import Image

    from zoo.registry import Info

    ImageLike: TypeAlias = str | os.PathLike | bytes | Image.Image | np.ndarray


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """The preprocessing with which a model is evaluated; call it with an image, or with a batch.

    Its results are those of torchvision's `weights.transforms()` and of timm's transform for
    evaluation, to rounding in float32.

    Attributes:
      image_size: height and width of the result in pixels.
      channels: number of channels of the image: 1 (grey) or 3.
      mean, std: per channel in the order R, G, B, of images scaled to [0, 1]: the result is
        `(image / 255 - mean) / std`.
      channel_order: "RGB", or "BGR" to reverse the channels of the result.
      interpolation: "bilinear", "bicubic" or "lanczos", with antialiasing as in Pillow.
      crop: fraction of the shorter side that the central square crop keeps (0.875 is 224 of 256
        pixels), or None to resize the whole image to a square.
      padding: number of pixels of zeros on each side of the result, instead of image.
      reduced: whether images are resized as in training: a large file is decoded at 1/2, 1/4 or
        1/8 of its size where that leaves enough pixels, and nothing is resized that the crop leaves
        out. It is on in the files of runs; it is faster, and not what torchvision does.
      exif_orientation: whether photographs are turned as their EXIF tag says; torchvision and timm
        ignore it.
      representation: what the model is given of the image, see `zoo.representation`: "rgb" is the
        image itself (also a grey one), "hsv+fourier_phase" are six channels of another kind.

    Raises:
      ValueError: an attribute has a value that is not listed above.

    Example:
      >>> preprocessing = zoo.preprocess(zoo.info("resnet50"))
      >>> preprocessing("cat.jpg").shape
      (224, 224, 3)
      >>> preprocessing(["cat.jpg", "dog.jpg"]).shape
      (2, 224, 224, 3)
    """

    image_size: int
    channels: int = 3
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    channel_order: str = "RGB"
    interpolation: str = "bilinear"
    crop: float | None = 0.875
    padding: int = 0
    reduced: bool = False
    exif_orientation: bool = False
    representation: str = "rgb"

    def __post_init__(self):
        checks = {
            "image_size": 0 < self.image_size <= 2**14,
            "channels": self.channels in pictures.MODES,
            "mean": len(self.mean) in (1, self.channels),
            "std": len(self.std) in (1, self.channels) and min(self.std) > 0,
            "channel_order": self.channel_order in ("RGB", "BGR"),
            "interpolation": self.interpolation in pictures.REACH,
            "crop": self.crop is None or 0 < self.crop <= 1,
            "padding": 0 <= 2 * self.padding < self.image_size,
            "reduced": isinstance(self.reduced, bool),
            "exif_orientation": isinstance(self.exif_orientation, bool),
            "representation": self.representation == "rgb" or self.channel_order == "RGB",
        }
        for name, valid in checks.items():
            if not valid:
                raise ValueError(f"{name} of a preprocessing cannot be {getattr(self, name)!r}")
        representations.check(self.representation, self.channels)

    @property
    def input_channels(self) -> int:
        """Number of channels of the result: the model's input."""
        if self.representation == "rgb":
            return self.channels
        return len(representations.statistics(self.representation, self.mean, self.std)[0])

    @classmethod
    def from_info(cls, info: "Info", image_size: int | None = None) -> "Preprocessing":
        """Returns the preprocessing of published weights, at another image size if one is given."""
        size, crop = image_size or info.image_size, info.crop
        if crop is not None:  # timm's rounding; torchvision's are whole numbers
            inner = size - 2 * info.padding
            crop = inner / math.floor(inner / crop + 1e-6)
        return cls(
            image_size=size,
            channels=info.channels,
            mean=info.mean,
            std=info.std,
            channel_order=info.channel_order,
            interpolation=info.interpolation,
            crop=crop,
            padding=info.padding,
        )

    def __call__(self, images: "ImageLike | Iterable[ImageLike]") -> np.ndarray:
        """Returns the model's input for one image or for a batch.

        Args:
          images: an image or several. An image is the path of a file, the bytes of one, a Pillow
            image, or uint8 [H, W] or [H, W, C]; several are a list or another iterable of these, or
            uint8 [N, H, W, C]. Images become RGB or grey as the model wants. As in torchvision and
            timm, transparency is dropped; of 16-bit grey the high byte is taken, where these make
            nearly all of it white.

        Returns:
          float32 [image_size, image_size, input_channels], of several with an axis in front.

        Raises:
          ValueError: a file is not an image or has more than 64 million pixels, pixels are floats
            or integers of 32 bits, or an array is not uint8 or has another shape.
          FileNotFoundError: there is no such file.
        """
        return self.normalize(self.resize(images))

    def resize(self, images: "ImageLike | Iterable[ImageLike]") -> np.ndarray:
        """Returns the image or images resized, cropped and padded, before they are normalised.

        See `__call__` for the argument and errors.

        Returns:
          uint8 [image_size, image_size, channels], of several with an axis in front.
        """
        image: Any = _array(images)
        if not _is_batch(image):
            return self._resize_one(image)
        shape = self.image_size, self.image_size, self.channels
        pixels = [self._resize_one(_array(one)) for one in image]
        return np.stack(pixels) if pixels else np.empty((0, *shape), np.uint8)

    def _resize_one(self, image: "ImageLike") -> np.ndarray:
        size = self.image_size - 2 * self.padding

        def reduction_of(width: int, height: int) -> int:
            left, top, right, bottom = self._box(width, height, size)
            return pictures.reduction(right - left, bottom - top, size) if self.reduced else 1

        mode = pictures.MODES[self.channels]
        picture, full_size, reduction = pictures.open_picture(
            image, mode, reduction_of, self.exif_orientation
        )
        width, height = self._resized(*full_size, size)
        huge = width * height > pictures.MAX_PIXELS  # what is long and narrow can become that
        if self.reduced or huge:
            box = tuple(x / reduction for x in self._box(*full_size, size))
            picture = pictures.resize_box(picture, box, size, self.interpolation, self.crop is None)
        else:  # all of it, as the references do: a part of it would come out differently
            picture = picture.resize((width, height), pictures.resampling(self.interpolation))
            left, top = _corner(width, height, size)
            picture = picture.crop((left, top, left + size, top + size))
        pixels = np.asarray(picture).reshape(size, size, self.channels)
        sides = (self.padding, self.padding)
        return np.pad(pixels, (sides, sides, (0, 0)))

    def normalize(self, pixels: Any) -> Any:
        """Returns `(pixels / 255 - mean) / std` in the channel order of the model, as float32.

        Args:
          pixels: [..., H, W, C], in [0, 255] and the order RGB; an array of numpy or, also under
            `jax.jit`, of JAX.
        """
        last = (1,) * (pixels.ndim - 1) + (-1,)
        statistics = representations.statistics(self.representation, self.mean, self.std)
        mean, std = (np.asarray(x, np.float32).reshape(last) for x in statistics)
        images = representations.represent(pixels, self.representation)
        images = images.astype(np.float32) * (1 / (255 * std)) - mean / std
        return images[..., ::-1] if self.channel_order == "BGR" else images

    def _box(self, width: int, height: int, size: int) -> tuple[float, float, float, float]:
        """The part (left, top, right, bottom) of the image that the result shows."""
        resized = self._resized(width, height, size)
        left, top = _corner(*resized, size)
        x, y = width / resized[0], height / resized[1]
        return left * x, top * y, (left + size) * x, (top + size) * y

    def _resized(self, width: int, height: int, size: int) -> tuple[int, int]:
        """The width and height of the whole image after resizing, rounded as by torchvision."""
        if self.crop is None:
            return size, size
        shorter = round(size / self.crop)
        if width <= height:
            return shorter, int(shorter * height / width)
        return int(shorter * width / height), shorter


def preprocess(info: "Info | str", image_size: int | None = None) -> Preprocessing:
    """Returns the preprocessing with which a model or published weights are evaluated.

    Args:
      info: what `zoo.info` returned or a loaded model has, or the name of a model.
      image_size: height and width of its results, instead of those of `info`.

    Raises:
      ValueError: there is no model of that name.

    Example:
      >>> images = zoo.preprocess(zoo.info("resnet50"))(["cat.jpg", "dog.png"])
      >>> logits = model.apply(variables, images)
    """
    info = registry.info(info) if isinstance(info, str) else info
    return Preprocessing.from_info(info, image_size)


# `zoo.preprocess` is this function; the module was there before, with the class.
vars(preprocess)["Preprocessing"] = Preprocessing


def _array(image: Any) -> Any:
    """The image, with arrays of other libraries as numpy's; Pillow's images stay what they are."""
    is_array = hasattr(image, "__array__") and hasattr(image, "ndim")
    return np.asarray(image) if is_array else image


def _is_batch(image: Any) -> bool:
    from PIL import Image

    if isinstance(image, np.ndarray):
        return image.ndim == 4
    return isinstance(image, Iterable) and not isinstance(image, str | bytes | Image.Image)


def _corner(width: int, height: int, size: int) -> tuple[int, int]:
    """Left and top of the central square, rounded as by torchvision."""
    return round((width - size) / 2), round((height - size) / 2)
