"""Branches of convolutions side by side: what inception modules consist of."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn

from zoo.layers.pool import average_pool


class Branches(nn.Module):
    """[B, H, W, C] -> [B, H', W', sum of the branches' features].

    Attributes:
      branches: a function of `conv` and the input that gives the outputs of the branches.
      conv: a convolution with what follows it, such as a partial `ConvNorm`.
      gate: squeeze-and-excitation of the output, such as a partial `SqueezeExcite`; None for none.
    """

    branches: Callable[[Callable[..., nn.Module], jax.Array], list[jax.Array]]
    conv: Callable[..., nn.Module]
    gate: Callable[..., nn.Module] | None = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = jnp.concatenate(self.branches(self.conv, x), axis=-1)
        return self.gate(x.shape[-1] // 16, name="se")(x) if self.gate else x


def branch(conv: Callable[..., nn.Module], name: str, x: jax.Array, *layers: tuple) -> jax.Array:
    """Layers in a row, each the arguments of `conv`: (features, kernel_size, strides, padding).

    They are called `name`_1, `name`_2, ..., and just `name` where there is one.
    """
    if len(layers) == 1:
        return conv(*layers[0], name=name)(x)
    for i, layer in enumerate(layers, 1):
        x = conv(*layer, name=f"{name}_{i}")(x)
    return x


def fork(conv: Callable[..., nn.Module], name: str, x: jax.Array, features: int) -> list[jax.Array]:
    """1x3 beside 3x1 convolutions, called `name`a and `name`b."""
    wide, high = conv(features, (1, 3), name=f"{name}a"), conv(features, (3, 1), name=f"{name}b")
    return [wide(x), high(x)]


def average(x: jax.Array, *, count_padding: bool = True) -> jax.Array:
    """Over 3x3 windows, [B, H, W, C] -> the same; `count_padding` divides by 9 at the edges too."""
    return average_pool(x, 3, padding=1, counted=count_padding)


def in_a_row(
    modules: Sequence[Callable[..., list[jax.Array]]],
    conv: Callable[..., nn.Module],
    x: jax.Array,
    *,
    prefix: str,
    gate: Callable[..., nn.Module] | None = None,
) -> jax.Array:
    """The output of inception modules one after the other: `prefix`1, `prefix`2, ...

    Args:
      modules: the functions of branches, as for `Branches`.
      conv: a convolution with what follows it.
      x: [B, H, W, C].
      prefix: of the modules' names.
      gate: squeeze-and-excitation after each module; None for none.
    """
    for i, branches in enumerate(modules, 1):
        x = Branches(branches, conv, gate, name=f"{prefix}{i}")(x)
    return x


def inception_stem(conv: Callable[..., nn.Module], images: jax.Array) -> jax.Array:
    """The first three convolutions of Inception v3 and what followed it.

    [B, H, W, C] -> [B, H/2 - 2, W/2 - 2, 64], of 299 pixels 147. They are called stem_conv1, ...
    """
    x = conv(32, 3, 2, "valid", name="stem_conv1")(images)
    x = conv(32, 3, 1, "valid", name="stem_conv2")(x)
    return conv(64, 3, name="stem_conv3")(x)
