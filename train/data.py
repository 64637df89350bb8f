"""The data of a run: its two splits, how an image becomes a model's input, what stays on device."""

import dataclasses
import functools
from collections.abc import Callable

import jax
import numpy as np
from ml_collections import ConfigDict

import input_pipeline
import zoo
from input_pipeline import augment, in_memory, transforms
from input_pipeline.example import DataError, Source
from train.errors import TrainError

LARGEST_ON_DEVICE = 2**30  # bytes
WIDEST_PADDING = 4  # pixels on each side: MNIST to 32 x 32


@dataclasses.dataclass(frozen=True)
class Data:
    """Both splits of a data set, for one model.

    Attributes:
      train, evaluation: the sources.
      train_transform, eval_transform: from an example to uint8 pixels, on the host.
      augment: (key, uint8 [B, H, W, C]) -> the model's input in training, on the device.
      normalize: the same for evaluation, without a key.
      image_shape: (H, W, C) of the batches.
      on_device: whether the splits fit the device whole.
      num_classes: of the model; every label is less.
    """

    train: Source
    evaluation: Source
    train_transform: Callable
    eval_transform: Callable
    augment: Callable[[jax.Array, jax.Array], jax.Array]
    normalize: Callable[[jax.Array], jax.Array]
    image_shape: tuple[int, int, int]
    on_device: bool
    num_classes: int

    def load(self, source: Source) -> dict[str, np.ndarray]:
        """A whole split: {"image": uint8 [N, H, W, C], "label": int32 [N]}, labels checked."""
        images, labels = in_memory.load(source)
        check_labels(labels, self.num_classes, source)
        rows, columns = (np.array(self.image_shape[:2]) - images.shape[1:3]) // 2
        images = np.pad(images, ((0, 0), (rows, rows), (columns, columns), (0, 0)))
        return {"image": images, "label": labels}


def open_data(config: ConfigDict) -> Data:
    """Opens the data set of a recipe, preparing it if that is needed and possible.

    Raises:
      DataError: there is no such data set, or it cannot be prepared.
      TrainError: keys of the recipe that do not fit the data or the model.
    """
    model_info(config.model.name)  # raises for an unknown model, before anything is prepared
    train = _open(config, config.data.train_split)
    split = config.data.eval_split or input_pipeline.eval_split(
        config.data.name, config.data.dir or None
    )
    evaluation = _open(config, split)
    _check_classes(train, evaluation)
    return data_of(config, train, evaluation)


def data_of(config: ConfigDict, train: Source, evaluation: Source) -> Data:
    """What a recipe makes of its two splits; no image is read.

    Raises:
      TrainError: as `open_data`.
    """
    info = model_info(config.model.name)
    size = config.data.image_size or info.image_size
    train_transform, eval_transform = _transforms(config, train, size)
    channels = train.image_shape[2] if train.image_shape else 3
    input_of = functools.partial(
        augment.normalize, mean=info.mean, std=info.std, dtype=config.model.dtype
    )
    return Data(
        train=train,
        evaluation=evaluation,
        train_transform=train_transform,
        eval_transform=eval_transform,
        augment=functools.partial(_augmented, config.augment, input_of),
        normalize=input_of,
        image_shape=(size, size, channels),
        on_device=_on_device(config, train, evaluation, train_transform),
        num_classes=config.model.num_classes or train.num_classes,
    )


def model_info(name: str) -> zoo.registry.Info:
    """zoo.info, with an unknown name as TrainError."""
    try:
        return zoo.info(name)
    except ValueError as error:
        raise TrainError(f"model.name: {error}") from error


def check_labels(labels: np.ndarray, num_classes: int, source: Source) -> None:
    """Raises DataError if a label is not in [0, num_classes)."""
    outside = np.flatnonzero((labels < 0) | (labels >= num_classes))
    if outside.size:
        raise DataError(
            f"The data set {source.dataset} (split {source.split}) has the label "
            f"{labels[outside[0]]}, and the model has {num_classes} classes: labels must be 0 to "
            f"{num_classes - 1}. Set model.num_classes to the data set's {source.num_classes}, or "
            "to 0 to take that by itself; or mend the labels."
        )


def _open(config: ConfigDict, split: str) -> Source:
    data = config.data
    source = input_pipeline.open(
        data.name,
        split,
        data_dir=data.dir or None,
        manual_dir=data.manual_dir or None,
        on_unreadable=data.unreadable,
    )
    if len(source) == 0:
        raise TrainError(f"The split {split} of the data set {data.name} has no images.")
    return source


def _check_classes(train: Source, evaluation: Source) -> None:
    """Labels are positions among the class names: both splits must have the same ones."""
    ours, theirs = set(train.class_names), set(evaluation.class_names)
    if ours != theirs:
        raise DataError(
            f"The splits {train.split} and {evaluation.split} of {train.dataset} have different "
            f"classes, so their labels would not mean the same: {len(ours)} and {len(theirs)}; "
            f"only in one of them: {', '.join(sorted(ours ^ theirs)[:5])}. Give both splits the "
            "same classes (an empty folder will do for a class without images)."
        )


def _transforms(config: ConfigDict, source: Source, size: int) -> tuple[Callable, Callable]:
    """Those of training and of evaluation. Mirroring is left to the device."""
    recipe = config.augment
    center = transforms.CenterCrop(size, config.eval.crop, config.eval.interpolation)
    if recipe.crop == "random_resized":
        crop = transforms.RandomResizedCrop(
            size, tuple(recipe.area), tuple(recipe.ratio), recipe.interpolation, flip=False
        )
        return crop, center
    if recipe.crop == "resize_random":
        crop = transforms.ResizeRandomCrop(
            size, tuple(recipe.resize), recipe.interpolation, flip=False
        )
        return crop, center
    if recipe.crop != "none":
        raise TrainError(
            f'augment.crop={recipe.crop!r} is not known: choose "none", "random_resized" or '
            '"resize_random".'
        )
    if source.image_shape:
        missing = [size - length for length in source.image_shape[:2]]
        if missing[0] == missing[1] and missing[0] in range(0, 2 * WIDEST_PADDING + 1, 2):
            pad = transforms.Pad(missing[0] // 2)
            return pad, pad
    resize = transforms.Resize(size, recipe.interpolation)
    return resize, resize


def _on_device(config: ConfigDict, train: Source, evaluation: Source, transform: Callable) -> bool:
    wish = config.data.on_device
    if wish not in ("auto", "yes", "no"):
        raise TrainError(f'data.on_device={wish!r} is not known: choose "auto", "yes" or "no".')
    possible = isinstance(transform, transforms.Pad)
    if wish == "yes" and not possible:
        raise TrainError(
            f"data.on_device=yes: the images of {train.dataset} must be resized or cropped one by "
            'one, so they cannot stay on the device; use "auto".'
        )
    if wish == "no" or not possible:
        return False
    size = (len(train) + len(evaluation)) * int(np.prod(train.image_shape))
    return wish == "yes" or size <= LARGEST_ON_DEVICE


def _augmented(recipe: ConfigDict, input_of: Callable, key: jax.Array, images: jax.Array):
    shift_key, flip_key, lighting_key = jax.random.split(key, 3)
    if recipe.shift:
        images = augment.random_crop_with_padding(shift_key, images, recipe.shift)
    if recipe.flip:
        images = augment.random_flip(flip_key, images)
    if recipe.lighting:
        images = augment.lighting(lighting_key, images, recipe.lighting)
    return input_of(images)
