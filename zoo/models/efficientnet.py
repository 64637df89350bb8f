"""EfficientNet: depth, width and resolution of one searched network, scaled together.

EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks, Tan and Le 2019,
arXiv:1905.11946, Table 1 and section 3.3. Reference: torchvision `efficientnet_b0` ... `b7`.

Differences from the paper: torchvision pads both sides alike, and B0 to B4 have PyTorch's BatchNorm
constants, so weights trained in TensorFlow (timm's `tf_efficientnet_b0` ...) want
`same_padding=True, epsilon=1e-3`. B2 is evaluated at 288 pixels (paper: 260).
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from zoo.layers import initializers
from zoo.layers.blocks import run_stage
from zoo.layers.conv import square_conv
from zoo.layers.drop_path import DropPath, rule_drop_path_rates
from zoo.layers.head import classify, pool_head_map
from zoo.layers.image_input import takes_images
from zoo.layers.squeeze_excite import SqueezeExcite
from zoo.layers.width import scaled
from zoo.registry import Family

dense_init = initializers.variance_scaling(1 / 3, "fan_out", "uniform")


class Stage(NamedTuple):
    """A stage: one row of the papers' tables.

    Attributes:
      expand: Factor by which a block expands its features.
      kernel: Side of the depthwise (or fused) convolution's kernel.
      strides: Stride of the first block.
      features: Number of output channels.
      depth: Number of blocks.
      fused: Whether one convolution replaces the expansion and the depthwise convolution.
    """

    expand: int
    kernel: int
    strides: int
    features: int
    depth: int
    fused: bool = False


B0 = (
    Stage(1, 3, 1, 16, 1),
    Stage(6, 3, 2, 24, 2),
    Stage(6, 5, 2, 40, 2),
    Stage(6, 3, 2, 80, 3),
    Stage(6, 5, 1, 112, 3),
    Stage(6, 5, 2, 192, 4),
    Stage(6, 3, 1, 320, 1),
)


def compound_scaling(phi: float) -> tuple[float, float, float]:
    """Depth and width factors and image size for 2**phi times the FLOPs of B0 (equation 3).

    FLOPs grow as depth * width**2 * size**2, and 1.2 * 1.1**2 * 1.15**2 is about 2. B1 to B7 are
    phi = 0.5, 1, 2, 3.5, 5, 6, 7, rounded by hand.
    """
    return 1.2**phi, 1.1**phi, 224 * 1.15**phi


class Block(nn.Module):
    """Inverted bottleneck, [B, H, W, C] -> [B, H / strides, W / strides, stage.features].

    1x1 expansion (if any), depthwise convolution, squeeze-and-excitation, 1x1 projection. Fused: a
    plain convolution that expands, and the projection; without expansion the convolution alone.

    Attributes:
      stage: The stage of the block.
      strides: Stride of the depthwise (or fused) convolution.
      drop_path: Drop path rate of the residual branch.
      squeeze: Whether the block has squeeze-and-excitation.
      act: Activation function.
      conv: Constructor of a convolution, such as a partial `square_conv`.
      norm: Constructor of a BatchNorm.
    """

    stage: Stage
    strides: int
    drop_path: float
    squeeze: bool
    act: Callable[[jax.Array], jax.Array]
    conv: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        def layer(name: str, y: jax.Array, *sizes: int) -> jax.Array:
            y = self.conv(*sizes, name=f"{name}_conv")(y)
            return self.norm(name=f"{name}_norm")(y)

        stage, act = self.stage, self.act
        hidden = stage.expand * x.shape[-1]
        if stage.fused:
            features = hidden if stage.expand > 1 else stage.features
            y = act(layer("fused", x, features, stage.kernel, self.strides))
        else:
            y = act(layer("expand", x, hidden)) if stage.expand > 1 else x
            y = act(layer("depthwise", y, hidden, stage.kernel, self.strides, hidden))
            if self.squeeze:
                y = SqueezeExcite(x.shape[-1] // 4, act=act, dtype=y.dtype, name="se")(y)
        if stage.expand > 1 or not stage.fused:
            y = layer("project", y, stage.features)
        if x.shape != y.shape:
            return y
        return x + DropPath(self.drop_path)(y, train=train)


class EfficientNet(nn.Module):
    """EfficientNet, images [B, H, W, C] of any size from 32 up -> logits [B, num_classes].

    Attributes:
      stages: The stages, rows of the paper's table.
      stem_features: Number of features of the first convolution.
      head_features: Number of features of the last convolution.
      lite: Whether to use ReLU6 in place of SiLU and no squeeze-and-excitation.
      same_padding: Whether to pad as TensorFlow does, with the odd pixel at the end.
      epsilon: Epsilon of BatchNorm.
      momentum: Momentum of BatchNorm's running statistics.
      num_classes: Number of classes; 0 removes the head and returns the pooled features [B, C].
      dropout: Dropout rate before the head.
      drop_path: Stochastic depth rate; block i of n, counted from 0, has `drop_path * i / n`.
      scan: Whether to compile the blocks after a stage's first once, as a scan over stacked
        parameters; see zoo.layers.blocks.
      remat: Whether to rematerialize activations of these blocks in the backward pass.
      dtype: Dtype of the computation; parameters, normalisation statistics and logits stay float32.
    """

    stages: Sequence[Stage]
    stem_features: int
    head_features: int
    lite: bool = False
    same_padding: bool = False
    epsilon: float = 1e-5
    momentum: float = 0.9
    num_classes: int = 1000
    dropout: float = 0.2
    drop_path: float = 0.2
    scan: bool = False
    remat: bool = False
    dtype: Any = jnp.float32

    @takes_images()
    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        act = nn.relu6 if self.lite else nn.silu
        padding = "SAME" if self.same_padding else None
        conv = partial(square_conv, padding=padding, dtype=self.dtype)
        norm = partial(
            nn.BatchNorm,
            use_running_average=not train,
            epsilon=self.epsilon,
            momentum=self.momentum,
            dtype=self.dtype,
        )
        block = partial(Block, squeeze=not self.lite, act=act, conv=conv, norm=norm)

        # Stem
        x = conv(self.stem_features, 3, 2, name="stem_conv")(images)  # [B, H/2, W/2, stem_features]
        x = act(norm(name="stem_norm")(x))
        self.sow("intermediates", "stem", x)

        # Stages
        run = partial(run_stage, train=train, scan=self.scan, remat=self.remat)
        depths = [stage.depth for stage in self.stages]
        rates = rule_drop_path_rates("efficientnet", self.drop_path, depths)
        for i, (stage, stage_rates) in enumerate(zip(self.stages, rates, strict=True), 1):
            first, others = partial(block, stage, stage.strides), partial(block, stage, 1)
            x = run([others], x, stage_rates, first=first, prefix=f"stage{i}_")
            self.sow("intermediates", f"stage{i}", x)  # last: [B, H/32, W/32, features]

        # Head
        x = conv(self.head_features, 1, name="head_conv")(x)
        x = act(norm(name="head_norm")(x))
        x = pool_head_map(self, x)  # [B, head_features]
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return classify(self, x, self.num_classes, self.dtype, kernel_init=dense_init)


def efficientnet(width: float, depth: float, rate: float, **kwargs) -> EfficientNet:
    """EfficientNet-B0 with scaled width and depth.

    Args:
      width: Factor of the features, which are rounded to multiples of 8.
      depth: Factor of the number of blocks in each stage, which is rounded up.
      rate: Dropout rate before the head.
      **kwargs: Further attributes of `EfficientNet`.
    """
    stages = tuple(
        stage._replace(features=scaled(stage.features, width), depth=math.ceil(depth * stage.depth))
        for stage in B0
    )
    settings: dict[str, Any] = {"dropout": rate} | kwargs
    return EfficientNet(stages, scaled(32, width), scaled(1280, width), **settings)


TENSORFLOW_NORM = {"epsilon": 1e-3, "momentum": 0.99}

family = Family(
    "efficientnet",
    dict(
        paper="EfficientNet: Rethinking Model Scaling for CNNs, arXiv:1905.11946",
        year=2019,
        interpolation="bicubic",
        crop=1.0,
        accuracy_source="torchvision, weights IMAGENET1K_V1",
    ),
)


@family.variant(reference="torchvision efficientnet_b0", top1=77.692, top5=93.532, crop=0.875)
def efficientnet_b0(**kwargs) -> EfficientNet:
    """5,288,548 parameters, 0.39 G multiply-adds, 77.7 % top-1."""
    return efficientnet(1.0, 1.0, 0.2, **kwargs)


@family.variant(
    reference="torchvision efficientnet_b1", top1=78.642, top5=94.186, image_size=240, crop=0.9375
)
def efficientnet_b1(**kwargs) -> EfficientNet:
    """7,794,184 parameters, 0.69 G multiply-adds, 78.6 % top-1."""
    return efficientnet(1.0, 1.1, 0.2, **kwargs)


@family.variant(reference="torchvision efficientnet_b2", top1=80.608, top5=95.310, image_size=288)
def efficientnet_b2(**kwargs) -> EfficientNet:
    """9,109,994 parameters, 1.09 G multiply-adds, 80.6 % top-1."""
    return efficientnet(1.1, 1.2, 0.3, **kwargs)


@family.variant(
    reference="torchvision efficientnet_b3", top1=82.008, top5=96.054, image_size=300, crop=0.9375
)
def efficientnet_b3(**kwargs) -> EfficientNet:
    """12,233,232 parameters, 1.83 G multiply-adds, 82.0 % top-1."""
    return efficientnet(1.2, 1.4, 0.3, **kwargs)


@family.variant(
    reference="torchvision efficientnet_b4",
    top1=83.384,
    top5=96.594,
    image_size=380,
    crop=380 / 384,
)
def efficientnet_b4(**kwargs) -> EfficientNet:
    """19,341,616 parameters, 4.39 G multiply-adds, 83.4 % top-1."""
    return efficientnet(1.4, 1.8, 0.4, **kwargs)


@family.variant(reference="torchvision efficientnet_b5", top1=83.444, top5=96.628, image_size=456)
def efficientnet_b5(**kwargs) -> EfficientNet:
    """30,389,784 parameters, 10.27 G multiply-adds, 83.4 % top-1."""
    return efficientnet(1.6, 2.2, 0.4, **TENSORFLOW_NORM | kwargs)


@family.variant(reference="torchvision efficientnet_b6", top1=84.008, top5=96.916, image_size=528)
def efficientnet_b6(**kwargs) -> EfficientNet:
    """43,040,704 parameters, 19.07 G multiply-adds, 84.0 % top-1."""
    return efficientnet(1.8, 2.6, 0.5, **TENSORFLOW_NORM | kwargs)


@family.variant(reference="torchvision efficientnet_b7", top1=84.122, top5=96.908, image_size=600)
def efficientnet_b7(**kwargs) -> EfficientNet:
    """66,347,960 parameters, 37.75 G multiply-adds, 84.1 % top-1."""
    return efficientnet(2.0, 3.1, 0.5, **TENSORFLOW_NORM | kwargs)


def layers(stage: Stage) -> list[str]:
    """Names of the layers of a block of this stage, in order."""
    if stage.fused:
        return ["fused", "project"] if stage.expand > 1 else ["fused"]
    whole = ["expand", "depthwise", "se", "project"]
    return whole if stage.expand > 1 else whole[1:]


def torchvision_names(model: EfficientNet) -> list[tuple[str, str]]:
    """Checkpoint keys of torchvision.

    Stem, stages and head are numbered in `features`, and a block's layers from 0.
    """
    names = [("^stem", "features/0"), ("^head_", f"features/{len(model.stages) + 1}_")]
    for i, stage in enumerate(model.stages, 1):
        for at, layer in enumerate(layers(stage)):
            names.append((rf"^stage{i}_block(\d+)/{layer}", rf"features/{i}/\1-1/block/{at}"))
    kinds = (("_conv$", "/0"), ("_norm$", "/1"), ("/reduce$", "/fc1"), ("/expand$", "/fc2"))
    return [*names, *kinds, ("^head$", "classifier/1")]


def timm_names(model: EfficientNet) -> list[tuple[str, str]]:
    """Checkpoint keys of timm: convolutions have names, BatchNorms numbers from 1 in each block."""
    names = [("^(stem|head)_conv$", r"conv_\1"), ("^stem_norm$", "bn1"), ("^head_norm$", "bn2")]
    for i, stage in enumerate(model.stages, 1):
        convs = dict(expand="conv_pw", depthwise="conv_dw", fused="conv_exp", project="conv_pwl")
        if stage.expand == 1:
            convs |= dict(fused="conv", project="conv_pw")
        for at, layer in enumerate((name for name in layers(stage) if name != "se"), 1):
            names.append((rf"^(stage{i}_block\d+)/{layer}_conv$", rf"\1/{convs[layer]}"))
            names.append((rf"^(stage{i}_block\d+)/{layer}_norm$", rf"\1/bn{at}"))
    names.append((r"^stage(\d)_block(\d+)", r"blocks/\1-1/\2-1"))
    return [*names, ("/se/(reduce|expand)$", r"/se/conv_\1"), ("^head$", "classifier")]


def efficientnet_pytorch_names(model: EfficientNet) -> list[tuple[str, str]]:
    """Checkpoint keys of efficientnet_pytorch, whose blocks are numbered through all stages."""
    names = [("^(stem|head)_conv$", r"_conv_\1"), ("^stem_norm$", "_bn0"), ("^head_norm$", "_bn1")]
    before = 0
    for i, stage in enumerate(model.stages, 1):
        names.append((rf"^stage{i}_block(\d+)", rf"_blocks/\1{before - 1:+}"))
        before += stage.depth
    names += [("/se/(reduce|expand)$", r"/_se_\1"), ("/([a-z]+)_conv$", r"/_\1_conv")]
    names += [
        ("/expand_norm$", "/_bn0"),
        ("/depthwise_norm$", "/_bn1"),
        ("/project_norm$", "/_bn2"),
    ]
    return [*names, ("^head$", "_fc")]


family.checkpoint_keys("torchvision", torchvision_names)
family.checkpoint_keys("timm", timm_names)
family.checkpoint_keys("efficientnet_pytorch", efficientnet_pytorch_names)
