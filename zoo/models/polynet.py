"""PolyNet: residual modules with several inception branches, in parallel and in a row.

PolyNet: A Pursuit of Structural Diversity in Very Deep Networks, Zhang et al. 2016,
arXiv:1611.05725, section 5 ("Very Deep PolyNet", 10-20-10 mixed). Reference: pretrainedmodels
`polynet`, the authors' network.

A residual module adds F(x) to x. "2-way" adds F(x) + G(x), with weights of their own. "poly-3" adds
F(x) + F(F(x)) + F(F(F(x))), where the passes share the convolutions of their branches, but neither
BatchNorm nor the 1x1 convolution that ends a pass. Differences from the paper: none known; the
modules of a stage are scaled by less and less, 1 to 0.7 over the network, as in the reference.
A stage but the first opens with the module that halves the image.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from zoo.layers.branches import Branches, branch, inception_stem, run_modules
from zoo.layers.conv import Conv, same_symmetric, window
from zoo.layers.conv_norm import ConvNorm, conv_init
from zoo.layers.head import classify, pool_head_map
from zoo.layers.image_input import takes_images
from zoo.layers.joins import residual_sum
from zoo.layers.pool import max_pool
from zoo.registry import Family

# Branches of F in each stage: (features, kernel_size) of successive convolutions.
A = (((32, 1), (48, 3), (64, 3)), ((32, 1), (32, 3)), ((32, 1),))
B = (((128, 1), (160, (1, 7)), (192, (7, 1))), ((192, 1),))
C = (((192, 1), (224, (1, 3)), (256, (3, 1))), ((192, 1),))

# Factor of each of the 10, 20 and 10 residual modules, rounded as in the reference.
SCALES = [round(1 - 0.3 * i / 39, 6) for i in range(40)]


def stem_1(conv: Callable[..., nn.Module], x: jax.Array) -> list[jax.Array]:
    """Branches [B, H/2, W/2, C] and [B, H/2, W/2, 96]."""
    return [max_pool(x, 3, 2), conv(96, 3, 2, "valid", name="conv")(x)]


def stem_2(conv: Callable[..., nn.Module], x: jax.Array) -> list[jax.Array]:
    """Two branches [B, H - 2, W - 2, 96]."""
    return [
        branch(conv, "branch1", x, (64, 1), (96, 3, 1, "valid")),
        branch(conv, "branch2", x, (64, 1), (64, (7, 1)), (64, (1, 7)), (96, 3, 1, "valid")),
    ]


def stem_3(conv: Callable[..., nn.Module], x: jax.Array) -> list[jax.Array]:
    """Branches [B, H/2, W/2, C] and [B, H/2, W/2, 192]."""
    return [max_pool(x, 3, 2), conv(192, 3, 2, "valid", name="conv")(x)]


def reduction_a(conv: Callable[..., nn.Module], x: jax.Array) -> list[jax.Array]:
    """Two branches [B, H/2, W/2, 384], and pooling [B, H/2, W/2, C]."""
    return [
        branch(conv, "branch1", x, (256, 1), (256, 3), (384, 3, 2, "valid")),
        branch(conv, "branch2", x, (384, 3, 2, "valid")),
        max_pool(x, 3, 2),
    ]


def reduction_b(conv: Callable[..., nn.Module], x: jax.Array) -> list[jax.Array]:
    """Branches of 256, 256 and 384 features at [H/2, W/2], and pooling [B, H/2, W/2, C]."""
    return [
        branch(conv, "branch1", x, (256, 1), (256, 3), (256, 3, 2, "valid")),
        branch(conv, "branch2", x, (256, 1), (256, 3, 2, "valid")),
        branch(conv, "branch3", x, (256, 1), (384, 3, 2, "valid")),
        max_pool(x, 3, 2),
    ]


class Inception(nn.Module):
    """F: branches, then a 1x1 convolution without ReLU. [B, H, W, C] -> [B, H, W, C]."""

    branches: Sequence[tuple]
    conv: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        y = [branch(self.conv, f"branch{i}", x, *row) for i, row in enumerate(self.branches, 1)]
        y = jnp.concatenate(y, axis=-1)
        return self.conv(x.shape[-1], 1, relu=False, name="expand")(y)


class TwoWay(nn.Module):
    """relu(x + scale * (F(x) + G(x))). [B, H, W, C] -> [B, H, W, C]."""

    branches: Sequence[tuple]
    scale: float
    conv: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        ways = [Inception(self.branches, self.conv, name=f"way{i}")(x) for i in (1, 2)]
        return residual_sum(x, *(self.scale * way for way in ways))


class SharedConv(nn.Module):
    """Convolution shared by all passes, BatchNorm of pass `i`, ReLU. [B, H, W, C] -> [B, H, W, C'].

    Its attributes are those of `ConvNorm`.
    """

    features: int
    kernel_size: int | tuple[int, int]
    train: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, i: int) -> jax.Array:
        conv = partial(
            Conv, padding=same_symmetric(self.kernel_size), use_bias=False, kernel_init=conv_init
        )
        x = conv(self.features, window(self.kernel_size), dtype=self.dtype, name="conv")(x)
        norm = partial(nn.BatchNorm, momentum=0.9, dtype=self.dtype)
        return nn.relu(norm(not self.train, name=f"norm{i}")(x))


class Poly3(nn.Module):
    """relu(x + scale * (F(x) + F(F(x)) + F(F(F(x))))). [B, H, W, C] -> [B, H, W, C].

    A ReLU stands between the passes, too. The branches of F consist of `shared` convolutions.
    """

    branches: Sequence[tuple]
    scale: float
    conv: Callable[..., nn.Module]
    shared: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        rows = [
            [self.shared(*layer, name=f"branch{i}_{j}") for j, layer in enumerate(row, 1)]
            for i, row in enumerate(self.branches, 1)
        ]
        passes, y = [], x
        for i in (1, 2, 3):
            outputs = []
            for row in rows:
                output = y
                for layer in row:
                    output = layer(output, i)
                outputs.append(output)
            y = jnp.concatenate(outputs, axis=-1)
            y = self.conv(x.shape[-1], 1, relu=False, name=f"expand{i}")(y)
            passes.append(self.scale * y)
            y = nn.relu(y)
        return residual_sum(x, *passes)


class PolyNet(nn.Module):
    """Images [B, H, W, C] of any size from 75 up -> logits [B, num_classes].

    Attributes:
      num_classes: Number of classes; 0 removes the head and returns the pooled features [B, C].
      dropout: Dropout rate before the classifier.
      dtype: Dtype of the computation; parameters, normalisation statistics and logits stay float32.
    """

    num_classes: int = 1000
    dropout: float = 0.2
    dtype: Any = jnp.float32

    @takes_images(at_least=75)
    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        conv = partial(ConvNorm, train=train, dtype=self.dtype, epsilon=1e-5)
        poly = partial(Poly3, shared=partial(SharedConv, train=train, dtype=self.dtype))

        # Stem, with sizes for images of 331 pixels
        x = inception_stem(conv, images)  # [B, 163, 163, 64]
        # Sides of 81, 79 and 39
        x = run_modules((stem_1, stem_2, stem_3), conv, x, prefix="stem_block")
        self.sow("intermediates", "stem", x)  # [B, 39, 39, 384]

        # Stages: [B, 39, 39, 384], [B, 19, 19, 1152], [B, 9, 9, 2048]
        for j, scale in enumerate(SCALES[:10], 1):
            x = TwoWay(A, scale, conv, name=f"stage1_block{j}")(x)
        self.sow("intermediates", "stage1", x)
        x = Branches(reduction_a, conv, name="stage2_block1")(x)
        for j, scale in enumerate(SCALES[10:30], 2):
            x = (TwoWay if j % 2 else poly)(B, scale, conv, name=f"stage2_block{j}")(x)
        self.sow("intermediates", "stage2", x)
        x = Branches(reduction_b, conv, name="stage3_block1")(x)
        for j, scale in enumerate(SCALES[30:], 2):
            x = (TwoWay if j % 2 else poly)(C, scale, conv, name=f"stage3_block{j}")(x)
        self.sow("intermediates", "stage3", x)

        # Head
        x = pool_head_map(self, x)  # [B, 2048]
        dropout = nn.Dropout(self.dropout, deterministic=not train)
        return classify(self, x, self.num_classes, self.dtype, dropout=dropout)


family = Family(
    "polynet",
    dict(
        paper="PolyNet: A Pursuit of Structural Diversity in Very Deep Networks, arXiv:1611.05725",
        year=2016,
        image_size=331,
    ),
)


@family.variant(reference="pretrainedmodels polynet")
def polynet(**kwargs) -> PolyNet:
    """95,366,600 parameters, 34.70 G multiply-adds."""
    return PolyNet(**kwargs)


family.checkpoint_keys(
    "pretrainedmodels",
    (
        (r"^stem_conv(\d)/", r"stem/conv1/\1-1/"),
        (r"^stem_block1/conv/", "stem/conv1_branch/"),
        (r"^stem_block2/branch1_(\d)/", r"stem/conv2_short/\1-1/"),
        (r"^stem_block2/branch2_(\d)/", r"stem/conv2_long/\1-1/"),
        (r"^stem_block3/conv/", "stem/conv2_branch/"),
        (r"^stage2_block1/", "reduction_a/"),
        (r"^stage3_block1/", "reduction_b/"),
        # The shared convolutions of poly-3
        (r"^(stage\d_block\d+)/branch1_1/", r"\1/path0_1x1/"),
        (r"^(stage2_block\d+)/branch1_2/", r"\1/path0_1x7/"),
        (r"^(stage2_block\d+)/branch1_3/", r"\1/path0_7x1/"),
        (r"^(stage3_block\d+)/branch1_2/", r"\1/path0_1x3/"),
        (r"^(stage3_block\d+)/branch1_3/", r"\1/path0_3x1/"),
        (r"^(stage\d_block\d+)/branch2_1/", r"\1/path1/"),
        (r"/expand(\d)/", r"/conv2d_blocks/\1-1/"),
        (r"/norm(\d)$", r"/bn_blocks/\1-1"),
        # All others
        (r"^stage1_block(\d+)/", r"stage_a/\1-1/"),
        (r"^stage2_block(\d+)/", r"stage_b/\1-2/"),
        (r"^stage3_block(\d+)/", r"stage_c/\1-2/"),
        (r"/way(\d)/", r"/blocks/\1-1/"),
        (r"/branch(\d)/(conv|norm)$", r"/path\1-1/\2"),
        (r"/branch(\d)_(\d)/", r"/path\1-1/\2-1/"),
        (r"/expand/", "/conv2d/"),
        (r"/norm$", "/bn"),
        (r"^head$", "last_linear"),
    ),
)
