"""From an image to the input of a model, in numpy and Pillow."""

import dataclasses
import io
import math
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from zoo import registry

if TYPE_CHECKING:
    from PIL import Image

    from zoo.registry import Info

    ImageLike: TypeAlias = str | os.PathLike | bytes | Image.Image | np.ndarray

# Reach of the filters of Pillow, in pixels of the smaller scale.
_REACH = {"bilinear": 1, "bicubic": 2, "lanczos": 3}
_MODES = {1: "L", 3: "RGB"}

# Which files are opened, as in training (`input_pipeline.decode`, which nothing of `zoo` imports):
# formats of photographs, and not EPS, which starts a program; no more pixels than this.
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
_MAX_PIXELS = 64_000_000


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """The preprocessing with which a model is evaluated; call it with an image, or with a batch.

    Its results are those of torchvision's `weights.transforms()` and of timm's transform for
    evaluation, to one grey level, 1/255 of the range of pixels.

    Attributes:
      image_size: height and width of the result in pixels.
      channels: number of channels of the result: 1 (grey) or 3.
      mean, std: per channel in the order R, G, B, of images scaled to [0, 1]: the result is
        `(image / 255 - mean) / std`.
      channel_order: "RGB", or "BGR" to reverse the channels of the result.
      interpolation: "bilinear", "bicubic" or "lanczos", with antialiasing as in Pillow.
      crop: fraction of the shorter side that the central square crop keeps (0.875 is 224 of 256
        pixels), or None to resize the whole image to a square.
      padding: number of pixels of zeros on each side of the result, instead of image.
      reduced: whether a large file is decoded at 1/2, 1/4 or 1/8 of its size where that leaves
        enough pixels. This is what training does, and so it is on in the files of its runs; it is
        faster, and further than one grey level from torchvision.

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

    def __post_init__(self):
        checks = {
            "image_size": 0 < self.image_size <= 2**14,
            "channels": self.channels in _MODES,
            "mean": len(self.mean) in (1, self.channels),
            "std": len(self.std) in (1, self.channels) and min(self.std) > 0,
            "channel_order": self.channel_order in ("RGB", "BGR"),
            "interpolation": self.interpolation in _REACH,
            "crop": self.crop is None or 0 < self.crop <= 1,
            "padding": 0 <= 2 * self.padding < self.image_size,
            "reduced": isinstance(self.reduced, bool),
        }
        for name, valid in checks.items():
            if not valid:
                raise ValueError(f"{name} of a preprocessing cannot be {getattr(self, name)!r}")

    @classmethod
    def from_info(cls, info: "Info", image_size: int | None = None) -> "Preprocessing":
        """Returns the preprocessing of published weights, at another image size if one is given."""
        size, crop = image_size or info.image_size, info.crop
        padding = getattr(info, "padding", 0)
        if crop is not None:  # timm's rounding; torchvision's are whole numbers
            crop = (size - 2 * padding) / math.floor((size - 2 * padding) / crop + 1e-6)
        return cls(
            image_size=size,
            channels=info.channels,
            mean=info.mean,
            std=info.std,
            channel_order=info.channel_order,
            interpolation=info.interpolation,
            crop=crop,
            padding=padding,
        )

    def __call__(self, images: "ImageLike | Iterable[ImageLike]") -> np.ndarray:
        """Returns the model's input for one image or for a batch.

        Args:
          images: an image or several. An image is the path of a file, the bytes of one, a Pillow
            image, or uint8 [H, W] or [H, W, C]; several are a list or another iterable of these, or
            uint8 [N, H, W, C]. Images become RGB or grey as the model wants. As in torchvision and
            timm, transparency is dropped and EXIF orientation is ignored; of 16-bit grey the high
            byte is taken, where these make nearly all of it white.

        Returns:
          float32 [image_size, image_size, channels], of several with an axis in front.

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
        picture, full_size, reduction = self._open(image, size)
        box = tuple(x / reduction for x in self._box(*full_size, size))
        picture = _resize(picture, box, size, self.interpolation, crop_first=self.crop is None)
        pixels = np.asarray(picture).reshape(size, size, self.channels)
        sides = (self.padding, self.padding)
        return np.pad(pixels, (sides, sides, (0, 0)))

    def normalize(self, pixels: Any) -> Any:
        """Returns `(pixels / 255 - mean) / std` in the channel order of the model, as float32.

        Args:
          pixels: [..., C], in [0, 255] and the order RGB; an array of numpy or, also under
            `jax.jit`, of JAX.
        """
        last = (1,) * (pixels.ndim - 1) + (-1,)
        mean, std = (np.asarray(x, np.float32).reshape(last) for x in (self.mean, self.std))
        images = pixels.astype(np.float32) * (1 / (255 * std)) - mean / std
        return images[..., ::-1] if self.channel_order == "BGR" else images

    def _box(self, width: int, height: int, size: int) -> tuple[float, float, float, float]:
        """The part (left, top, right, bottom) of the image that the result shows."""
        if self.crop is None:
            return 0, 0, width, height
        shorter = round(size / self.crop)  # of the image after resizing, as torchvision rounds it
        if width <= height:
            resized = shorter, int(shorter * height / width)
        else:
            resized = int(shorter * width / height), shorter
        left, top = (round((length - size) / 2) for length in resized)
        x, y = width / resized[0], height / resized[1]
        return left * x, top * y, (left + size) * x, (top + size) * y

    def _open(self, image: Any, size: int) -> "tuple[Image.Image, tuple[int, int], int]":
        """The image in the mode of the model, its full (width, height), and what divides that."""
        from PIL import Image

        mode = _MODES[self.channels]
        if isinstance(image, Image.Image):
            return _converted(image, mode), image.size, 1
        if isinstance(image, np.ndarray):
            picture = _from_array(image)
            return picture.convert(mode), picture.size, 1
        name, source = image, image
        if isinstance(image, bytes):
            name, source = f"An array of {len(image):,} bytes", io.BytesIO(image)
        elif os.path.exists(image) and not os.path.isfile(image):  # a FIFO never opens
            raise ValueError(f"{image} is not a file, but a folder, FIFO, socket or device.")
        try:
            with Image.open(source, formats=_FORMATS) as file:
                full_size = width, height = file.size
                if not 0 < width * height <= _MAX_PIXELS:
                    raise ValueError(
                        f"it has {width} x {height} pixels, and the limit is {_MAX_PIXELS:,}"
                    )
                left, top, right, bottom = self._box(width, height, size)
                reduction = 1
                if self.reduced:
                    reduction = _reduction(right - left, bottom - top, size)
                file.draft(None, (width // reduction, height // reduction))  # JPEG only
                picture = _converted(file, mode)
        except FileNotFoundError:
            raise
        except Exception as error:  # of any type: broken files make Pillow raise a dozen of them
            raise ValueError(f"{name} is not an image that can be decoded: {error}.") from error
        if picture.width != math.ceil(width / reduction):
            picture = picture.reduce(reduction)
        return picture, full_size, reduction


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


def _converted(picture: "Image.Image", mode: str) -> "Image.Image":
    """The pixels of an image of any mode as "RGB" or "L", as `input_pipeline.decode` has them."""
    from PIL import Image

    picture.load()
    if picture.mode in ("I", "F") or picture.mode.startswith("I;"):
        if not (picture.mode.startswith("I;16") or (picture.mode, picture.format) == ("I", "PPM")):
            raise ValueError(
                f"its pixels are of mode {picture.mode}, whose range is not known; store them as 8 "
                "or 16 bits"
            )
        tags = getattr(picture, "tag_v2", {})  # of TIFF: bits, and whether white is zero
        bits = tags.get(258, (16,))
        pixels = np.asarray(picture) >> ((bits[0] if isinstance(bits, tuple) else bits) - 8)
        pixels = pixels.astype(np.uint8)
        picture = Image.fromarray(255 - pixels if tags.get(262) == 0 else pixels)
    elif "transparency" in picture.info:  # which is passed over, and Pillow warns of it
        picture = picture.copy()
        del picture.info["transparency"]
    if picture.mode in ("LAB", "HSV"):  # which Pillow converts to RGB only
        picture = picture.convert("RGB")
    return picture.convert(mode)


def _resize(
    picture: "Image.Image", box: tuple, size: int, interpolation: str, crop_first: bool
) -> "Image.Image":
    """The box of the picture, resized to a square.

    Only the region around the box that the filter reaches is given to Pillow, as in training: which
    of its two passes Pillow does first depends on the size of what it is given.
    """
    from PIL import Image

    left, top, right, bottom = box
    reach = 0 if crop_first else _REACH[interpolation]
    x, y = (reach * max(1, length / size) for length in (right - left, bottom - top))
    region = (
        max(0, math.floor(left - x)),
        max(0, math.floor(top - y)),
        min(picture.width, math.ceil(right + x)),
        min(picture.height, math.ceil(bottom + y)),
    )
    box = (left - region[0], top - region[1], right - region[0], bottom - region[1])
    resample = Image.Resampling[interpolation.upper()]
    return picture.crop(region).resize((size, size), resample, box=box)


def _from_array(pixels: np.ndarray) -> "Image.Image":
    from PIL import Image

    channels = pixels.shape[2:] or (1,)
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or channels[0] not in (1, 3, 4):
        raise ValueError(
            f"an image must be uint8 [H, W] or [H, W, C] with C 1, 3 or 4; got {pixels.dtype} "
            f"{list(pixels.shape)}."
        )
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2:] == (1,) else pixels)


def _reduction(width: float, height: float, size: int) -> int:
    """The largest of 1, 2, 4 and 8 that leaves at least `size` pixels on both sides."""
    return next(r for r in (8, 4, 2, 1) if r == 1 or min(width, height) >= r * size)
