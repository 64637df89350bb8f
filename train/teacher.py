"""The teacher of a distilled network: `config.distillation`."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from ml_collections import ConfigDict

import zoo
from train import losses
from train.data import Data
from train.errors import TrainError
from zoo.preprocess import Preprocessing


@dataclass(frozen=True)
class Teacher:
    """A trained network that says what another one is to learn; it stays as it is.

    Attributes:
      model: called as model.apply(variables, images) -> logits [B, K].
      variables: its variables, in the host's memory.
      images: from the student's input to the teacher's: the same pixels, normalised otherwise.
      loss: (loss of the labels [B], student's logits [B, K], teacher's logits) -> loss [B].
    """

    model: nn.Module
    variables: Any = field(repr=False)
    images: Callable[[jax.Array], jax.Array]
    loss: Callable[[jax.Array, jax.Array, jax.Array], jax.Array]

    def __call__(self, variables: Any, images: jax.Array) -> jax.Array:
        """Returns the logits [B, K] of the student's input [B, H, W, C]; no gradient flows."""
        logits: Any = self.model.apply(variables, self.images(images))
        return jax.lax.stop_gradient(logits)


def open_teacher(config: ConfigDict, data: Data) -> Teacher | None:
    """Returns the teacher of a recipe, None if it has none.

    Args:
      config: a recipe.
      data: its data; the teacher has to have as many classes.

    Raises:
      TrainError: the weights cannot be loaded, or are of a network that does not fit.
    """
    recipe, size = config.distillation, data.image_shape[0]
    if not recipe.teacher:
        return None
    try:
        trained = zoo.load(recipe.teacher, image_size=size)
    except (OSError, ValueError, TypeError, ImportError) as error:
        raise TrainError(f"distillation.teacher: {error}") from error
    teacher = Teacher(
        model=trained.model,
        variables=jax.tree.map(np.asarray, trained.variables),
        images=partial(renormalize, data.preprocessing, trained.preprocessing),
        loss=partial(
            losses.distill, kind=recipe.kind, alpha=recipe.alpha, temperature=recipe.temperature
        ),
    )
    images = jax.ShapeDtypeStruct((1, *data.image_shape), jnp.uint8)
    images = jax.eval_shape(data.normalize, images)
    try:
        classes = jax.eval_shape(teacher, trained.variables, images).shape[-1]
    except ValueError as error:
        raise TrainError(f"distillation.teacher={recipe.teacher}: {error}") from error
    if classes != data.num_classes:
        raise TrainError(
            f"distillation.teacher={recipe.teacher} tells {classes} classes apart, and the data "
            f"have {data.num_classes}: a teacher has to have the student's classes."
        )
    return teacher


def renormalize(old: Preprocessing, new: Preprocessing, images: jax.Array) -> jax.Array:
    """Returns images [..., C] that were normalised by one preprocessing as another one has them."""
    pixels = images.astype(jnp.float32)
    pixels = pixels[..., ::-1] if old.channel_order == "BGR" else pixels
    last = (1,) * (pixels.ndim - 1) + (-1,)
    means, stds = (
        [np.asarray(x, np.float32).reshape(last) for x in pair]
        for pair in ((old.mean, new.mean), (old.std, new.std))
    )
    pixels = pixels * (stds[0] / stds[1]) + (means[0] - means[1]) / stds[1]
    return pixels[..., ::-1] if new.channel_order == "BGR" else pixels
