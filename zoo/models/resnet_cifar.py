"""ResNets and plain networks for CIFAR, and the study of what a shortcut may do.

Deep Residual Learning for Image Recognition, He et al. 2015, arXiv:1512.03385, section 4.2;
Identity Mappings in Deep Residual Networks, He et al. 2016, arXiv:1603.05027, Table 1.
Reference: github.com/akamaster/pytorch_resnet_cifar10, `resnet20` ... `resnet1202`.

| shortcut         | output before the ReLU | error of ResNet-110 on CIFAR-10          |
| ---------------- | ---------------------- | ---------------------------------------- |
| identity         | x + F                  | 6.61 %                                   |
| constant         | 0.5 x + F              | does not converge                        |
| constant_both    | 0.5 x + 0.5 F          | 12.35 %                                  |
| exclusive_gating | (1 - g) x + g F        | 8.70 %, gate bias -6; fails with 0 to -5 |
| shortcut_gating  | (1 - g) x + F          | 6.91 %, gate bias -6; 12.86 % with 0     |
| conv             | BN(W x) + F            | 12.22 %                                  |
| dropout          | dropout(x, 0.5) + F    | does not converge                        |

F is the block's branch and g = sigmoid(W x + bias) a 1x1 convolution. Where a block changes the
shape, x has been brought into it by option A: every second pixel, and channels of zeros.

`squeeze_excite=True` gates each branch by its channels, as the SE-ResNets of Hu et al. 2017
(arXiv:1709.01507, section 6.3 on CIFAR).

Differences from the paper: the zeros of option A are half before and half after the channels, as in
the reference. The second paper does not say how W of a gate treats a change of shape: here it has
the strides and features of its block.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from zoo.layers.conv import square_conv
from zoo.layers.drop_path import DropPath, stage_drop_path_rates
from zoo.layers.head import classify, pool_head_map
from zoo.layers.image_input import takes_images
from zoo.layers.initializers import torch_default
from zoo.layers.joins import residual_sum
from zoo.layers.squeeze_excite import SqueezeExcite
from zoo.registry import CIFAR, Family

SHORTCUTS = (
    *("identity", "constant", "constant_both", "exclusive_gating", "shortcut_gating"),
    *("conv", "dropout"),
)


def pad_shape(x: jax.Array, strides: int, features: int) -> jax.Array:
    """Option A: every `strides`-th pixel, and zeros for the missing channels, half on each side."""
    x = x[:, ::strides, ::strides]
    missing = features - x.shape[-1]
    return jnp.pad(x, ((0, 0), (0, 0), (0, 0), (missing // 2, missing - missing // 2)))


class Block(nn.Module):
    """Two 3x3 convolutions. [B, H, W, C] -> [B, H / strides, W / strides, features].

    Attributes:
      shortcut: Name of the shortcut, one of the table above, or "none" for the plain network.
      gate_bias: Initial value of the gates' bias.
      squeeze_excite: Whether the branch ends with squeeze-and-excitation.
    """

    features: int
    strides: int
    shortcut: str
    gate_bias: float
    conv: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]
    drop_path: float = 0.0
    squeeze_excite: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        y = self.conv(self.features, 3, self.strides, name="conv1")(x)
        y = nn.relu(self.norm(name="norm1")(y))
        y = self.conv(self.features, 3, name="conv2")(y)
        y = self.norm(name="norm2")(y)
        if self.squeeze_excite:
            y = SqueezeExcite(max(1, self.features // 16), dtype=y.dtype, name="se")(y)
        y = DropPath(self.drop_path)(y, train=train)

        if self.shortcut == "none":
            return nn.relu(y)
        conv1x1 = partial(self.conv, self.features, 1, self.strides)
        identity = pad_shape(x, self.strides, self.features)
        if self.shortcut == "identity":
            return residual_sum(identity, y)
        if self.shortcut == "constant":
            return residual_sum(0.5 * identity, y)
        if self.shortcut == "constant_both":
            return residual_sum(0.5 * identity, 0.5 * y)
        if self.shortcut == "conv":
            projection = conv1x1(name="shortcut_conv")(x)
            return residual_sum(self.norm(name="shortcut_norm")(projection), y)
        if self.shortcut == "dropout":
            return residual_sum(nn.Dropout(0.5, deterministic=not train)(identity), y)
        bias_init = nn.initializers.constant(self.gate_bias)
        gate = nn.sigmoid(conv1x1(use_bias=True, bias_init=bias_init, name="shortcut_gate")(x))
        y = gate * y if self.shortcut == "exclusive_gating" else y
        return residual_sum((1 - gate) * identity, y)


class ResNetCifar(nn.Module):
    """Images [B, H, W, C] of any size, 32 by design -> logits [B, num_classes].

    Attributes:
      depth: Number of layers with weights, 6 n + 2 for n blocks in each of the three stages.
      residual: Whether blocks have shortcuts; False gives the plain network.
      shortcut: Name of the shortcut, one of the table above.
      gate_bias: Initial value of the gates' bias.
      drop_path: Stochastic depth rate of the last block; block l of L has l / L of it.
      squeeze_excite: Whether branches end with squeeze-and-excitation, with a bottleneck of C / 16.
      num_classes: Number of classes; 0 removes the head and returns the pooled features [B, C].
      dtype: Dtype of the computation; parameters, normalisation statistics and logits stay float32.
    """

    depth: int
    residual: bool = True
    shortcut: str = "identity"
    gate_bias: float = -6.0
    drop_path: float = 0.0
    squeeze_excite: bool = False
    num_classes: int = 10
    dtype: Any = jnp.float32

    @takes_images()
    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        if self.shortcut not in SHORTCUTS:
            raise ValueError(f"shortcut is one of {', '.join(SHORTCUTS)}, not {self.shortcut!r}.")
        blocks, remainder = divmod(self.depth - 2, 6)
        if blocks < 1 or remainder:
            raise ValueError(f"depth is 6 n + 2, such as 20, 32, 44 or 56, not {self.depth}.")
        conv = partial(square_conv, dtype=self.dtype)
        norm = partial(nn.BatchNorm, use_running_average=not train, momentum=0.9, dtype=self.dtype)
        shortcut = self.shortcut if self.residual else "none"
        block = partial(
            Block,
            shortcut=shortcut,
            gate_bias=self.gate_bias,
            conv=conv,
            norm=norm,
            squeeze_excite=self.squeeze_excite,
        )

        # Stem
        x = conv(16, 3, name="stem_conv")(images)  # [B, H, W, 16]
        x = nn.relu(norm(name="stem_norm")(x))
        self.sow("intermediates", "stem", x)

        # Stages
        first_rate = self.drop_path / (3 * blocks)
        rates = stage_drop_path_rates(self.drop_path, (blocks, blocks, blocks), first_rate)
        for i, stage_rates in enumerate(rates, 1):
            for j, rate in enumerate(stage_rates, 1):
                features, strides = 16 * 2 ** (i - 1), 2 if i > 1 and j == 1 else 1
                name = f"stage{i}_block{j}"
                x = block(features, strides, drop_path=rate, name=name)(x, train=train)
            self.sow("intermediates", f"stage{i}", x)  # last: [B, H/4, W/4, 64]

        # Head
        x = pool_head_map(self, x)  # [B, 64]
        return classify(self, x, self.num_classes, self.dtype, kernel_init=torch_default)


family = Family(
    "resnet_cifar",
    dict(
        paper="Deep Residual Learning for Image Recognition, arXiv:1512.03385",
        year=2015,
        accuracy_source="paper, Table 6, CIFAR-10",
        **CIFAR,
    ),
)


@family.variant(reference="akamaster resnet20", top1=91.25)
def resnet20_cifar(*, depth: int = 20, **kwargs) -> ResNetCifar:
    """269,722 parameters, 0.04 G multiply-adds, 91.2 % top-1 on CIFAR-10."""
    return ResNetCifar(depth, **kwargs)


@family.variant(reference="akamaster resnet32", top1=92.49)
def resnet32_cifar(*, depth: int = 32, **kwargs) -> ResNetCifar:
    """464,154 parameters, 0.07 G multiply-adds, 92.5 % top-1 on CIFAR-10."""
    return ResNetCifar(depth, **kwargs)


@family.variant(reference="akamaster resnet44", top1=92.83)
def resnet44_cifar(*, depth: int = 44, **kwargs) -> ResNetCifar:
    """658,586 parameters, 0.10 G multiply-adds, 92.8 % top-1 on CIFAR-10."""
    return ResNetCifar(depth, **kwargs)


@family.variant(reference="akamaster resnet56", top1=93.03)
def resnet56_cifar(*, depth: int = 56, **kwargs) -> ResNetCifar:
    """853,018 parameters, 0.13 G multiply-adds, 93.0 % top-1 on CIFAR-10."""
    return ResNetCifar(depth, **kwargs)


@family.variant(reference="akamaster resnet110", top1=93.57)
def resnet110_cifar(*, depth: int = 110, **kwargs) -> ResNetCifar:
    """1,727,962 parameters, 0.25 G multiply-adds, 93.6 % top-1 on CIFAR-10."""
    return ResNetCifar(depth, **kwargs)


@family.variant(reference="akamaster resnet1202", top1=92.07)
def resnet1202_cifar(*, depth: int = 1202, **kwargs) -> ResNetCifar:
    """19,421,274 parameters, 2.83 G multiply-adds, 92.1 % top-1 on CIFAR-10."""
    return ResNetCifar(depth, **kwargs)


@family.variant(accuracy_source="")
def plain20_cifar(*, depth: int = 20, **kwargs) -> ResNetCifar:
    """269,722 parameters, 0.04 G multiply-adds: resnet20_cifar without shortcuts."""
    return ResNetCifar(depth, residual=False, **kwargs)


@family.variant(accuracy_source="")
def plain32_cifar(*, depth: int = 32, **kwargs) -> ResNetCifar:
    """464,154 parameters, 0.07 G multiply-adds: resnet32_cifar without shortcuts."""
    return ResNetCifar(depth, residual=False, **kwargs)


@family.variant(accuracy_source="")
def plain44_cifar(*, depth: int = 44, **kwargs) -> ResNetCifar:
    """658,586 parameters, 0.10 G multiply-adds: resnet44_cifar without shortcuts."""
    return ResNetCifar(depth, residual=False, **kwargs)


@family.variant(accuracy_source="")
def plain56_cifar(*, depth: int = 56, **kwargs) -> ResNetCifar:
    """853,018 parameters, 0.13 G multiply-adds: resnet56_cifar without shortcuts."""
    return ResNetCifar(depth, residual=False, **kwargs)


family.checkpoint_keys(
    "akamaster",
    (
        (r"^stem_conv$", "conv1"),
        (r"^stem_norm$", "bn1"),
        (r"^head$", "linear"),
        (r"^stage(\d)_block(\d+)", r"layer\1/\2-1"),
        (r"/norm(\d)$", r"/bn\1"),
    ),
)
