"""The augmentation of a run on the device: from the pixels of a batch to the model's input.

What each image draws is a function of the seed, the step and its place in the batch, so pictures
do not depend on the number of devices and hosts, or on where a run was resumed.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from ml_collections import ConfigDict

from input_pipeline import augment
from input_pipeline.augment import erasing, mixing
from input_pipeline.augment.policies import make_policy
from input_pipeline.augment.timm_policies import is_timm
from train.durations import to_steps
from train.errors import TrainError
from train.functions import find_all
from train.sharding import on_each_device

Transform = Callable[[jax.Array, jax.Array], jax.Array]  # (key or keys [B], images) -> images


@dataclass(frozen=True)
class Augmentation:
    """The operations of a recipe's section `augment` on the device, in their order.

    Attributes:
      padding, padding_mode: of the random crop of a padded image, in pixels; 0 for none.
      flip: whether half of the images are mirrored left to right.
      policy, color_jitter: of uint8 images; None for none.
      lighting: standard deviation of AlexNet's colour shift; 0 for none.
      operations: functions of one's own.
      normalize: from images in [0, 255] to the model's input.
      erasing: random erasing of the model's input; None for none.
      views: 1, or the number of views of each image, of which the first has only the crop and flip.
    """

    padding: int
    padding_mode: str
    flip: bool
    policy: Transform | None
    color_jitter: Transform | None
    lighting: float
    operations: tuple[Callable, ...]
    normalize: Callable[[jax.Array], jax.Array]
    erasing: Transform | None
    views: int = 1

    def __call__(self, key: jax.Array, images: jax.Array, mesh: Mesh | None = None) -> jax.Array:
        """Augments a batch.

        Args:
          key: a PRNG key.
          images: uint8 [B, H, W, C].
          mesh: over whose devices the batch is split; None for one device.

        Returns:
          The model's input [B, H, W, C], or [B, views, H, W, C] with more than one view.
        """
        crop_key, flip_key, _ = jax.random.split(key, 3)
        if self.padding:
            images = augment.random_crop_with_padding(
                crop_key, images, self.padding, self.padding_mode
            )
        if self.flip:
            images = augment.random_flip(flip_key, images)
        if self.views == 1:
            return self._varied(key, images, mesh)
        others = [
            self._varied(jax.random.fold_in(key, 5 + view), images, mesh)
            for view in range(1, self.views)
        ]
        return jnp.stack([self.normalize(images), *others], axis=1)

    def _varied(self, key: jax.Array, images: jax.Array, mesh: Mesh | None) -> jax.Array:
        """What follows crop and flip: colours, policies, normalization, erasing."""
        # A key for each image: these operations go through a device's images one by one.
        keys = augment.image_keys(jax.random.fold_in(key, 4), images.shape[0])
        for number, transform in enumerate((self.policy, self.color_jitter)):
            if transform:
                images = on_each_device(transform, mesh)(augment.fold_in(keys, number), images)
        if self.lighting:
            lighting_key = jax.random.split(key, 3)[2]
            images = augment.lighting(lighting_key, images, self.lighting)
        images = self.normalize(self._own(jax.random.fold_in(key, 3), images))
        if self.erasing:
            images = on_each_device(self.erasing, mesh)(augment.fold_in(keys, 2), images)
        return images

    def _own(self, key: jax.Array, images: jax.Array) -> jax.Array:
        for number, operation in enumerate(self.operations):
            before, images = images.shape, operation(jax.random.fold_in(key, number), images)
            if images.shape != before:
                name = getattr(operation, "__name__", str(operation))
                raise TrainError(
                    f"augment.operations: {name} turns images {list(before)} into "
                    f"{list(images.shape)}."
                )
        return images


def make_augmentation(
    recipe: ConfigDict, normalize: Callable[[jax.Array], jax.Array], mean: tuple[float, ...]
) -> Augmentation:
    """Returns the augmentation of the section `augment` of a recipe.

    Args:
      recipe: the section.
      normalize: from images in [0, 255] to the model's input.
      mean: of the normalization, in [0, 1].

    Raises:
      TrainError: keys do not fit each other.
    """
    if recipe.crop == "none" and recipe.padding:
        raise TrainError(
            f"augment.padding={recipe.padding} is of augment.crop='padded', which is 'none' here."
        )
    erase = functools.partial(
        erasing.random_erasing,
        probability=recipe.erasing,
        mode=recipe.erasing_mode,
        count=recipe.erasing_count,
        area=tuple(recipe.erasing_area),
        aspect=tuple(recipe.erasing_aspect),
    )
    return Augmentation(
        padding=recipe.padding,
        padding_mode=recipe.padding_mode,
        flip=recipe.flip,
        policy=make_policy_of(recipe, mean),
        color_jitter=_color_jitter(recipe),
        lighting=recipe.lighting,
        operations=tuple(find_all("augment.operations", recipe.operations).values()),
        normalize=normalize,
        erasing=erase if recipe.erasing else None,
        views=recipe.views,
    )


def make_policy_of(recipe: ConfigDict, mean: tuple[float, ...] = ()) -> Transform | None:
    """Returns the policy of the section `augment` of a recipe, or None.

    Raises:
      TrainError: there is no such policy, or it has no such options.
    """
    if not recipe.policy:
        return None
    settings: dict[str, Any] = {"interpolation": recipe.interpolation}
    settings |= {"mean": mean} if mean else {}
    try:
        return make_policy(recipe.policy, **settings | dict(recipe.policy_options))
    except (ValueError, TypeError) as error:
        raise TrainError(f"augment.policy={recipe.policy}: {error}.") from error


def _color_jitter(recipe: ConfigDict) -> Transform | None:
    """The colour jitter, which timm leaves out beside its policies, except for 3-Augment."""
    strengths = tuple(recipe.color_jitter)
    if not any(strengths) or (is_timm(recipe.policy) and "3a" not in recipe.policy):
        return None
    names = ("brightness", "contrast", "saturation", "hue")
    backend = "pillow" if "3a" in recipe.policy or recipe.policy == "three_augment" else "tensor"
    options = dict(zip(names, strengths, strict=True)) | {"backend": backend}
    return functools.partial(augment.color_jitter, **options)


Mix = Callable[..., tuple[jax.Array, jax.Array]]


def make_mixing(config: ConfigDict, num_classes: int, examples: int) -> Mix | None:
    """Returns mixup and cutmix of a recipe: (key, images, labels, step) -> images, targets.

    Args:
      config: a recipe.
      num_classes: of the model.
      examples: images in an epoch.

    Returns:
      None if the recipe has neither.

    Raises:
      TrainError: keys do not fit each other.
    """
    mix = config.mix
    if not (mix.mixup or mix.cutmix):
        return None
    if config.augment.views > 1:
        raise TrainError("mix.mixup and mix.cutmix cannot mix several views: set augment.views=1.")
    last = to_steps(mix.off_after, examples, config.batch_size) if mix.off_after else None
    smoothing = 0.0 if mix.convention == "torchvision" else config.loss.label_smoothing
    try:
        made = mixing.Mixing(
            num_classes=num_classes,
            mixup=mix.mixup,
            cutmix=mix.cutmix,
            switch_probability=mix.switch_probability,
            probability=mix.probability,
            mode=mix.mode,
            convention=mix.convention,
            group=group_size(config),
            smoothing=smoothing,
        )
        jax.eval_shape(lambda key: made.draw(key, config.batch_size, (8, 8)), jax.random.key(0))
    except ValueError as error:
        raise TrainError(f"mix: {error}.") from error
    return functools.partial(_mixed_until, made, last)


def _mixed_until(
    mix: mixing.Mixing,
    last: int | None,
    key: jax.Array,
    images: jax.Array,
    labels: jax.Array,
    step: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    return mix(key, images, labels, on=True if last is None else step < last)


def group_size(config: ConfigDict) -> int:
    """Returns the number of consecutive images that are mixed with each other.

    Raises:
      TrainError: the images of a host do not divide into such groups.
    """
    images = config.batch_size // jax.process_count()
    group = config.mix.group or images
    if images % group:
        raise TrainError(
            f"mix.group={group}: the {images} images of a host do not divide into such groups."
        )
    return group
