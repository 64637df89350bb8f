"""GoogLeNet: inception modules, four parallel branches with cheap 1x1 bottlenecks.

Going Deeper with Convolutions, Szegedy et al. 2014, arXiv:1409.4842, Table 1.

- `googlenet`: as published, with local response normalisation. Reference: Caffe's bvlc_googlenet.
- `googlenet_bn`: with BatchNorm. Reference: torchvision `googlenet`, whose "5x5" branch is 3x3 and
  whose last pooling before stage 3 is 2x2.

Two auxiliary classifiers, "aux1" and "aux2", take the outputs of the third and sixth module.

Differences from the paper: local response normalisation is Caffe's (k = 1, alpha / 5); for images
of other sizes than 224 the auxiliary classifiers pool to 4x4 adaptively, as torchvision's do. The
weights of `googlenet` take images in BGR order.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from zoo.layers import initializers
from zoo.layers.branches import branch
from zoo.layers.conv import Conv, same_symmetric, window
from zoo.layers.conv_norm import ConvNorm
from zoo.layers.dense import Dense
from zoo.layers.head import classify, logits_layer, pool_head_map
from zoo.layers.image_input import takes_images
from zoo.layers.lrn import local_response_norm
from zoo.layers.pool import adaptive_average_pool, average_pool, flatten, max_pool
from zoo.registry import CAFFE, Family

xavier = initializers.variance_scaling(1.0, "fan_in", "uniform")  # of the Caffe model

# Table 1: features of 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5 and pool proj of each module.
STAGES = (
    ((64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64)),
    (
        (192, 96, 208, 16, 48, 64),
        (160, 112, 224, 24, 64, 64),
        (128, 128, 256, 24, 64, 64),
        (112, 144, 288, 32, 64, 64),
        (256, 160, 320, 32, 128, 128),
    ),
    ((256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128)),
)
AUXILIARY = {"stage2_block1": "aux1", "stage2_block4": "aux2"}


class ConvRelu(nn.Module):
    """Convolution with biases, ReLU, [B, H, W, C] -> [B, H / strides, W / strides, features].

    Attributes:
      features: Number of output channels.
      kernel_size: Side of the kernel.
      strides: Stride of the convolution.
      dtype: Dtype of the computation.
    """

    features: int
    kernel_size: int
    strides: int = 1
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        conv = partial(
            Conv, padding=same_symmetric(self.kernel_size), kernel_init=xavier, dtype=self.dtype
        )
        return nn.relu(conv(self.features, window(self.kernel_size), self.strides, name="conv")(x))


class Inception(nn.Module):
    """Inception module, [B, H, W, C] -> [B, H, W, features of 1x1 + 3x3 + 5x5 + pool proj].

    Attributes:
      features: Numbers of features of 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5, pool proj.
      size: Side of the kernel in the branch called 5x5.
      naive: Whether to omit the bottlenecks (Figure 2 (a)): filters see all channels, and pooling
        keeps them.
      conv: Constructor of a convolution with normalisation and activation.
    """

    features: Sequence[int]
    size: int
    naive: bool
    conv: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        width_1x1, reduce_3x3, width_3x3, reduce_5x5, width_5x5, pool_proj = self.features
        chain = partial(branch, self.conv)
        pool = max_pool(x, 3, 1, padding=1)
        if self.naive:
            branches = [
                chain("branch1", x, (width_1x1, 1)),
                chain("branch2", x, (width_3x3, 3)),
                chain("branch3", x, (width_5x5, self.size)),
                pool,
            ]
        else:
            branches = [
                chain("branch1", x, (width_1x1, 1)),
                chain("branch2", x, (reduce_3x3, 1), (width_3x3, 3)),
                chain("branch3", x, (reduce_5x5, 1), (width_5x5, self.size)),
                chain("branch_pool", pool, (pool_proj, 1)),
            ]
        return jnp.concatenate(branches, axis=-1)


class AuxiliaryHead(nn.Module):
    """Auxiliary classifier on intermediate features, [B, H, W, C] -> logits [B, num_classes].

    Attributes:
      num_classes: Number of classes.
      dropout: Dropout rate before the last layer.
      overlap: Whether to average over overlapping 5x5 windows where 4x4 of them cover the image, as
        in the paper, rather than adaptively over bins.
      conv: Constructor of a convolution with normalisation and activation.
      dtype: Dtype of the computation.
    """

    num_classes: int
    dropout: float
    overlap: bool
    conv: Callable[..., nn.Module]
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        if self.overlap and x.shape[1:3] == (14, 14):
            x = average_pool(x, 5, 3)  # [B, 4, 4, C]
        x = adaptive_average_pool(x, 4)
        x = self.conv(128, 1, name="conv")(x)
        x = flatten(x)  # [B, 2048], channels first
        x = nn.relu(Dense(1024, dtype=self.dtype, kernel_init=xavier, name="fc")(x))
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return logits_layer(self.num_classes, self.dtype, kernel_init=xavier)(x)


class GoogLeNet(nn.Module):
    """GoogLeNet, images [B, H, W, C] of any size from 32 up -> logits [B, num_classes].

    Attributes:
      auxiliary: Whether to have auxiliary classifiers; many published weights lack them.
      batch_norm: Whether to be torchvision's network, with BatchNorm in place of local response
        normalisation.
      naive: Whether modules have no bottlenecks, to see what these save.
      num_classes: Number of classes; 0 removes the head and the auxiliary classifiers and returns
        the pooled features [B, C].
      dropout: Dropout rate before the head.
      aux_dropout: Dropout rate in the auxiliary classifiers.
      dtype: Dtype of the computation; parameters, normalisation statistics and logits stay float32.
    """

    auxiliary: bool = True
    batch_norm: bool = False
    naive: bool = False
    num_classes: int = 1000
    dropout: float = 0.4
    aux_dropout: float = 0.7
    dtype: Any = jnp.float32

    @takes_images(at_least=32)
    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        unit = partial(ConvNorm, train=train) if self.batch_norm else ConvRelu
        conv = partial(unit, dtype=self.dtype)
        norm = (lambda x: x) if self.batch_norm else local_response_norm
        module = partial(Inception, size=3 if self.batch_norm else 5, naive=self.naive, conv=conv)
        auxiliary = partial(
            AuxiliaryHead,
            self.num_classes,
            self.aux_dropout,
            overlap=not self.batch_norm,
            conv=conv,
            dtype=self.dtype,
        )

        # Caffe's network runs its auxiliary heads in evaluation too, torchvision's does not.
        is_used = train or self.is_initializing() or self.is_mutable_collection("intermediates")
        has_auxiliary = self.auxiliary and self.num_classes and (is_used or not self.batch_norm)
        auxiliaries = AUXILIARY if has_auxiliary else {}

        # Stem
        x = conv(64, 7, 2, name="stem_conv1")(images)  # [B, H/2, W/2, 64]
        x = norm(max_pool(x, 3, 2, ceil_mode=True))  # [B, H/4, W/4, 64]
        x = conv(64, 1, name="stem_conv2")(x)
        x = norm(conv(192, 3, name="stem_conv3")(x))
        x = max_pool(x, 3, 2, ceil_mode=True)  # [B, H/8, W/8, 192]
        self.sow("intermediates", "stem", x)

        # Stages
        for i, modules in enumerate(STAGES, 1):
            if i > 1:
                tiles = self.batch_norm and i == 3
                x = max_pool(x, 2 if tiles else 3, 2, ceil_mode=True)
            for j, features in enumerate(modules, 1):
                block = f"stage{i}_block{j}"
                x = module(features, name=block)(x)
                if block in auxiliaries:
                    aux = auxiliaries[block]
                    self.sow("intermediates", aux, auxiliary(name=f"{aux}_head")(x, train=train))
            self.sow("intermediates", f"stage{i}", x)  # last: [B, H/32, W/32, 1024]

        # Head
        x = pool_head_map(self, x)  # [B, 1024]
        dropout = nn.Dropout(self.dropout, deterministic=not train)
        return classify(self, x, self.num_classes, self.dtype, kernel_init=xavier, dropout=dropout)


family = Family(
    "googlenet", dict(paper="Going Deeper with Convolutions, arXiv:1409.4842", year=2014)
)


@family.variant(
    reference="Caffe bvlc_googlenet",
    **CAFFE,
    top1=68.7,
    top5=88.9,
    accuracy_source="Caffe model zoo, centre crop",
)
def googlenet(**kwargs) -> GoogLeNet:
    """13,378,280 parameters, 1.59 G multiply-adds, 68.7 % top-1.

    Without the auxiliary classifiers 6,998,552 parameters.
    """
    return GoogLeNet(**kwargs)


@family.variant(
    reference="torchvision googlenet",
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
    top1=69.778,
    top5=89.530,
    accuracy_source="torchvision, weights IMAGENET1K_V1",
)
def googlenet_bn(**kwargs) -> GoogLeNet:
    """13,004,888 parameters, 1.50 G multiply-adds, 69.8 % top-1.

    Without the auxiliary classifiers 6,624,904 parameters.
    """
    return GoogLeNet(batch_norm=True, **{"dropout": 0.2, **kwargs})


def reference_names(model: GoogLeNet) -> list[tuple[str, str]]:
    """Checkpoint keys of torchvision, or of Caffe, whose names contain slashes."""
    letters = ((3, "ab"), (4, "abcde"), (5, "ab"))
    modules = [
        (f"^stage{i - 2}_block{j}/", f"{i}{letter}/")
        for i, stage in letters
        for j, letter in enumerate(stage, 1)
    ]
    if model.batch_norm:
        return [(ours, f"inception{theirs}") for ours, theirs in modules] + [
            (r"^stem_conv(\d)/", r"conv\1/"),
            (r"/branch([23])_(\d)/", r"/branch\1/\2-1/"),
            (r"/branch_pool/", "/branch4/1/"),
            (r"^aux(\d)_head/fc$", r"aux\1/fc1"),
            (r"^aux(\d)_head/head$", r"aux\1/fc2"),
            (r"^aux(\d)_head/", r"aux\1/"),
            (r"/norm$", "/bn"),
            (r"^head$", "fc"),
        ]
    return [(f"{ours}(.*)/conv$", rf"inception_{theirs[:-1]}\/\1") for ours, theirs in modules] + [
        (r"branch1$", "1x1"),
        (r"branch2_1$", "3x3_reduce"),
        (r"branch2(_2)?$", "3x3"),
        (r"branch3_1$", "5x5_reduce"),
        (r"branch3(_2)?$", "5x5"),
        (r"branch_pool$", "pool_proj"),
        (r"^stem_conv1/conv$", r"conv1\/7x7_s2"),
        (r"^stem_conv2/conv$", r"conv2\/3x3_reduce"),
        (r"^stem_conv3/conv$", r"conv2\/3x3"),
        (r"^aux(\d)_head/conv/conv$", r"loss\1\/conv"),
        (r"^aux(\d)_head/fc$", r"loss\1\/fc"),
        (r"^aux(\d)_head/head$", r"loss\1\/classifier"),
        (r"^head$", r"loss3\/classifier"),
    ]


family.checkpoint_keys("reference", reference_names)
