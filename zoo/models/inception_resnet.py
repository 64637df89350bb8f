"""Inception-ResNet: inception modules as residual branches, scaled down before the sum.

Inception-v4, Inception-ResNet and the Impact of Residual Connections on Learning, Szegedy et al.
2016, arXiv:1602.07261, Figure 15. References: facenet-pytorch `InceptionResnetV1`, with the paper's
head in place of its 512-dimensional bottleneck, and timm `inception_resnet_v2`.

Differences from the paper: the 1x1 convolution that ends a residual branch has no BatchNorm; stage
3 ends with one more module, neither scaled nor followed by ReLU; v2 has the authors' released
form, whose stem is Inception v3's with one module more, and whose stages are twice as deep as the
paper's: 10, 20 and 10. A stage begins with the module that halves the resolution.

`se_inception_resnet_v2` is v2 with squeeze-and-excitation of each residual branch: Hu et al. 2017,
arXiv:1709.01507, Table 2. Its authors' network is not public.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from zoo.layers.branches import Branches, average, branch, inception_stem
from zoo.layers.conv import Conv
from zoo.layers.conv_norm import ConvNorm, conv_init
from zoo.layers.head import classify, pool_head_map
from zoo.layers.image_input import takes_images
from zoo.layers.joins import residual_sum
from zoo.layers.pool import max_pool
from zoo.layers.squeeze_excite import SqueezeExcite
from zoo.registry import Family


def opening(conv: Callable[..., nn.Module], x: jax.Array) -> list[jax.Array]:
    """Branches of the first module of stage 1, in v2 only, each [B, H, W, features]."""
    return [
        branch(conv, "branch1", x, (96, 1)),
        branch(conv, "branch2", x, (48, 1), (64, 5)),
        branch(conv, "branch3", x, (64, 1), (96, 3), (96, 3)),
        branch(conv, "branch_pool", average(x, count_padding=False), (64, 1)),
    ]


def module_a(
    conv: Callable[..., nn.Module], x: jax.Array, widths: Sequence[int]
) -> list[jax.Array]:
    """Branches of the residual module of Figures 10 and 16, each [B, H, W, features]."""
    middle, last = widths
    return [
        branch(conv, "branch1", x, (32, 1)),
        branch(conv, "branch2", x, (32, 1), (32, 3)),
        branch(conv, "branch3", x, (32, 1), (middle, 3), (last, 3)),
    ]


def reduction_a(
    conv: Callable[..., nn.Module], x: jax.Array, widths: Sequence[int]
) -> list[jax.Array]:
    """Branches of the reduction of Figure 7, each [B, ~H/2, ~W/2, features]."""
    reduce, middle, last = widths
    return [
        branch(conv, "branch1", x, (384, 3, 2, "valid")),
        branch(conv, "branch2", x, (reduce, 1), (middle, 3), (last, 3, 2, "valid")),
        max_pool(x, 3, 2),
    ]


def module_b(
    conv: Callable[..., nn.Module], x: jax.Array, widths: Sequence[int]
) -> list[jax.Array]:
    """Branches of the residual module of Figures 11 and 17, each [B, H, W, features]."""
    middle, last = widths
    return [
        branch(conv, "branch1", x, (last, 1)),
        branch(conv, "branch2", x, (128, 1), (middle, (1, 7)), (last, (7, 1))),
    ]


def reduction_b(
    conv: Callable[..., nn.Module], x: jax.Array, widths: Sequence[int]
) -> list[jax.Array]:
    """Branches of the reduction of Figures 12 and 18, each [B, ~H/2, ~W/2, features]."""
    middle, last = widths
    return [
        branch(conv, "branch1", x, (256, 1), (384, 3, 2, "valid")),
        branch(conv, "branch2", x, (256, 1), (middle, 3, 2, "valid")),
        branch(conv, "branch3", x, (256, 1), (middle, 3), (last, 3, 2, "valid")),
        max_pool(x, 3, 2),
    ]


def module_c(
    conv: Callable[..., nn.Module], x: jax.Array, widths: Sequence[int]
) -> list[jax.Array]:
    """Branches of the residual module of Figures 13 and 19, each [B, H, W, features]."""
    middle, last = widths
    return [
        branch(conv, "branch1", x, (192, 1)),
        branch(conv, "branch2", x, (192, 1), (middle, (1, 3)), (last, (3, 1))),
    ]


# For each stage its first module or None, its residual module, their number and scale.
V1_STAGES = (
    (None, partial(module_a, widths=(32, 32)), 5, 0.17),
    (partial(reduction_a, widths=(192, 192, 256)), partial(module_b, widths=(128, 128)), 10, 0.10),
    (partial(reduction_b, widths=(256, 256)), partial(module_c, widths=(192, 192)), 5, 0.20),
)
V2_STAGES = (
    (opening, partial(module_a, widths=(48, 64)), 10, 0.17),
    (partial(reduction_a, widths=(256, 256, 384)), partial(module_b, widths=(160, 192)), 20, 0.10),
    (partial(reduction_b, widths=(288, 320)), partial(module_c, widths=(224, 256)), 9, 0.20),
)


class Residual(nn.Module):
    """relu(x + scale * 1x1 convolution of the branches), [B, H, W, C] -> [B, H, W, C].

    Attributes:
      branches: Function of `conv` and the input that returns the outputs of the branches.
      scale: Factor of the residual branch.
      relu: Whether a ReLU follows the sum.
      conv: Constructor of a convolution with normalisation and activation.
      squeeze_excite: Whether the residual branch ends with squeeze-and-excitation.
      dtype: Dtype of the computation.
    """

    branches: Callable[[Callable[..., nn.Module], jax.Array], list[jax.Array]]
    scale: float
    relu: bool
    conv: Callable[..., nn.Module]
    squeeze_excite: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        y = jnp.concatenate(self.branches(self.conv, x), axis=-1)
        expand = Conv(x.shape[-1], (1, 1), kernel_init=conv_init, dtype=self.dtype, name="expand")
        y = expand(y)
        if self.squeeze_excite:
            y = SqueezeExcite(x.shape[-1] // 16, dtype=self.dtype, name="se")(y)
        return residual_sum(x, self.scale * y, relu=self.relu)


class InceptionResNet(nn.Module):
    """Inception-ResNet, images [B, H, W, C] of any size from 75 up -> logits [B, num_classes].

    Attributes:
      stages: For each stage its first module or None, its residual module, their number and scale.
      stem_width: Number of features of a convolution that ends the stem; 0 for a pooling instead.
      final_width: Number of features of a 1x1 convolution after the last stage; 0 for none.
      squeeze_excite: Whether each residual branch ends with squeeze-and-excitation.
      num_classes: Number of classes; 0 removes the head and returns the pooled features [B, C].
      dropout: Dropout rate before the head.
      dtype: Dtype of the computation; parameters, normalisation statistics and logits stay float32.
    """

    stages: Sequence[tuple]
    stem_width: int = 0
    final_width: int = 0
    squeeze_excite: bool = False
    num_classes: int = 1000
    dropout: float = 0.2
    dtype: Any = jnp.float32

    @takes_images(at_least=75)
    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        conv = partial(ConvNorm, train=train, dtype=self.dtype)
        residual = partial(
            Residual, conv=conv, squeeze_excite=self.squeeze_excite, dtype=self.dtype
        )

        # Stem, with sizes for images of 299 pixels
        x = inception_stem(conv, images)  # [B, 147, 147, 64]
        x = max_pool(x, 3, 2)  # [B, 73, 73, 64]
        x = conv(80, 1, name="stem_conv4")(x)
        x = conv(192, 3, 1, "valid", name="stem_conv5")(x)  # [B, 71, 71, 192]
        if self.stem_width:
            x = conv(self.stem_width, 3, 2, "valid", name="stem_conv6")(x)  # [B, 35, 35, 256]
        else:
            x = max_pool(x, 3, 2)  # [B, 35, 35, 192]
        self.sow("intermediates", "stem", x)

        # Stages: 35x35, 17x17, 8x8
        for i, (opening, module, depth, scale) in enumerate(self.stages, 1):
            first = 1
            if opening:
                x = Branches(opening, conv, name=f"stage{i}_block1")(x)
                first = 2
            for j in range(first, first + depth):
                x = residual(module, scale, True, name=f"stage{i}_block{j}")(x)
            if i == len(self.stages):
                x = residual(module, 1.0, False, name=f"stage{i}_block{first + depth}")(x)
            self.sow("intermediates", f"stage{i}", x)

        # Head
        if self.final_width:
            x = conv(self.final_width, 1, name="final_conv")(x)
        x = pool_head_map(self, x)  # [B, 1792] or [B, 1536]
        dropout = nn.Dropout(self.dropout, deterministic=not train)
        return classify(self, x, self.num_classes, self.dtype, dropout=dropout)


family = Family(
    "inception_resnet",
    dict(
        paper="Inception-v4, Inception-ResNet and the Impact of Residual Connections on Learning, "
        "arXiv:1602.07261",
        year=2016,
        image_size=299,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
    ),
)


@family.variant(
    reference="facenet-pytorch InceptionResnetV1, with the paper's head",
    top1=78.7,
    top5=94.5,
    accuracy_source="paper, Table 2: 21.3 / 5.5 % error, single crop",
)
def inception_resnet_v1(**kwargs) -> InceptionResNet:
    """24,357,096 parameters, 6.31 G multiply-adds, 78.7 % top-1."""
    return InceptionResNet(V1_STAGES, stem_width=256, **kwargs)


@family.variant(
    reference="timm inception_resnet_v2",
    interpolation="bicubic",
    crop=0.8975,
    top1=80.434,
    top5=95.312,
    accuracy_source="timm, weights tf_in1k",
)
def inception_resnet_v2(**kwargs) -> InceptionResNet:
    """55,843,464 parameters, 13.16 G multiply-adds, 80.4 % top-1."""
    return InceptionResNet(V2_STAGES, final_width=1536, **kwargs)


@family.variant(
    paper="Squeeze-and-Excitation Networks, arXiv:1709.01507",
    year=2017,
    top1=80.20,
    top5=95.21,
    accuracy_source="paper, Table 2: 19.80 / 4.79 % error, single crop of 299 from 352",
)
def se_inception_resnet_v2(**kwargs) -> InceptionResNet:
    """64,387,444 parameters, 13.16 G multiply-adds, 80.2 % top-1."""
    return InceptionResNet(V2_STAGES, final_width=1536, squeeze_excite=True, **kwargs)


V1_NAMES = (
    (r"^stage1_block(\d)/", r"repeat_1/\1-1/"),
    (r"^stage2_block1/", "mixed_6a/"),
    (r"^stage2_block(\d+)/", r"repeat_2/\1-2/"),
    (r"^stage3_block1/", "mixed_7a/"),
    (r"^stage3_block7/", "block8/"),
    (r"^stage3_block(\d)/", r"repeat_3/\1-2/"),
    (r"^head$", "logits"),
)
V2_NAMES = (
    (r"^stage1_block1/", "mixed_5b/"),
    (r"^stage1_block(\d+)/", r"repeat/\1-2/"),
    (r"^stage2_block1/", "mixed_6a/"),
    (r"^stage2_block(\d+)/", r"repeat_1/\1-2/"),
    (r"^stage3_block1/", "mixed_7a/"),
    (r"^stage3_block11/", "block8/"),
    (r"^stage3_block(\d+)/", r"repeat_2/\1-2/"),
    (r"^final_conv/", "conv2d_7b/"),
    (r"^head$", "classif"),
)


def reference_names(model: InceptionResNet) -> list[tuple[str, str]]:
    """Checkpoint keys of facenet-pytorch for v1, of timm for v2."""
    stem = enumerate(("1a", "2a", "2b", "3b", "4a", "4b"), 1)
    return [
        *((f"^stem_conv{i}/", f"conv2d_{theirs}/") for i, theirs in stem),
        *(V2_NAMES if model.final_width else V1_NAMES),
        (r"/branch(\d)/(conv|norm)$", r"/branch\1-1/\2"),
        (r"/branch(\d)_(\d)/", r"/branch\1-1/\2-1/"),
        (r"/branch_pool/", "/branch3/1/"),
        (r"/expand$", "/conv2d"),
        (r"/norm$", "/bn"),
    ]


family.checkpoint_keys("reference", reference_names)
