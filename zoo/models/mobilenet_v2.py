"""MobileNetV2: inverted residuals with linear bottlenecks.

MobileNetV2: Inverted Residuals and Linear Bottlenecks, Sandler et al. 2018, arXiv:1801.04381,
Table 2. Reference: torchvision `mobilenet_v2`; timm's `mobilenetv2_*` weights load too.
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
from zoo.layers.initializers import kaiming_fan_out
from zoo.layers.width import scaled
from zoo.registry import Family

dense_init = initializers.normal(0.01)

# Each row of Table 2 is a stage: expansion t, features c, number of blocks n, first stride s.
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


class InvertedResidual(nn.Module):
    """Inverted residual, [B, H, W, C] -> [B, H / strides, W / strides, features].

    1x1 to `expansion * C` features, depthwise 3x3, 1x1 to `features`, without an activation at the
    end; a shortcut where input and output have the same shape.

    Attributes:
      features: Number of output channels.
      strides: Stride of the depthwise convolution.
      expansion: Factor by which the features are expanded; with 1 there is no first convolution.
      conv: Constructor of a convolution.
      norm: Constructor of a BatchNorm.
    """

    features: int
    strides: int
    expansion: int
    conv: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        y, expanded = x, self.expansion * x.shape[-1]
        if self.expansion > 1:
            y = self.conv(expanded, (1, 1), name="expand_conv")(y)
            y = nn.relu6(self.norm(name="expand_norm")(y))
        depthwise = partial(self.conv, feature_group_count=expanded, name="depthwise_conv")
        y = depthwise(expanded, (3, 3), self.strides, padding=1)(y)
        y = nn.relu6(self.norm(name="depthwise_norm")(y))
        y = self.conv(self.features, (1, 1), name="project_conv")(y)
        y = self.norm(name="project_norm")(y)
        return x + y if x.shape == y.shape else y


class MobileNetV2(nn.Module):
    """MobileNetV2, images [B, H, W, C] of any size -> logits [B, num_classes].

    Attributes:
      width: Width multiplier: factor of the features of every layer, rounded to multiples of 8. The
        last convolution keeps its 1280 features where it is less than 1.
      num_classes: Number of classes; 0 removes the head and returns the pooled features [B, C].
      dropout: Dropout rate before the head.
      dtype: Dtype of the computation; parameters, normalisation statistics and logits stay float32.
    """

    width: float = 1.0
    num_classes: int = 1000
    dropout: float = 0.2
    dtype: Any = jnp.float32

    @takes_images()
    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        conv = partial(Conv, use_bias=False, kernel_init=kaiming_fan_out, dtype=self.dtype)
        norm = partial(nn.BatchNorm, use_running_average=not train, momentum=0.9, dtype=self.dtype)

        # Stem
        x = conv(scaled(32, self.width), (3, 3), 2, padding=1, name="stem_conv")(images)
        x = nn.relu6(norm(name="stem_norm")(x))  # [B, H/2, W/2, 32 * width]
        self.sow("intermediates", "stem", x)

        # Stages
        for i, (expansion, features, depth, first_strides) in enumerate(STAGES, 1):
            for j in range(1, depth + 1):
                strides = first_strides if j == 1 else 1
                block = partial(InvertedResidual, scaled(features, self.width), strides, expansion)
                x = block(conv, norm, name=f"stage{i}_block{j}")(x)
            self.sow("intermediates", f"stage{i}", x)  # last: [B, H/32, W/32, 320 * width]

        # Head
        x = conv(scaled(1280, max(1.0, self.width)), (1, 1), name="final_conv")(x)
        x = nn.relu6(norm(name="final_norm")(x))
        x = pool_head_map(self, x)  # [B, 1280]
        dropout = nn.Dropout(self.dropout, deterministic=not train)
        return classify(
            self, x, self.num_classes, self.dtype, kernel_init=dense_init, dropout=dropout
        )


family = Family(
    "mobilenet_v2",
    dict(
        paper="MobileNetV2: Inverted Residuals and Linear Bottlenecks, arXiv:1801.04381",
        year=2018,
        accuracy_source="torchvision, weights IMAGENET1K_V1",
    ),
)


@family.variant(reference="torchvision mobilenet_v2", top1=71.878, top5=90.286)
def mobilenet_v2(**kwargs) -> MobileNetV2:
    """3,504,872 parameters, 0.30 G multiply-adds, 71.9 % top-1."""
    return MobileNetV2(**kwargs)


def torchvision_names(model: MobileNetV2) -> list[tuple[str, str]]:
    """Checkpoint keys of torchvision, whose `features` numbers all blocks, with the stem at 0."""
    depths = [depth for _, _, depth, _ in STAGES]
    blocks = [(i, j) for i, depth in enumerate(depths, 1) for j in range(1, depth + 1)]
    places = enumerate(blocks, 1)
    return [
        ("^stem_", "features/0/"),
        *((f"^stage{i}_block{j}/", f"features/{at}/conv/") for at, (i, j) in places),
        ("^final_", f"features/{len(blocks) + 1}/"),
        # The first block does not expand.
        ("^features/1/conv/depthwise_", "features/1/conv/0/"),
        ("^features/1/conv/project_conv$", "features/1/conv/1"),
        ("^features/1/conv/project_norm$", "features/1/conv/2"),
        ("/expand_", "/0/"),
        ("/depthwise_", "/1/"),
        ("/project_conv$", "/2"),
        ("/project_norm$", "/3"),
        ("/conv$", "/0"),
        ("/norm$", "/1"),
        ("^head$", "classifier/1"),
    ]


family.checkpoint_keys("torchvision", torchvision_names)
family.checkpoint_keys(
    "timm",
    (
        (r"^stem_conv$", "conv_stem"),
        (r"^stem_norm$", "bn1"),
        (r"^stage1_block1/depthwise_conv$", "blocks/0/0/conv_dw"),
        (r"^stage1_block1/depthwise_norm$", "blocks/0/0/bn1"),
        (r"^stage1_block1/project_conv$", "blocks/0/0/conv_pw"),
        (r"^stage1_block1/project_norm$", "blocks/0/0/bn2"),
        (r"^stage(\d)_block(\d)", r"blocks/\1-1/\2-1"),
        (r"/expand_conv$", "/conv_pw"),
        (r"/expand_norm$", "/bn1"),
        (r"/depthwise_conv$", "/conv_dw"),
        (r"/depthwise_norm$", "/bn2"),
        (r"/project_conv$", "/conv_pwl"),
        (r"/project_norm$", "/bn3"),
        (r"^final_conv$", "conv_head"),
        (r"^final_norm$", "bn2"),
        (r"^head$", "classifier"),
    ),
)
