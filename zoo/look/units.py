"""The units of a network over a data set: what drives each most, and which are dead."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from zoo.look.program import Program


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
    model: nn.Module, variables: Any, batches: Iterable[Any], at: str | Sequence[str], k: int = 9
) -> Any:
    """Goes through a data set once and keeps the `k` strongest images of every channel.

    Each image counts once for a channel, by the position where it is strongest. Nothing else of the
    data set is kept.

    Args:
      model: Unbound network, as in evaluation.
      variables: Its variables.
      batches: Batches of images [B, H, W, C], as the network takes them; all but the last of one
        size, so that one program is compiled.
      at: Name or names of outputs, as for `zoo.features`, of layers, or "logits". A name gives
        `TopImages`, several names a dict of them.
      k: Number of images that are kept.

    Raises:
      ValueError: The network has no such output, or there are no images.
    """
    names = (at,) if isinstance(at, str) else tuple(at)
    sizes: dict[str, tuple[int, int]] = {}

    @jax.jit
    def strongest(variables: Any, images: jax.Array) -> dict[str, tuple[jax.Array, jax.Array]]:
        outputs = Program(model, variables, images, names)(variables, images)[1]
        found = {}
        for name, output in outputs.items():
            *_, height, width, _ = output.shape if output.ndim == 4 else (1, 1, 1)
            sizes[name] = height, width
            flat = output.reshape(output.shape[0], -1, output.shape[-1])  # [B, h * w, C]
            found[name] = flat.max(1), flat.argmax(1)
        return found

    kept: dict[str, _Strongest] = {name: _Strongest(k) for name in names}
    for batch in batches:
        images = jnp.asarray(batch)
        for name, (values, positions) in strongest(variables, images).items():
            kept[name].add(np.asarray(values), np.asarray(positions))
    if not all(each.count for each in kept.values()):
        raise ValueError("There are no images to look for the strongest in.")
    found = {name: each.found(sizes[name]) for name, each in kept.items()}
    return found[at] if isinstance(at, str) else found


class _Strongest:
    """The strongest images so far of each channel of one output."""

    def __init__(self, k: int):
        self._k, self.count, self._alive = k, 0, np.zeros((), int)
        self._kept: list[np.ndarray] = []  # values, numbers of images, positions, [k, C] each

    def add(self, values: np.ndarray, positions: np.ndarray) -> None:
        """Takes in the strongest values of the next images, [B, C], and their positions."""
        self._alive = self._alive + (values > 0).sum(0)
        numbers = np.broadcast_to(self.count + np.arange(len(values))[:, None], values.shape)
        self.count += len(values)
        new = [values, numbers, positions]
        kept = self._kept
        kept = [np.concatenate(pair) for pair in zip(kept, new, strict=True)] if kept else new
        order = np.argsort(-kept[0], axis=0, kind="stable")[: self._k]
        self._kept = [np.take_along_axis(array, order, axis=0) for array in kept]

    def found(self, size: tuple[int, int]) -> TopImages:
        values, indices, positions = (array.T for array in self._kept)
        return TopImages(values, indices, positions, size, self._alive, self.count)
