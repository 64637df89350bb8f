"""ShuffleNetV2: half of the channels pass each block untouched.

ShuffleNet V2: Practical Guidelines for Efficient CNN Architecture Design, Ma et al. 2018,
arXiv:1807.11164, Table 5. Reference: torchvision `shufflenet_v2_x0_5` ... `shufflenet_v2_x2_0`.

Stages are counted from 1 here; the paper's Stage2 is `stage1`.
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
from zoo.layers.initializers import torch_default
from zoo.layers.pool import max_pool
from zoo.registry import Family

DEPTHS = (4, 8, 4)


class Unit(nn.Module):
    """The basic unit, and with strides = 2 the one for downsampling (Figure 3, c and d).

    [B, H, W, C] -> [B, H / strides, W / strides, features]; C = features where strides is 1.
    """

    features: int
    strides: int
    conv: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        half = self.features // 2
        depthwise = partial(self.conv, kernel_size=(3, 3), strides=self.strides, padding=1)
        if self.strides == 1:
            left, x = jnp.split(x, 2, axis=-1)  # two of [B, H, W, features / 2]
        else:
            channels = x.shape[-1]
            left = depthwise(channels, feature_group_count=channels, name="left_depthwise_conv")(x)
            left = self.norm(name="left_depthwise_norm")(left)
            left = self.conv(half, (1, 1), name="left_pointwise_conv")(left)
            left = nn.relu(self.norm(name="left_pointwise_norm")(left))

        x = self.conv(half, (1, 1), name="pointwise1_conv")(x)
        x = nn.relu(self.norm(name="pointwise1_norm")(x))
        x = depthwise(half, feature_group_count=half, name="depthwise_conv")(x)
        x = self.norm(name="depthwise_norm")(x)
        x = self.conv(half, (1, 1), name="pointwise2_conv")(x)
        x = nn.relu(self.norm(name="pointwise2_norm")(x))
        return interleave(left, x)


def interleave(left: jax.Array, right: jax.Array) -> jax.Array:
    """Interleaves channels: left, right, left, ... Twice [B, H, W, C] -> [B, H, W, 2 * C]."""
    *shape, channels = left.shape
    return jnp.stack([left, right], axis=-1).reshape(*shape, 2 * channels)


class ShuffleNetV2(nn.Module):
    """Images [B, H, W, C] of any size -> logits [B, num_classes].

    Attributes:
      widths: Number of features of each of the three stages.
      final_width: Number of features of the last convolution.
      num_classes: Number of classes; 0 removes the head and returns the pooled features [B, C].
      dropout: Dropout rate before the head; 0.2 in the authors' code of the network of width 2.
      dtype: Dtype of the computation; parameters, normalisation statistics and logits stay float32.
    """

    widths: Sequence[int]
    final_width: int = 1024
    num_classes: int = 1000
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @takes_images()
    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        conv = partial(Conv, use_bias=False, kernel_init=torch_default, dtype=self.dtype)
        norm = partial(nn.BatchNorm, use_running_average=not train, momentum=0.9, dtype=self.dtype)

        # Stem
        x = conv(24, (3, 3), 2, padding=1, name="stem_conv")(images)  # [B, H/2, W/2, 24]
        x = nn.relu(norm(name="stem_norm")(x))
        x = max_pool(x, 3, 2, padding=1)  # [B, H/4, W/4, 24]
        self.sow("intermediates", "stem", x)

        # Stages
        for i, (features, depth) in enumerate(zip(self.widths, DEPTHS, strict=True), 1):
            for j in range(1, depth + 1):
                unit = partial(Unit, features, 2 if j == 1 else 1, conv, norm)
                x = unit(name=f"stage{i}_block{j}")(x)
            self.sow("intermediates", f"stage{i}", x)  # last: [B, H/32, W/32, widths[2]]

        # Head
        x = conv(self.final_width, (1, 1), name="final_conv")(x)  # [B, H/32, W/32, final_width]
        x = nn.relu(norm(name="final_norm")(x))
        x = pool_head_map(self, x)
        dropout = nn.Dropout(self.dropout, deterministic=not train)
        return classify(
            self, x, self.num_classes, self.dtype, kernel_init=torch_default, dropout=dropout
        )


family = Family(
    "shufflenet_v2",
    dict(
        paper="ShuffleNet V2: Practical Guidelines for Efficient CNN Architecture Design, "
        "arXiv:1807.11164",
        year=2018,
        accuracy_source="torchvision, weights IMAGENET1K_V1",
    ),
)


@family.variant(reference="torchvision shufflenet_v2_x0_5", top1=60.552, top5=81.746)
def shufflenet_v2_x0_5(**kwargs) -> ShuffleNetV2:
    """1,366,792 parameters, 0.04 G multiply-adds, 60.6 % top-1."""
    return ShuffleNetV2((48, 96, 192), **kwargs)


@family.variant(reference="torchvision shufflenet_v2_x1_0", top1=69.362, top5=88.316)
def shufflenet_v2_x1_0(**kwargs) -> ShuffleNetV2:
    """2,278,604 parameters, 0.14 G multiply-adds, 69.4 % top-1."""
    return ShuffleNetV2((116, 232, 464), **kwargs)


# torchvision trained the wider two longer, and resizes to 232 pixels to evaluate them.
@family.variant(
    reference="torchvision shufflenet_v2_x1_5", top1=72.996, top5=91.086, crop=224 / 232
)
def shufflenet_v2_x1_5(**kwargs) -> ShuffleNetV2:
    """3,503,624 parameters, 0.30 G multiply-adds, 73.0 % top-1."""
    return ShuffleNetV2((176, 352, 704), **kwargs)


@family.variant(
    reference="torchvision shufflenet_v2_x2_0", top1=76.230, top5=93.006, crop=224 / 232
)
def shufflenet_v2_x2_0(**kwargs) -> ShuffleNetV2:
    """7,393,996 parameters, 0.58 G multiply-adds, 76.2 % top-1."""
    return ShuffleNetV2((244, 488, 976), final_width=2048, **kwargs)


family.checkpoint_keys(
    "torchvision",
    (
        (r"^stem_", "conv1/"),
        (r"^final_", "conv5/"),
        (r"^stage(\d)_block(\d)", r"stage\1+1/\2-1"),
        (r"/left_depthwise_conv$", "/branch1/0"),
        (r"/left_depthwise_norm$", "/branch1/1"),
        (r"/left_pointwise_conv$", "/branch1/2"),
        (r"/left_pointwise_norm$", "/branch1/3"),
        (r"/pointwise1_conv$", "/branch2/0"),
        (r"/pointwise1_norm$", "/branch2/1"),
        (r"/depthwise_conv$", "/branch2/3"),
        (r"/depthwise_norm$", "/branch2/4"),
        (r"/pointwise2_conv$", "/branch2/5"),
        (r"/pointwise2_norm$", "/branch2/6"),
        (r"^(conv\d)/conv$", r"\1/0"),
        (r"^(conv\d)/norm$", r"\1/1"),
        (r"^head$", "fc"),
    ),
)
