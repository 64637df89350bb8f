"""ShuffleNet (v1): grouped 1x1 convolutions, and a shuffle of channels between groups.

ShuffleNet: An Extremely Efficient Convolutional Neural Network for Mobile Devices, Zhang et al.
2017, arXiv:1707.01083, Table 1. Reference: the authors' megvii-model/ShuffleNet-Series, which has
3 and 8 groups; the widths for 1, 2 and 4 groups are the paper's.

Differences from the paper, all as in the reference:
- the shuffle is the inverse of the paper's permutation;
- the stem has 12, 24, 24 and 48 features at the scales 0.5 to 2 (8 groups at 0.5: 16);
- the classifier has no bias.
Where a quarter of the features does not divide into the groups (2 and 4 groups at the scales 0.5
and 1.5), the bottleneck is widened to the next number that does.

Stages are counted from 1 here; the paper's Stage2 is `stage1`.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from zoo.layers import initializers
from zoo.layers.conv import Conv
from zoo.layers.head import classify, pool_head_map
from zoo.layers.image_input import takes_images
from zoo.layers.initializers import kaiming_fan_in
from zoo.layers.joins import residual_sum
from zoo.layers.pool import average_pool, max_pool
from zoo.registry import Family

dense_init = initializers.normal(0.01)

# Features of the first stage at scale 1, by groups: about the same cost for each (Table 1).
WIDTHS = {1: 144, 2: 200, 3: 240, 4: 272, 8: 384}
# Features of the stem, by scale.
STEM_WIDTHS = {0.5: 12, 1.0: 24, 1.5: 24, 2.0: 48}
DEPTHS = (4, 8, 4)


class Unit(nn.Module):
    """Grouped 1x1 convolution, depthwise 3x3, shuffle, grouped 1x1 (Figure 2, b and c).

    [B, H, W, C] -> [B, H / strides, W / strides, features]; C = features where strides is 1.

    Attributes:
      groups: Number of groups of the second 1x1 convolution and of the shuffle.
      first_groups: Number of groups of the first 1x1 convolution: `groups`, but 1 right after the
        stem, whose features are few.
    """

    features: int
    strides: int
    groups: int
    first_groups: int
    conv: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        bottleneck = -(-self.features // (4 * self.groups)) * self.groups
        branch_features = self.features - x.shape[-1] if self.strides == 2 else self.features
        pointwise1 = partial(self.conv, feature_group_count=self.first_groups)
        pointwise2 = partial(self.conv, feature_group_count=self.groups)
        depthwise = partial(self.conv, feature_group_count=bottleneck, padding=1)

        y = pointwise1(bottleneck, (1, 1), name="pointwise1_conv")(x)
        y = nn.relu(self.norm(name="pointwise1_norm")(y))
        y = depthwise(bottleneck, (3, 3), self.strides, name="depthwise_conv")(y)
        y = shuffle(self.norm(name="depthwise_norm")(y), self.groups)
        y = pointwise2(branch_features, (1, 1), name="pointwise2_conv")(y)
        y = self.norm(name="pointwise2_norm")(y)
        if self.strides == 1:
            return residual_sum(x, y)
        x = average_pool(x, 3, 2, padding=1)  # the padding counts, as zeros
        return jnp.concatenate([x, nn.relu(y)], axis=-1)


def shuffle(x: jax.Array, groups: int) -> jax.Array:
    """Moves channel i to group i modulo `groups`. [B, H, W, C] -> [B, H, W, C]."""
    split = x.reshape(*x.shape[:3], -1, groups)
    return split.swapaxes(-1, -2).reshape(x.shape)


class ShuffleNetV1(nn.Module):
    """Images [B, H, W, C] of any size -> logits [B, num_classes].

    Attributes:
      groups: Number of groups of the 1x1 convolutions: 1, 2, 3, 4 or 8.
      scale: Factor of the stages' numbers of features: 0.5, 1, 1.5 or 2.
      num_classes: Number of classes; 0 removes the head and returns the pooled features [B, C].
      dtype: Dtype of the computation; parameters, normalisation statistics and logits stay float32.
    """

    groups: int = 3
    scale: float = 1.0
    num_classes: int = 1000
    dtype: Any = jnp.float32

    @takes_images()
    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        conv = partial(Conv, use_bias=False, kernel_init=kaiming_fan_in, dtype=self.dtype)
        norm = partial(nn.BatchNorm, use_running_average=not train, momentum=0.9, dtype=self.dtype)
        if self.groups not in WIDTHS or self.scale not in STEM_WIDTHS:
            raise ValueError(
                f"ShuffleNet has {', '.join(map(str, WIDTHS))} groups and the scales "
                f"{', '.join(map(str, STEM_WIDTHS))}, got {self.groups} and {self.scale}."
            )
        stem_width = STEM_WIDTHS[self.scale]
        if (self.groups, self.scale) == (8, 0.5):
            stem_width = 16  # what the first unit adds to it has to divide into the groups

        # Stem
        x = conv(stem_width, (3, 3), 2, padding=1, name="stem_conv")(images)  # [B, H/2, W/2, 24]
        x = nn.relu(norm(name="stem_norm")(x))
        x = max_pool(x, 3, 2, padding=1)  # [B, H/4, W/4, 24]
        self.sow("intermediates", "stem", x)

        # Stages
        for i, depth in enumerate(DEPTHS, 1):
            features = int(self.scale * WIDTHS[self.groups]) * 2 ** (i - 1)
            for j in range(1, depth + 1):
                first_groups = 1 if i == j == 1 else self.groups
                unit = partial(Unit, features, 2 if j == 1 else 1, self.groups, first_groups)
                x = unit(conv, norm, name=f"stage{i}_block{j}")(x)
            self.sow("intermediates", f"stage{i}", x)  # last: [B, H/32, W/32, 4 * scale * width]

        # Head
        x = pool_head_map(self, x)
        head = partial(classify, kernel_init=dense_init, use_bias=False)
        return head(self, x, self.num_classes, self.dtype)


family = Family(
    "shufflenet_v1",
    dict(
        paper="ShuffleNet: An Extremely Efficient Convolutional Neural Network for Mobile Devices, "
        "arXiv:1707.01083",
        year=2017,
        accuracy_source="authors' repository megvii-model/ShuffleNet-Series, README",
    ),
)


@family.variant(top1=54.9, accuracy_source="paper, Table 2: 45.1 % error")
def shufflenet_v1_g1_0_5x(**kwargs) -> ShuffleNetV1:
    """533,484 parameters, 0.04 G multiply-adds, 54.9 % top-1."""
    return ShuffleNetV1(groups=1, scale=0.5, **kwargs)


@family.variant(top1=66.4, accuracy_source="paper, Table 2: 33.6 % error")
def shufflenet_v1_g1_1_0x(**kwargs) -> ShuffleNetV1:
    """1,530,936 parameters, 0.14 G multiply-adds, 66.4 % top-1."""
    return ShuffleNetV1(groups=1, scale=1.0, **kwargs)


@family.variant(accuracy_source="")
def shufflenet_v1_g1_1_5x(**kwargs) -> ShuffleNetV1:
    """2,992,032 parameters, 0.31 G multiply-adds."""
    return ShuffleNetV1(groups=1, scale=1.5, **kwargs)


@family.variant(accuracy_source="")
def shufflenet_v1_g1_2_0x(**kwargs) -> ShuffleNetV1:
    """4,917,744 parameters, 0.55 G multiply-adds."""
    return ShuffleNetV1(groups=1, scale=2.0, **kwargs)


@family.variant(top1=55.6, accuracy_source="paper, Table 2: 44.4 % error")
def shufflenet_v1_g2_0_5x(**kwargs) -> ShuffleNetV1:
    """642,932 parameters, 0.04 G multiply-adds, 55.6 % top-1."""
    return ShuffleNetV1(groups=2, scale=0.5, **kwargs)


@family.variant(top1=67.3, accuracy_source="paper, Table 2: 32.7 % error")
def shufflenet_v1_g2_1_0x(**kwargs) -> ShuffleNetV1:
    """1,732,848 parameters, 0.14 G multiply-adds, 67.3 % top-1."""
    return ShuffleNetV1(groups=2, scale=1.0, **kwargs)


@family.variant(accuracy_source="")
def shufflenet_v1_g2_1_5x(**kwargs) -> ShuffleNetV1:
    """3,271,312 parameters, 0.30 G multiply-adds."""
    return ShuffleNetV1(groups=2, scale=1.5, **kwargs)


@family.variant(accuracy_source="")
def shufflenet_v1_g2_2_0x(**kwargs) -> ShuffleNetV1:
    """5,256,896 parameters, 0.54 G multiply-adds."""
    return ShuffleNetV1(groups=2, scale=2.0, **kwargs)


@family.variant(reference="ShuffleNet-Series 0.5x, group 3", top1=57.3, top5=80.0)
def shufflenet_v1_g3_0_5x(**kwargs) -> ShuffleNetV1:
    """717,324 parameters, 0.04 G multiply-adds, 57.3 % top-1."""
    return ShuffleNetV1(groups=3, scale=0.5, **kwargs)


@family.variant(reference="ShuffleNet-Series 1.0x, group 3", top1=67.8, top5=87.7)
def shufflenet_v1_g3_1_0x(**kwargs) -> ShuffleNetV1:
    """1,864,728 parameters, 0.14 G multiply-adds, 67.8 % top-1."""
    return ShuffleNetV1(groups=3, scale=1.0, **kwargs)


@family.variant(reference="ShuffleNet-Series 1.5x, group 3", top1=71.6, top5=90.2)
def shufflenet_v1_g3_1_5x(**kwargs) -> ShuffleNetV1:
    """3,441,168 parameters, 0.29 G multiply-adds, 71.6 % top-1."""
    return ShuffleNetV1(groups=3, scale=1.5, **kwargs)


@family.variant(reference="ShuffleNet-Series 2.0x, group 3", top1=74.1, top5=91.4)
def shufflenet_v1_g3_2_0x(**kwargs) -> ShuffleNetV1:
    """5,449,776 parameters, 0.52 G multiply-adds, 74.1 % top-1."""
    return ShuffleNetV1(groups=3, scale=2.0, **kwargs)


@family.variant(top1=58.4, accuracy_source="paper, Table 2: 41.6 % error")
def shufflenet_v1_g4_0_5x(**kwargs) -> ShuffleNetV1:
    """777,040 parameters, 0.04 G multiply-adds, 58.4 % top-1."""
    return ShuffleNetV1(groups=4, scale=0.5, **kwargs)


@family.variant(top1=67.2, accuracy_source="paper, Table 2: 32.8 % error")
def shufflenet_v1_g4_1_0x(**kwargs) -> ShuffleNetV1:
    """1,967,344 parameters, 0.13 G multiply-adds, 67.2 % top-1."""
    return ShuffleNetV1(groups=4, scale=1.0, **kwargs)


@family.variant(accuracy_source="")
def shufflenet_v1_g4_1_5x(**kwargs) -> ShuffleNetV1:
    """3,573,032 parameters, 0.29 G multiply-adds."""
    return ShuffleNetV1(groups=4, scale=1.5, **kwargs)


@family.variant(accuracy_source="")
def shufflenet_v1_g4_2_0x(**kwargs) -> ShuffleNetV1:
    """5,592,528 parameters, 0.51 G multiply-adds."""
    return ShuffleNetV1(groups=4, scale=2.0, **kwargs)


@family.variant(reference="ShuffleNet-Series 0.5x, group 8", top1=58.8, top5=81.0)
def shufflenet_v1_g8_0_5x(**kwargs) -> ShuffleNetV1:
    """1,010,448 parameters, 0.04 G multiply-adds, 58.8 % top-1."""
    return ShuffleNetV1(groups=8, scale=0.5, **kwargs)


@family.variant(reference="ShuffleNet-Series 1.0x, group 8", top1=68.0, top5=86.4)
def shufflenet_v1_g8_1_0x(**kwargs) -> ShuffleNetV1:
    """2,433,768 parameters, 0.14 G multiply-adds, 68.0 % top-1."""
    return ShuffleNetV1(groups=8, scale=1.0, **kwargs)


@family.variant(reference="ShuffleNet-Series 1.5x, group 8", top1=71.0, top5=89.6)
def shufflenet_v1_g8_1_5x(**kwargs) -> ShuffleNetV1:
    """4,268,952 parameters, 0.29 G multiply-adds, 71.0 % top-1."""
    return ShuffleNetV1(groups=8, scale=1.5, **kwargs)


@family.variant(reference="ShuffleNet-Series 2.0x, group 8", top1=72.9, top5=90.8)
def shufflenet_v1_g8_2_0x(**kwargs) -> ShuffleNetV1:
    """6,521,232 parameters, 0.52 G multiply-adds, 72.9 % top-1."""
    return ShuffleNetV1(groups=8, scale=2.0, **kwargs)


def reference_names(model: ShuffleNetV1) -> list[tuple[str, str]]:
    """Returns the reference's names; its `features` number the units of all stages."""
    units = [(i, j) for i, depth in enumerate(DEPTHS, 1) for j in range(1, depth + 1)]
    return [
        *((f"^stage{i}_block{j}/", f"features/{index}/") for index, (i, j) in enumerate(units)),
        ("/pointwise1_conv$", "/branch_main_1/0"),
        ("/pointwise1_norm$", "/branch_main_1/1"),
        ("/depthwise_conv$", "/branch_main_1/3"),
        ("/depthwise_norm$", "/branch_main_1/4"),
        ("/pointwise2_conv$", "/branch_main_2/0"),
        ("/pointwise2_norm$", "/branch_main_2/1"),
        ("^stem_conv$", "first_conv/0"),
        ("^stem_norm$", "first_conv/1"),
        ("^head$", "classifier/0"),
    ]


family.checkpoint_keys("ShuffleNet-Series", reference_names)
