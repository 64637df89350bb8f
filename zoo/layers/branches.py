"""Parallel branches of convolutions, of which inception modules consist."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn

from zoo.layers.pool import average_pool


class Branches(nn.Module):
    """Concatenated branches, [B, H, W, C] -> [B, H', W', sum of the branches' features].

    Attributes:
      branches: Function of `conv` and the input that returns the outputs of the branches.
      conv: Constructor of a convolution with normalisation and activation, such as a partial
        `ConvNorm`.
      gate: Constructor of squeeze-and-excitation of the output, such as a partial `SqueezeExcite`;
        None for none.
    """

    branches: Callable[[Callable[..., nn.Module], jax.Array], list[jax.Array]]
    conv: Callable[..., nn.Module]
    gate: Callable[..., nn.Module] | None = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = jnp.concatenate(self.branches(self.conv, x), axis=-1)
        return self.gate(x.shape[-1] // 16, name="se")(x) if self.gate else x


def branch(conv: Callable[..., nn.Module], name: str, x: jax.Array, *layers: tuple) -> jax.Array:
    """Applies convolutions one after the other: one branch of an inception module.

    Args:
      conv: Constructor of a convolution with normalisation and activation.
      name: Prefix of the layers' names, `name`_1, `name`_2, ...; a single layer is called `name`.
      x: Input of the branch, [B, H, W, C].
      *layers: The arguments of `conv` for each layer: (features, kernel_size, strides, padding).
    """
    if len(layers) == 1:
        return conv(*layers[0], name=name)(x)
    for i, layer in enumerate(layers, 1):
        x = conv(*layer, name=f"{name}_{i}")(x)
    return x


def fork(conv: Callable[..., nn.Module], name: str, x: jax.Array, features: int) -> list[jax.Array]:
    """A 1x3 and a 3x1 convolution of the same input, called `name`a and `name`b."""
    wide, high = conv(features, (1, 3), name=f"{name}a"), conv(features, (3, 1), name=f"{name}b")
    return [wide(x), high(x)]


def average(x: jax.Array, *, count_padding: bool = True) -> jax.Array:
    """3x3 average pooling with stride 1, [B, H, W, C] -> [B, H, W, C].

    With `count_padding` the sum is divided by 9 at the edges too.
    """
    return average_pool(x, 3, padding=1, counted=count_padding)


def run_modules(
    modules: Sequence[Callable[..., list[jax.Array]]],
    conv: Callable[..., nn.Module],
    x: jax.Array,
    *,
    prefix: str,
    gate: Callable[..., nn.Module] | None = None,
) -> jax.Array:
    """Applies inception modules one after the other.

    Args:
      modules: The modules' `branches`, as for `Branches`.
      conv: Constructor of a convolution with normalisation and activation.
      x: Input of the first module, [B, H, W, C].
      prefix: Prefix of the modules' names: `prefix`1, `prefix`2, ...
      gate: Constructor of squeeze-and-excitation after each module; None for none.
    """
    for i, branches in enumerate(modules, 1):
        x = Branches(branches, conv, gate, name=f"{prefix}{i}")(x)
    return x


def inception_stem(conv: Callable[..., nn.Module], images: jax.Array) -> jax.Array:
    """The first three convolutions of Inception v3 and its successors.

    [B, H, W, C] -> [B, H/2 - 2, W/2 - 2, 64]; 299 pixels become 147. The layers are called
    stem_conv1, stem_conv2 and stem_conv3.
    """
    x = conv(32, 3, 2, "valid", name="stem_conv1")(images)
    x = conv(32, 3, 1, "valid", name="stem_conv2")(x)
    return conv(64, 3, name="stem_conv3")(x)
