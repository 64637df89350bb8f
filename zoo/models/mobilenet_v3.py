"""MobileNetV3: architecture search, squeeze-and-excitation and hard swish.

Searching for MobileNetV3, Howard et al. 2019, arXiv:1905.02244, Tables 1 and 2. Reference:
torchvision `mobilenet_v3_large`, `mobilenet_v3_small`.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from zoo.layers import initializers
from zoo.layers.conv import Conv
from zoo.layers.dense import Dense
from zoo.layers.drop_path import DropPath, rule_drop_path_rates
from zoo.layers.head import classify, pool_head_map
from zoo.layers.image_input import takes_images
from zoo.layers.initializers import kaiming_fan_out
from zoo.layers.squeeze_excite import SqueezeExcite
from zoo.layers.width import scaled
from zoo.registry import Family

dense_init = initializers.normal(0.01)


class Stage(NamedTuple):
    """A stage: rows of Table 1 or 2 with the same output, one block for each of `expanded`.

    Attributes:
      features: Number of output channels.
      strides: Stride of the first block.
      kernel: Side of the depthwise convolution's kernel.
      squeeze: Whether the blocks have squeeze-and-excitation.
      act: Activation function.
      expanded: Number of expanded features of each block.
    """

    features: int
    strides: int
    kernel: int
    squeeze: bool
    act: Callable[[jax.Array], jax.Array]
    expanded: Sequence[int]


LARGE = (
    Stage(16, 1, 3, False, nn.relu, (16,)),
    Stage(24, 2, 3, False, nn.relu, (64, 72)),
    Stage(40, 2, 5, True, nn.relu, (72, 120, 120)),
    Stage(80, 2, 3, False, nn.hard_swish, (240, 200, 184, 184)),
    Stage(112, 1, 3, True, nn.hard_swish, (480, 672)),
    Stage(160, 2, 5, True, nn.hard_swish, (672, 960, 960)),
)
SMALL = (
    Stage(16, 2, 3, True, nn.relu, (16,)),
    Stage(24, 2, 3, False, nn.relu, (72, 88)),
    Stage(40, 2, 5, True, nn.hard_swish, (96, 240, 240)),
    Stage(48, 1, 5, True, nn.hard_swish, (120, 144)),
    Stage(96, 2, 5, True, nn.hard_swish, (288, 576, 576)),
)


class InvertedResidual(nn.Module):
    """Inverted residual, [B, H, W, C] -> [B, H / strides, W / strides, features].

    1x1 to `expanded` features, depthwise convolution, squeeze-and-excitation (if any), 1x1 to
    `features`; a shortcut where input and output have the same shape.

    Attributes:
      features: Number of output channels.
      strides: Stride of the depthwise convolution.
      kernel: Side of the depthwise convolution's kernel.
      squeeze: Whether there is squeeze-and-excitation.
      act: Activation function.
      expanded: Number of expanded features; with C there is no first convolution.
      conv: Constructor of a convolution.
      norm: Constructor of a BatchNorm.
      dtype: Dtype of the computation.
    """

    features: int
    strides: int
    kernel: int
    squeeze: bool
    act: Callable[[jax.Array], jax.Array]
    expanded: int
    conv: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]
    dtype: Any
    drop_path: float = 0.0

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        y = x
        if self.expanded != x.shape[-1]:
            y = self.conv(self.expanded, (1, 1), name="expand_conv")(y)
            y = self.act(self.norm(name="expand_norm")(y))
        depthwise = partial(self.conv, feature_group_count=self.expanded, name="depthwise_conv")
        window = (self.kernel, self.kernel)
        y = depthwise(self.expanded, window, self.strides, padding=self.kernel // 2)(y)
        y = self.act(self.norm(name="depthwise_norm")(y))
        if self.squeeze:
            squeeze = partial(SqueezeExcite, gate=nn.hard_sigmoid, dtype=self.dtype)
            y = squeeze(scaled(self.expanded // 4), name="squeeze_excite")(y)
        y = self.conv(self.features, (1, 1), name="project_conv")(y)
        y = self.norm(name="project_norm")(y)
        return x + DropPath(self.drop_path)(y, train=train) if x.shape == y.shape else y


class MobileNetV3(nn.Module):
    """MobileNetV3, images [B, H, W, C] of any size -> logits [B, num_classes].

    Attributes:
      stages: Rows of Table 1 or 2, `LARGE` or `SMALL`.
      embedding_width: Number of features of the layer between pooling and head.
      width: Width multiplier: factor of the features of every layer, rounded to multiples of 8.
      num_classes: Number of classes; 0 removes the head and returns the features before it [B, C].
      dropout: Dropout rate before the head.
      drop_path: Stochastic depth rate; block i of n, counted from 0, has `drop_path * i / n`.
      dtype: Dtype of the computation; parameters, normalisation statistics and logits stay float32.
    """

    stages: Sequence[Stage]
    embedding_width: int
    width: float = 1.0
    num_classes: int = 1000
    dropout: float = 0.2
    drop_path: float = 0.0
    dtype: Any = jnp.float32

    @takes_images()
    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        conv = partial(Conv, use_bias=False, kernel_init=kaiming_fan_out, dtype=self.dtype)
        norm = partial(
            nn.BatchNorm,
            use_running_average=not train,
            momentum=0.99,
            epsilon=1e-3,
            dtype=self.dtype,
        )
        dense = partial(Dense, kernel_init=dense_init)

        # Stem
        x = conv(scaled(16, self.width), (3, 3), 2, padding=1, name="stem_conv")(images)
        x = nn.hard_swish(norm(name="stem_norm")(x))  # [B, H/2, W/2, 16 * width]
        self.sow("intermediates", "stem", x)

        # Stages
        depths = [len(stage.expanded) for stage in self.stages]
        all_rates = rule_drop_path_rates("efficientnet", self.drop_path, depths)
        for i, (features, first_strides, *kind, expanded) in enumerate(self.stages, 1):
            for j, (expanded_width, rate) in enumerate(
                zip(expanded, all_rates[i - 1], strict=True), 1
            ):
                strides = first_strides if j == 1 else 1
                block = partial(InvertedResidual, scaled(features, self.width), strides, *kind)
                block = partial(block, scaled(expanded_width, self.width), conv, norm, self.dtype)
                x = block(drop_path=rate, name=f"stage{i}_block{j}")(x, train=train)
            self.sow("intermediates", f"stage{i}", x)  # last: [B, H/32, W/32, 160 * width]

        # Head
        x = conv(6 * x.shape[-1], (1, 1), name="final_conv")(x)  # [B, H/32, W/32, 960 * width]
        x = nn.hard_swish(norm(name="final_norm")(x))
        x = pool_head_map(self, x)
        x = dense(scaled(self.embedding_width, self.width), dtype=self.dtype, name="fc")(x)
        x = nn.hard_swish(x)
        dropout = nn.Dropout(self.dropout, deterministic=not train)
        return classify(
            self, x, self.num_classes, self.dtype, kernel_init=dense_init, dropout=dropout
        )


family = Family(
    "mobilenet_v3",
    dict(
        paper="Searching for MobileNetV3, arXiv:1905.02244",
        year=2019,
        accuracy_source="torchvision, weights IMAGENET1K_V1",
    ),
)


@family.variant(reference="torchvision mobilenet_v3_large", top1=74.042, top5=91.340)
def mobilenet_v3_large(**kwargs) -> MobileNetV3:
    """5,483,032 parameters, 0.22 G multiply-adds, 74.0 % top-1."""
    return MobileNetV3(LARGE, embedding_width=1280, **kwargs)


@family.variant(reference="torchvision mobilenet_v3_small", top1=67.668, top5=87.402)
def mobilenet_v3_small(**kwargs) -> MobileNetV3:
    """2,542,856 parameters, 0.06 G multiply-adds, 67.7 % top-1."""
    return MobileNetV3(SMALL, embedding_width=1024, **kwargs)


def torchvision_names(model: MobileNetV3) -> list[tuple[str, str]]:
    """Checkpoint keys of torchvision, which numbers blocks, and the layers that a block has."""
    names, at = [("^stem_", "features/0/")], 0
    for i, stage in enumerate(model.stages, 1):
        for j in range(1, len(stage.expanded) + 1):
            at += 1
            layers = ["expand", "depthwise", "squeeze_excite", "project"]
            if at == 1:
                layers.remove("expand")
            if not stage.squeeze:
                layers.remove("squeeze_excite")
            block = f"^stage{i}_block{j}/"
            names += [
                (f"{block}{layer}[_/]", f"features/{at}/block/{k}/")
                for k, layer in enumerate(layers)
            ]
    return names + [
        ("/reduce$", "/fc1"),
        ("/expand$", "/fc2"),
        ("^final_", f"features/{at + 1}/"),
        ("/conv$", "/0"),
        ("/norm$", "/1"),
        ("^fc$", "classifier/0"),
        ("^head$", "classifier/3"),
    ]


family.checkpoint_keys("torchvision", torchvision_names)
