"""Xception: Inception taken to its extreme, depthwise separable convolutions with shortcuts.

Xception: Deep Learning with Depthwise Separable Convolutions, Chollet 2016, arXiv:1610.02357,
Figure 5. Reference: timm `legacy_xception`, Keras's weights in PyTorch.

Differences from the paper: convolutions and poolings with stride are padded on both sides as in
PyTorch, not at the end as in TensorFlow.
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
from zoo.layers.initializers import kaiming_fan_out, torch_default
from zoo.layers.pool import max_pool
from zoo.registry import Family


class SeparableConv(nn.Module):
    """Depthwise 3x3, then pointwise 1x1 convolution. [B, H, W, C] -> [B, H, W, features]."""

    features: int
    conv: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        channels = x.shape[-1]
        depthwise = partial(self.conv, padding=1, feature_group_count=channels, name="depthwise")
        x = depthwise(channels, (3, 3))(x)
        return self.conv(self.features, (1, 1), name="pointwise")(x)


class Block(nn.Module):
    """Separable convolutions and a shortcut. [B, H, W, C] -> [B, H / strides, W / strides, C'].

    Attributes:
      features: Number of features of each convolution; the last is C'.
      strides: 1, or 2 for a pooling at the end and a projection as the shortcut.
      first_relu: Whether there is a ReLU before the first convolution, too; False right after the
        stem.
    """

    features: Sequence[int]
    strides: int
    conv: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]
    first_relu: bool = True

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        y = x
        for i, features in enumerate(self.features, 1):
            if i > 1 or self.first_relu:
                y = nn.relu(y)
            y = self.norm(name=f"norm{i}")(SeparableConv(features, self.conv, name=f"conv{i}")(y))
        if self.strides == 1:
            return y + x
        x = self.conv(self.features[-1], (1, 1), self.strides, name="shortcut_conv")(x)
        return max_pool(y, 3, self.strides, padding=1) + self.norm(name="shortcut_norm")(x)


class Xception(nn.Module):
    """Images [B, H, W, C] of any size from 7 up -> logits [B, num_classes].

    Attributes:
      num_classes: Number of classes; 0 removes the head and returns the pooled features [B, C].
      dropout: Dropout rate before the classifier.
      dtype: Dtype of the computation; parameters, normalisation statistics and logits stay float32.
    """

    num_classes: int = 1000
    dropout: float = 0.5
    dtype: Any = jnp.float32

    @takes_images(at_least=7)
    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        conv = partial(
            Conv, padding=0, use_bias=False, kernel_init=kaiming_fan_out, dtype=self.dtype
        )
        norm = partial(nn.BatchNorm, use_running_average=not train, momentum=0.9, dtype=self.dtype)
        block = partial(Block, conv=conv, norm=norm)

        # Stem, with sizes for images of 299 pixels
        x = conv(32, (3, 3), 2, name="stem_conv1")(images)  # [B, 149, 149, 32]
        x = nn.relu(norm(name="stem_norm1")(x))
        x = conv(64, (3, 3), name="stem_conv2")(x)  # [B, 147, 147, 64]
        x = nn.relu(norm(name="stem_norm2")(x))
        self.sow("intermediates", "stem", x)

        # Stages: entry flow, up to the first block of stage 3
        x = block((128, 128), 2, first_relu=False, name="stage1_block1")(x)  # [B, 74, 74, 128]
        self.sow("intermediates", "stage1", x)
        x = block((256, 256), 2, name="stage2_block1")(x)  # [B, 37, 37, 256]
        self.sow("intermediates", "stage2", x)
        x = block((728, 728), 2, name="stage3_block1")(x)  # [B, 19, 19, 728]
        # Middle flow
        for i in range(2, 10):
            x = block((728, 728, 728), 1, name=f"stage3_block{i}")(x)
        self.sow("intermediates", "stage3", x)
        # Exit flow
        x = block((728, 1024), 2, name="stage4_block1")(x)  # [B, 10, 10, 1024]
        for i, features in enumerate((1536, 2048), 1):
            x = SeparableConv(features, conv, name=f"final_conv{i}")(x)
            x = nn.relu(norm(name=f"final_norm{i}")(x))  # [B, 10, 10, 2048]
        self.sow("intermediates", "stage4", x)

        # Head
        x = pool_head_map(self, x)
        dropout = nn.Dropout(self.dropout, deterministic=not train)
        return classify(
            self, x, self.num_classes, self.dtype, kernel_init=torch_default, dropout=dropout
        )


family = Family(
    "xception",
    dict(
        paper="Xception: Deep Learning with Depthwise Separable Convolutions, arXiv:1610.02357",
        year=2016,
        image_size=299,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        interpolation="bicubic",
        crop=0.8975,
        accuracy_source="timm, weights legacy_xception.tf_in1k",
    ),
)


@family.variant(reference="timm legacy_xception", top1=79.058, top5=94.396)
def xception(**kwargs) -> Xception:
    """22,855,952 parameters, 8.36 G multiply-adds, 79.1 % top-1."""
    return Xception(**kwargs)


# In a block of the reference, `rep` is (ReLU,) convolution, BatchNorm, ReLU, convolution, ...
family.checkpoint_keys(
    "timm",
    (
        (r"^stem_(conv|norm)(\d)$", r"\1\2"),
        (r"^final_(conv|norm)(\d)", r"\g<1>\2+2"),
        (r"^stage1_block1/(conv|norm)1", r"block1/\1/0"),
        (r"^stage1_block1/(conv|norm)2", r"block1/\1/3"),
        (r"^stage([12])_block1", r"block\1"),
        (r"^stage3_block(\d)", r"block\1+2"),
        (r"^stage4_block1", "block12"),
        (r"/(conv|norm)1(?=/|$)", r"/\1/1"),
        (r"/(conv|norm)2(?=/|$)", r"/\1/4"),
        (r"/(conv|norm)3(?=/|$)", r"/\1/7"),
        (r"/conv/(\d)", r"/rep/\1"),
        (r"/norm/(\d)", r"/rep/\1+1"),
        (r"^norm(\d)$", r"bn\1"),
        (r"/shortcut_conv$", "/skip"),
        (r"/shortcut_norm$", "/skipbn"),
        (r"/depthwise$", "/conv1"),
        (r"^head$", "fc"),
    ),
)
