"""Variables of a model, fitted to another image size, number of channels or form of blocks."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from zoo import registry
from zoo.layers.blocks import stack_blocks, unstack_blocks


def adapt(name: str, path: str, value: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Returns a variable of a model for the shape that it has in a changed model, where it can.

    Position embeddings and relative-position biases are resampled, as `zoo.load_torch` does with
    `image_size`. The kernels of the first convolution are adapted to other input channels as by
    timm (`adapt_input_conv`): their sum for one channel, else repeated, and scaled so that an image
    whose channels are all alike gives the same features.

    Args:
      name: Name of a registered model.
      path: Path of the variable, "params/stem_conv/kernel".
      value: Value in the model that it is from.
      shape: Shape in the model that it is for.

    Returns:
      The value, of another shape than `shape` where no rule applies.

    Example:
      >>> adapt("resnet18", "params/stem_conv/kernel", np.ones((7, 7, 3, 64)), (7, 7, 1, 64)).max()
      3.0
    """
    if value.shape == shape:
        return value
    value = resample(name, path, value, shape)
    is_kernel = path.endswith("/kernel") and value.ndim == len(shape) == 4
    others_agree = (*value.shape[:2], *value.shape[3:]) == (*shape[:2], *shape[3:])
    if is_kernel and others_agree and value.shape != shape:
        return adapt_channels(value, shape[2])
    return value


def resample(name: str, path: str, value: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Resamples a value that belongs to another image size, where the family says how."""
    for pattern, rule in registry.lookup(name).family.resampling:
        if value.shape != shape and value.ndim == len(shape) and re.search(pattern, path):
            try:
                return rule(value, shape)
            except (ValueError, TypeError, IndexError):  # no grid of tokens, so another shape
                return value
    return value


def adapt_channels(kernel: np.ndarray, channels: int) -> np.ndarray:
    """Returns a kernel [H, W, C, F] for another number of input channels."""
    old = kernel.shape[2]
    if channels == 1:
        return kernel.sum(axis=2, keepdims=True, dtype=np.float32).astype(kernel.dtype)
    repeated = np.concatenate([kernel] * -(-channels // old), axis=2)[:, :, :channels]
    return (repeated * (old / channels)).astype(kernel.dtype)


def restack(variables: Mapping[str, Any], like: Mapping[str, Any]) -> dict[str, Any]:
    """Returns variables with their blocks stacked where those of `like` are (`scan=True`).

    Args:
      variables: Variables of a model, stacked or not.
      like: Variables, or their shapes, of the same model; what it lacks is left out.

    Raises:
      KeyError: `like` has a path that the variables lack.
    """
    return stack_blocks(unstack_blocks(variables), like)
