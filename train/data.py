"""The data of a run: its two splits, and the functions from an image to a model's input."""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

import input_pipeline
import zoo
from configs.functions import is_reference
from input_pipeline import augment, in_memory, order, transforms
from input_pipeline.example import DataError, Source
from train.augmentation import Augmentation, group_size, make_augmentation
from train.console import say
from train.errors import TrainError
from train.functions import find, find_all
from train.use import views
from zoo import registry, representation
from zoo.preprocess import Preprocessing

MAX_BYTES_ON_DEVICE = 2**30
MAX_ENLARGEMENT = 3  # times, which is not worth a word
MAX_PADDING = 4  # pixels on each side; wider images are resized. MNIST to 32 x 32 takes 2


@dataclasses.dataclass(frozen=True)
class Data:
    """Both splits of a data set, prepared for one model.

    Attributes:
      train, evaluation: the splits.
      train_transform, eval_transform: from an example to uint8 [H, W, C], on the host.
      augment: (key, uint8 [B, H, W, C], mesh=None) -> the model's input in training, on the device.
      normalize: uint8 [B, H, W, C] -> the model's input in evaluation, on the device.
      image_shape: (H, W, C) of the batches.
      eval_shape: of those of evaluation: the same, of another size, or (V, H, W, C) in V views.
      on_device: whether both splits are kept in device memory.
      num_classes: number of the model's classes; all labels are smaller.
      preprocessing: preprocessing of the weights that the run starts from, or of the model; its
        mean, deviation and order of channels are those of `augment` and `normalize`.
      repeats, replicas: of repeated augmentation, see `input_pipeline.order.indices`.
    """

    train: Source
    evaluation: Source
    train_transform: Callable
    eval_transform: Callable
    augment: Augmentation
    normalize: Callable[[jax.Array], jax.Array]
    image_shape: tuple[int, int, int]
    eval_shape: tuple[int, ...]
    on_device: bool
    num_classes: int
    preprocessing: Preprocessing
    repeats: int = 1
    replicas: int = 1

    @property
    def examples_per_epoch(self) -> int:
        """Number of images in an epoch of training."""
        return order.epoch_length(len(self.train), self.repeats)

    def load(self, source: Source) -> dict[str, np.ndarray]:
        """Loads a whole split: {"image": uint8 [N, H, W, C], "label": int32 [N]}.

        Raises:
          DataError: a label is not smaller than `num_classes`.
        """
        images, labels = in_memory.load(source)
        check_labels(labels, self.num_classes, source)
        rows, columns = (np.array(self.image_shape[:2]) - images.shape[1:3]) // 2
        images = np.pad(images, ((0, 0), (rows, rows), (columns, columns), (0, 0)))
        return {"image": images, "label": labels}


def open_data(config: ConfigDict, preprocessing: Preprocessing | None = None) -> Data:
    """Opens the data set of a recipe, after preparing it if that is necessary and possible.

    Args:
      config: a recipe.
      preprocessing: preprocessing of the weights that the run starts from; None for random ones.

    Raises:
      DataError: there is no such data set, or it cannot be prepared.
      TrainError: keys of the recipe do not fit the data or the model.
    """
    model_info(config.model.name)  # raises for an unknown model, before anything is prepared
    train = _open(config, config.data.train_split)
    split = config.data.eval_split or input_pipeline.eval_split(
        own_data(config.data.name), config.data.dir or None
    )
    evaluation = _open(config, split)
    _check_classes(train, evaluation)
    if train.num_classes == 1 and config.model.num_classes < 2:
        say(
            f"Note: {train.dataset} has one class only, so the loss is 0 whatever the model says. "
            "A folder of images needs one folder for each class."
        )
    data = make_data(config, train, evaluation, preprocessing)
    _tell_of_enlargement(config.model.name, data)
    return data


def _tell_of_enlargement(name: str, data: Data) -> None:
    """Says so if images are enlarged several times: a network for small images may be meant."""
    shape, size = data.train.image_shape, data.image_shape[0]
    if not shape or size < MAX_ENLARGEMENT * max(shape[:2]):
        return
    small = (
        [f"{name}_cifar"] if f"{name}_cifar" in zoo.list_models() else zoo.list_models("*_cifar")
    )
    _, attributes = registry.attributes(name)
    stem = "model.options.stem=cifar, or " if attributes.get("stem") == "imagenet" else ""
    say(
        f"Note: {data.train.dataset} has images of {shape[0]}x{shape[1]} pixels, which are "
        f"enlarged to {size}x{size} for {name}. For small images there is "
        f"{', '.join(small[:4])}, or set {stem}data.image_size."
    )


def make_data(
    config: ConfigDict,
    train: Source,
    evaluation: Source,
    preprocessing: Preprocessing | None = None,
) -> Data:
    """Returns the data of a recipe whose splits are open; reads no image.

    Args:
      config: a recipe.
      train, evaluation: its splits.
      preprocessing: see `open_data`.

    Raises:
      TrainError: as `open_data`.
    """
    if preprocessing is None:  # nothing to be equal to, so that the order of channels is RGB
        preprocessing = Preprocessing.from_info(model_info(config.model.name))
        preprocessing = dataclasses.replace(preprocessing, channel_order="RGB")
    size = config.data.image_size or preprocessing.image_size
    eval_size = config.eval.image_size or size
    train_transform, eval_transform = _transforms(config, train, size, eval_size)
    channels = train.image_shape[2] if train.image_shape else 3
    preprocessing = _with_representation(preprocessing, config.augment.representation, channels)
    normalize = functools.partial(_normalize, preprocessing, config.model.dtype)
    eval_shape: tuple[int, ...] = (eval_size, eval_size, channels)
    if config.eval.views != "center":
        shows = pixels_of(eval_transform, eval_size, channels)
        exif = getattr(evaluation.examples, "exif_orientation", False)
        shows = dataclasses.replace(shows, exif_orientation=exif)
        eval_transform = views.Views(config.eval.views, shows)
        eval_shape = (views.count(config.eval.views), *eval_shape)
    return Data(
        train=train,
        evaluation=evaluation,
        train_transform=train_transform,
        eval_transform=eval_transform,
        augment=make_augmentation(config.augment, normalize, preprocessing.mean),
        normalize=normalize,
        image_shape=(size, size, channels),
        eval_shape=eval_shape,
        on_device=_keep_on_device(config, train, evaluation, (train_transform, eval_transform)),
        num_classes=config.model.num_classes or train.num_classes,
        preprocessing=preprocessing,
        repeats=config.augment.repeats,
        replicas=config.batch_size // group_size(config) if config.mix.group else 1,
    )


def pixels_of(transform: Callable, size: int, channels: int) -> Preprocessing:
    """Returns what a transform of evaluation does to pixels, as `zoo` can repeat it.

    The result has no particular mean and deviation.
    """
    match transform:
        case views.Views(preprocessing=preprocessing):
            return preprocessing
        case transforms.CenterCrop(fraction=fraction, interpolation=interpolation):
            settings = {"crop": fraction, "interpolation": interpolation, "reduced": True}
        case transforms.Resize(interpolation=interpolation):
            settings = {"crop": None, "interpolation": interpolation, "reduced": True}
        case transforms.Pad(padding=padding):
            settings = {"crop": None, "padding": padding}
        case _:
            settings = {}
    return Preprocessing(size, channels, mean=(0.0,), std=(1.0,), **settings)


def _with_representation(preprocessing: Preprocessing, names: str, channels: int) -> Preprocessing:
    """The preprocessing with the recipe's representation of images, unless it names none."""
    if not names:
        return preprocessing
    channels = max(channels, len(preprocessing.mean))
    try:
        return dataclasses.replace(preprocessing, channels=channels, representation=names)
    except ValueError as error:
        raise TrainError(f"augment.representation={names}: {error}") from error


def _normalize(preprocessing: Preprocessing, dtype: str, images: jax.Array) -> jax.Array:
    """From images in [0, 255] to the model's input."""
    mean, std, names = preprocessing.mean, preprocessing.std, preprocessing.representation
    if names != "rgb":
        channels = max(images.shape[-1], len(mean))  # grey images are RGB where the model's are
        images = jnp.broadcast_to(images, (*images.shape[:-1], channels))
        images = representation.represent(images, names)
        mean, std = representation.statistics(names, mean, std)
    order = preprocessing.channel_order
    return augment.normalize(images, mean, std, dtype, order)


def model_info(name: str) -> zoo.Info:
    """Returns `zoo.info(name)`.

    Raises:
      TrainError: there is no such model.
    """
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
            "to 0, which means the same; or fix the labels."
        )


def own_data(name: str) -> str | Callable:
    """Returns the function that `data.name` names as module:function, or the name as it is.

    Raises:
      TrainError: there is no such function.
    """
    if not is_reference(name):
        return name
    function = find("data.name", name, {})

    def make(split: str) -> Any:
        return function(split)

    make.__name__ = name  # in messages, and in the lines of results
    return make


def _open(config: ConfigDict, split: str) -> Source:
    data = config.data
    source = input_pipeline.open(
        own_data(data.name),
        split,
        data_dir=data.dir or None,
        manual_dir=data.manual_dir or None,
        on_unreadable=data.unreadable,
        max_pixels=data.max_pixels,
        class_order=data.class_order,
        exif_orientation=data.exif_orientation,
        held_out=data.held_out,
        split_seed=data.split_seed,
    )
    if len(source) == 0:
        raise TrainError(f"The split {split} of the data set {data.name} has no images.")
    return source


def _check_classes(train: Source, evaluation: Source) -> None:
    """Labels are positions among the class names, so both splits must have the same ones."""
    of_train, of_evaluation = set(train.class_names), set(evaluation.class_names)
    if of_train != of_evaluation:
        examples = ", ".join(sorted(of_train ^ of_evaluation)[:5])
        raise DataError(
            f"The splits {train.split} and {evaluation.split} of {train.dataset} have different "
            f"classes, so their labels would not mean the same: {len(of_train)} and "
            f"{len(of_evaluation)}; only in one of them: {examples}. Give both splits the same "
            "classes (an empty folder will do for a class without images)."
        )


def _transforms(
    config: ConfigDict, source: Source, size: int, eval_size: int
) -> tuple[Callable, Callable]:
    """The transforms of training and of evaluation; flips are left to the device."""
    try:
        training, evaluation = _make_transforms(config, source, size, eval_size)
    except ValueError as error:
        raise TrainError(
            f"The keys of augment and eval do not fit: {error}. See augment.crop, augment.resize, "
            "augment.interpolation, eval.crop and eval.interpolation in configs/base.py."
        ) from error

    host = find_all("augment.host_operations", config.augment.host_operations)
    return (transforms.Then(training, tuple(host.values())) if host else training), evaluation


def _make_transforms(
    config: ConfigDict, source: Source, size: int, eval_size: int
) -> tuple[Callable, Callable]:
    recipe = config.augment
    center = transforms.Resize(eval_size, config.eval.interpolation)
    if config.eval.crop:
        center = transforms.CenterCrop(eval_size, config.eval.crop, config.eval.interpolation)
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
    if recipe.crop == "center":
        return transforms.CenterCrop(size, config.eval.crop, recipe.interpolation), center
    if recipe.crop not in ("none", "padded"):
        raise TrainError(
            f'augment.crop={recipe.crop!r} is not known: choose "none", "random_resized", '
            '"resize_random", "padded" or "center".'
        )
    return _whole(source, size, recipe.interpolation), _whole(
        source, eval_size, recipe.interpolation
    )


def _whole(source: Source, size: int, interpolation: str) -> Callable:
    """The transform that shows all of an image: small ones are padded, if that is enough."""
    if source.image_shape:
        missing = [size - length for length in source.image_shape[:2]]
        if missing[0] == missing[1] and missing[0] in range(0, 2 * MAX_PADDING + 1, 2):
            return transforms.Pad(missing[0] // 2)
    return transforms.Resize(size, interpolation)


def _keep_on_device(
    config: ConfigDict, train: Source, evaluation: Source, both: tuple[Callable, Callable]
) -> bool:
    choice = config.data.on_device
    if choice not in ("auto", "yes", "no"):
        raise TrainError(f'data.on_device={choice!r} is not known: choose "auto", "yes" or "no".')
    possible = both[0] == both[1] and isinstance(both[0], transforms.Pad)
    if choice == "yes" and not possible:
        raise TrainError(
            f"data.on_device=yes: the images of {train.dataset} must be resized, cropped or "
            "changed on the host one by one, or shown in several views, so they cannot stay on the "
            "device; use data.on_device=auto."
        )
    if choice == "no" or not possible:
        return False
    size = (len(train) + len(evaluation)) * math.prod(train.image_shape or ())
    return choice == "yes" or size <= MAX_BYTES_ON_DEVICE
