"""DenseNet: the input of every layer is the outputs of all layers before it.

Densely Connected Convolutional Networks, Huang et al. 2016, arXiv:1608.06993, Tables 1 and 2.
References: torchvision `densenet121` ... `densenet201`; for CIFAR andreasveit/densenet-pytorch,
the port that the authors' page names.

Differences from the paper: the first convolution of `densenet_40_12_cifar` has 2k = 24 features, as
in the authors' code and the port; the paper has 16 (`stem_width=16`, 1,019,722 parameters).
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from zoo.layers.conv import Conv
from zoo.layers.head import classify, pool_head_map
from zoo.layers.image_input import takes_images
from zoo.layers.image_size import require_at_least
from zoo.layers.initializers import kaiming_fan_in, torch_default
from zoo.layers.joins import append_features
from zoo.layers.pool import average_pool, max_pool
from zoo.registry import CIFAR, Family


class DenseLayer(nn.Module):
    """Appends new features to its input, [B, H, W, C] -> [B, H, W, C + features].

    Attributes:
      features: Number of new features.
      bottleneck: Whether a 1x1 convolution to 4 * features comes before the 3x3 convolution.
      conv: Constructor of a convolution.
      norm: Constructor of a BatchNorm.
      drop: Constructor of a dropout layer.
    """

    features: int
    bottleneck: bool
    conv: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]
    drop: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        y = nn.relu(self.norm(name="norm1")(x))
        if self.bottleneck:
            y = self.drop()(self.conv(4 * self.features, (1, 1), name="conv1")(y))
            y = nn.relu(self.norm(name="norm2")(y))
        last = "conv2" if self.bottleneck else "conv1"
        y = self.drop()(self.conv(self.features, (3, 3), padding=1, name=last)(y))
        return append_features(x, y)


class DenseNet(nn.Module):
    """DenseNet, images [B, H, W, C] of any size from 29 up (CIFAR: 4) -> logits [B, num_classes].

    Attributes:
      depths: Number of layers in each dense block.
      growth_rate: Number of features that a layer adds, k.
      stem_width: Number of features of the first convolution.
      bottleneck: Whether a 1x1 convolution to 4k features comes before each 3x3 (the B of
        DenseNet-BC).
      compression: Fraction of the features that a transition keeps (the C of DenseNet-BC: 0.5).
      cifar: Whether the stem is one 3x3 convolution at full resolution.
      num_classes: Number of classes; 0 removes the head and returns the pooled features [B, C].
      dropout: Dropout rate after every convolution but the first; 0.2 in the paper without
        augmentation.
      dtype: Dtype of the computation; parameters, normalisation statistics and logits stay float32.
    """

    depths: Sequence[int]
    growth_rate: int = 32
    stem_width: int = 64
    bottleneck: bool = True
    compression: float = 0.5
    cifar: bool = False
    num_classes: int = 1000
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @takes_images()
    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        smallest = 2 ** (len(self.depths) - 1) if self.cifar else 29
        require_at_least(images, smallest, "This DenseNet")
        conv = partial(Conv, use_bias=False, kernel_init=kaiming_fan_in, dtype=self.dtype)
        norm = partial(nn.BatchNorm, use_running_average=not train, momentum=0.9, dtype=self.dtype)
        drop = partial(nn.Dropout, self.dropout, deterministic=not train)
        layer = partial(
            DenseLayer, self.growth_rate, self.bottleneck, conv=conv, norm=norm, drop=drop
        )

        # Stem
        if self.cifar:
            x = conv(self.stem_width, (3, 3), padding=1, name="stem_conv")(images)  # [B, H, W, 2k]
        else:
            x = conv(self.stem_width, (7, 7), 2, padding=3, name="stem_conv")(images)
            x = nn.relu(norm(name="stem_norm")(x))  # [B, H/2, W/2, 2k]
            x = max_pool(x, 3, 2, padding=1)  # [B, H/4, W/4, 2k]
        self.sow("intermediates", "stem", x)

        # Stages
        for i, depth in enumerate(self.depths, 1):
            for j in range(1, depth + 1):
                x = layer(name=f"stage{i}_layer{j}")(x)
            self.sow("intermediates", f"stage{i}", x)  # depth * k features more than before
            if i < len(self.depths):
                features = int(x.shape[-1] * self.compression)
                x = nn.relu(norm(name=f"transition{i}_norm")(x))
                x = drop()(conv(features, (1, 1), name=f"transition{i}_conv")(x))
                x = average_pool(x, 2, 2)  # [B, H/2, W/2, features]

        # Head
        x = pool_head_map(self, nn.relu(norm(name="final_norm")(x)))
        return classify(self, x, self.num_classes, self.dtype, kernel_init=torch_default)


family = Family(
    "densenet",
    dict(
        paper="Densely Connected Convolutional Networks, arXiv:1608.06993",
        year=2016,
        accuracy_source="torchvision, weights IMAGENET1K_V1",
    ),
)
cifar = Family(
    "densenet",
    family.defaults | CIFAR,
)


@family.variant(reference="torchvision densenet121", top1=74.434, top5=91.972)
def densenet121(**kwargs) -> DenseNet:
    """7,978,856 parameters, 2.83 G multiply-adds, 74.4 % top-1."""
    return DenseNet((6, 12, 24, 16), **kwargs)


@family.variant(reference="torchvision densenet161", top1=77.138, top5=93.560)
def densenet161(**kwargs) -> DenseNet:
    """28,681,000 parameters, 7.73 G multiply-adds, 77.1 % top-1."""
    return DenseNet((6, 12, 36, 24), growth_rate=48, stem_width=96, **kwargs)


@family.variant(reference="torchvision densenet169", top1=75.600, top5=92.806)
def densenet169(**kwargs) -> DenseNet:
    """14,149,480 parameters, 3.36 G multiply-adds, 75.6 % top-1."""
    return DenseNet((6, 12, 32, 32), **kwargs)


@family.variant(reference="torchvision densenet201", top1=76.896, top5=93.370)
def densenet201(**kwargs) -> DenseNet:
    """20,013,928 parameters, 4.29 G multiply-adds, 76.9 % top-1."""
    return DenseNet((6, 12, 48, 32), **kwargs)


@family.variant(
    reference="torchvision DenseNet(block_config=(6, 12, 64, 48))",
    top1=77.85,
    top5=93.88,
    accuracy_source="Squeeze-and-Excitation paper, Table 8",
)
def densenet264(**kwargs) -> DenseNet:
    """33,337,704 parameters, 5.75 G multiply-adds, 77.8 % top-1."""
    return DenseNet((6, 12, 64, 48), **kwargs)


@cifar.variant(
    reference="andreasveit/densenet-pytorch --layers 40 --no-bottleneck --reduce 1.0",
    top1=94.76,
    accuracy_source="paper, Table 2: 5.24 % error on CIFAR-10+",
)
def densenet_40_12_cifar(num_classes: int = 10, **kwargs) -> DenseNet:
    """1,059,298 parameters, 0.28 G multiply-adds, 94.8 % top-1 on CIFAR-10."""
    settings: dict[str, Any] = dict(
        growth_rate=12, stem_width=24, bottleneck=False, compression=1.0, cifar=True
    )
    return DenseNet((12, 12, 12), num_classes=num_classes, **(settings | kwargs))


@cifar.variant(
    reference="andreasveit/densenet-pytorch --layers 100",
    top1=95.49,
    accuracy_source="paper, Table 2: 4.51 % error on CIFAR-10+",
)
def densenet_bc_100_12_cifar(num_classes: int = 10, **kwargs) -> DenseNet:
    """769,162 parameters, 0.29 G multiply-adds, 95.5 % top-1 on CIFAR-10."""
    settings: dict[str, Any] = dict(growth_rate=12, stem_width=24, cifar=True)
    return DenseNet((16, 16, 16), num_classes=num_classes, **(settings | kwargs))


torchvision_names = (
    (r"^stem_(conv|norm)$", r"features/\g<1>0"),
    (r"^stage(\d)_layer(\d+)/", r"features/denseblock\1/denselayer\2/"),
    (r"^transition(\d)_", r"features/transition\1/"),
    (r"^final_norm$", "features/norm5"),
    (r"^head$", "classifier"),
)
family.checkpoint_keys("torchvision", torchvision_names)
# The files that torchvision offers are older than its code.
family.checkpoint_keys(
    "torchvision's files", (*torchvision_names, (r"(denselayer.*)/(norm|conv)(\d)$", r"\1/\2/\3"))
)
cifar.checkpoint_keys(
    "densenet-pytorch",
    (
        (r"^stem_conv$", "conv1"),
        (r"^stage(\d)_layer(\d+)/", r"block\1/layer/\2-1/"),
        (r"^transition(\d)_norm$", r"trans\1/bn1"),
        (r"^transition(\d)_conv$", r"trans\1/conv1"),
        (r"/norm(\d)$", r"/bn\1"),
        (r"^final_norm$", "bn1"),
        (r"^head$", "fc"),
    ),
)
