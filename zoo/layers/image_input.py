"""Checks of a network's input at trace time, whose errors say what is expected and what to do.

Only shapes and dtypes are checked, so the check costs nothing when the network runs. It cannot
see whether the pixels were normalised: images in 0..255 pass, and give useless logits.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import errors, traverse_util
from flax import linen as nn

from zoo.layers.image_size import require_at_least, require_exactly, require_multiples

Call = Callable[..., Any]


def takes_images(
    *,
    at_least: int = 1,
    exactly: int | None = None,
    multiples_of: int | None = None,
    missing: int = 0,
    advice: str = "",
) -> Callable[[Call], Call]:
    """Decorates `__call__(self, images, ...)` of a network: clear errors for unfit images.

    Images are floating-point arrays [B, H, W, C], channels last, with the number of channels that
    the parameters were made for.

        class LeNet(nn.Module):
            @takes_images(exactly=32)
            @nn.compact
            def __call__(self, images, *, train=False): ...

    Args:
      at_least: Smallest side, in pixels.
      exactly: The only side allowed, in pixels; None for any.
      multiples_of: Number of pixels that divides both sides; None for any.
      missing: Number of pixels by which a side may fall short of a multiple.
      advice: Sentence at the end of the message for `exactly`.
    """

    def decorate(call: Call) -> Call:
        @functools.wraps(call)
        def checked(self: nn.Module, images: jax.Array, *args, **kwargs):
            network = type(self).__name__
            check_images(images, network)
            require_at_least(images, at_least, network)
            if exactly is not None:
                require_exactly(images, exactly, network, advice)
            if multiples_of is not None:
                require_multiples(images, multiples_of, network, missing=missing)
            if jnp.shape(images)[0] == 0:  # no image, no logits; reshapes would divide by zero
                if kwargs.get("train"):
                    raise ValueError(f"{network} cannot train on a batch without images.")
                one = jnp.zeros((1, *images.shape[1:]), images.dtype)
                return call(self, one, *args, **kwargs)[:0]
            try:
                return call(self, images, *args, **kwargs)
            except errors.ScopeParamShapeError as error:
                channels = _parameter_channels(self, images)
                if channels is None:
                    raise
                raise ValueError(
                    f"These parameters of {network} are for images of {_channels(channels)}, got "
                    f"{_shape(images)}. Convert the images, or make the parameters by init with "
                    f"images of {_channels(images.shape[-1])}."
                ) from error

        return checked

    return decorate


def check_images(images: jax.Array, network: str) -> None:
    """Raises a ValueError unless images are floating-point [B, H, W, C], channels last."""
    shape = jnp.shape(images)
    expected = f"{network} takes images [batch, height, width, channels]"
    if len(shape) == 3:
        raise ValueError(
            f"{expected}, got one of shape {_shape(images)} without a batch axis. "
            "images[None] adds it."
        )
    if len(shape) != 4:
        raise ValueError(f"{expected}, got {len(shape)} axes: {_shape(images)}.")
    if shape[1] <= 4 < min(shape[2:]):
        raise ValueError(
            f"{expected}, got {_shape(images)}, which looks like channels first. "
            "images.transpose(0, 2, 3, 1) puts the channels last."
        )
    dtype = jnp.result_type(images)
    if not jnp.issubdtype(dtype, jnp.floating):
        raise ValueError(
            f"{network} takes floating-point images, got {dtype}. Normalise them first: "
            "(images / 255 - info.mean) / info.std with info = zoo.info(name)."
        )


def _parameter_channels(model: nn.Module, images: jax.Array) -> int | None:
    """Number of image channels for which the model's parameters fit, or None if not found.

    It is one for which more parameters fit than for these images. Flax's error names the first
    layer that does not fit, but not why.
    """
    existing = _shapes(model.variables)
    unbound = model.clone(parent=None, name=None)

    def mismatches(channels: int) -> dict[str, tuple[int, ...]]:
        like = jax.ShapeDtypeStruct((*images.shape[:3], channels), images.dtype)
        try:
            expected = _shapes(jax.eval_shape(unbound.init, jax.random.key(0), like))
        except ValueError:
            return existing
        return {path: shape for path, shape in expected.items() if existing.get(path) != shape}

    now = mismatches(images.shape[-1])
    pairs = [(existing.get(path, ()), shape) for path, shape in now.items()]
    candidates = {a for old, new in pairs for a, b in zip(old, new, strict=False) if a != b}
    for channels in sorted(candidates | {1, 3}):
        if len(mismatches(channels)) < len(now):
            return channels
    return None


def _shapes(variables: Any) -> dict[str, tuple[int, ...]]:
    flat: dict[str, Any] = traverse_util.flatten_dict(dict(variables.get("params", {})), sep="/")
    return {path: leaf.shape for path, leaf in flat.items()}


def _shape(images: jax.Array) -> str:
    return f"[{', '.join(map(str, jnp.shape(images)))}]"


def _channels(number: int) -> str:
    return f"{number} channel{'' if number == 1 else 's'}"
