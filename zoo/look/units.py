"""The units of a network over a data set: what drives each most, and which are dead."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from zoo.features import features


class TopImages(NamedTuple):
    """The images that drive each channel most, the strongest first.

    Attributes:
      values: The channel's largest values, [C, k].
      indices: Numbers of the images, in the order of the batches, int [C, k].
      positions: Where in the map each value stands, flat h * w, int [C, k]; 0 of an output [B, C].
      size: (h, w) of the map; (1, 1) of an output [B, C].
      alive: Number of images in which the channel is anywhere above 0, int [C].
      count: Number of images.
    """

    values: np.ndarray
    indices: np.ndarray
    positions: np.ndarray
    size: tuple[int, int]
    alive: np.ndarray
    count: int

    @property
    def dead(self) -> np.ndarray:
        """Numbers of the channels that are above 0 in no image."""
        return np.flatnonzero(self.alive == 0)


def top_images(
    model: nn.Module, variables: Any, batches: Iterable[Any], at: str, k: int = 9
) -> TopImages:
    """Goes through a data set once and keeps the `k` strongest images of every channel.

    Each image counts once for a channel, by the position where it is strongest. Nothing else of the
    data set is kept.

    Args:
      model: Unbound network, as in evaluation.
      variables: Its variables.
      batches: Batches of images [B, H, W, C], as the network takes them; all but the last of one
        size, so that one program is compiled.
      at: Name of an output, as for `zoo.features`.
      k: Number of images that are kept.

    Raises:
      ValueError: The network has no such output, or there are no images.
    """
    size = 1, 1

    @jax.jit
    def strongest(variables: Any, images: jax.Array) -> tuple[jax.Array, jax.Array]:
        nonlocal size
        output = features(model, variables, images, at=at)
        if output.ndim == 4:
            size = output.shape[1:3]
        flat = output.reshape(output.shape[0], -1, output.shape[-1])  # [B, h * w, C]
        return flat.max(1), flat.argmax(1)

    kept: list[np.ndarray] = []
    alive, count = np.zeros((), int), 0
    for batch in batches:
        images = jnp.asarray(batch)
        values, positions = (np.asarray(x) for x in strongest(variables, images))
        alive = alive + (values > 0).sum(0)
        numbers = np.broadcast_to(count + np.arange(len(values))[:, None], values.shape)
        count += len(values)
        new = [values, numbers, positions]
        kept = [np.concatenate(pair) for pair in zip(kept, new, strict=True)] if kept else new
        order = np.argsort(-kept[0], axis=0, kind="stable")[:k]
        kept = [np.take_along_axis(array, order, axis=0) for array in kept]
    if not count:
        raise ValueError("There are no images to look for the strongest in.")
    values, indices, positions = (array.T for array in kept)
    return TopImages(values, indices, positions, size, alive, count)
