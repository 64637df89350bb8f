"""Inception v3: 7x7 filters factorized into 1x7 and 7x1.

Rethinking the Inception Architecture for Computer Vision, Szegedy et al. 2015, arXiv:1512.00567,
Table 1. Reference: torchvision `inception_v3`; timm has the same names.

An auxiliary classifier, "aux", takes the output of stage 2.

Differences from the paper: the auxiliary classifier pools adaptively where its windows of 5x5 would
not fit, which is so below 299 pixels. A stage begins with the module that halves the resolution.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from zoo.layers import initializers
from zoo.layers.branches import average, branch, fork, inception_stem, run_modules
from zoo.layers.conv_norm import ConvNorm
from zoo.layers.head import classify, logits_layer, pool_head_map
from zoo.layers.image_input import takes_images
from zoo.layers.pool import adaptive_average_pool, average_pool, global_average_pool, max_pool
from zoo.registry import Family

dense_init = initializers.truncated_normal(0.1)
aux_init = initializers.truncated_normal(0.001)


def module_a(conv: Callable[..., nn.Module], x: jax.Array, pool_proj: int) -> list[jax.Array]:
    """Branches of the module of Figure 5, each [B, H, W, features]."""
    return [
        branch(conv, "branch1", x, (64, 1)),
        branch(conv, "branch2", x, (48, 1), (64, 5)),
        branch(conv, "branch3", x, (64, 1), (96, 3), (96, 3)),
        branch(conv, "branch_pool", average(x), (pool_proj, 1)),
    ]


def reduction_a(conv: Callable[..., nn.Module], x: jax.Array) -> list[jax.Array]:
    """Branches of the reduction of Figure 10, each [B, ~H/2, ~W/2, features]."""
    return [
        branch(conv, "branch1", x, (384, 3, 2, "valid")),
        branch(conv, "branch2", x, (64, 1), (96, 3), (96, 3, 2, "valid")),
        max_pool(x, 3, 2),
    ]


def module_b(conv: Callable[..., nn.Module], x: jax.Array, features: int) -> list[jax.Array]:
    """Branches of the module of Figure 6, each [B, H, W, features]."""
    wide, high, last_wide, last_high = (
        *((features, (1, 7)), (features, (7, 1))),
        *((192, (1, 7)), (192, (7, 1))),
    )
    return [
        branch(conv, "branch1", x, (192, 1)),
        branch(conv, "branch2", x, (features, 1), wide, last_high),
        branch(conv, "branch3", x, (features, 1), high, wide, high, last_wide),
        branch(conv, "branch_pool", average(x), (192, 1)),
    ]


def reduction_b(conv: Callable[..., nn.Module], x: jax.Array) -> list[jax.Array]:
    """Branches of torchvision's `InceptionD`, a reduction, each [B, ~H/2, ~W/2, features]."""
    return [
        branch(conv, "branch1", x, (192, 1), (320, 3, 2, "valid")),
        branch(conv, "branch2", x, (192, 1), (192, (1, 7)), (192, (7, 1)), (192, 3, 2, "valid")),
        max_pool(x, 3, 2),
    ]


def module_c(conv: Callable[..., nn.Module], x: jax.Array) -> list[jax.Array]:
    """Branches of the module of Figure 7, each [B, H, W, features]."""
    return [
        branch(conv, "branch1", x, (320, 1)),
        *fork(conv, "branch2_2", conv(384, 1, name="branch2_1")(x), 384),
        *fork(conv, "branch3_3", branch(conv, "branch3", x, (448, 1), (384, 3)), 384),
        branch(conv, "branch_pool", average(x), (192, 1)),
    ]


STAGES = (
    tuple(partial(module_a, pool_proj=features) for features in (32, 64, 64)),
    (reduction_a, *(partial(module_b, features=features) for features in (128, 160, 160, 192))),
    (reduction_b, module_c, module_c),
)


class AuxiliaryHead(nn.Module):
    """Auxiliary classifier on stage 2, [B, 17, 17, C] -> logits [B, num_classes].

    Attributes:
      num_classes: Number of classes.
      conv: Constructor of a convolution with normalisation and activation.
      dtype: Dtype of the computation.
    """

    num_classes: int
    conv: Callable[..., nn.Module]
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        fits = min(x.shape[1:3]) >= 17
        x = average_pool(x, 5, 3) if fits else adaptive_average_pool(x, 5)  # [B, 5, 5, C]
        x = self.conv(128, 1, name="conv1")(x)
        x = self.conv(768, 5, 1, "valid", name="conv2")(x)  # [B, 1, 1, 768]
        x = global_average_pool(x)
        return logits_layer(self.num_classes, self.dtype, kernel_init=aux_init)(x)


class InceptionV3(nn.Module):
    """Inception v3, images [B, H, W, C] of any size from 75 up -> logits [B, num_classes].

    Attributes:
      auxiliary: Whether to have the auxiliary classifier; many published weights lack it.
      num_classes: Number of classes; 0 removes the head and the auxiliary classifier and returns
        the pooled features [B, C].
      dropout: Dropout rate before the head.
      dtype: Dtype of the computation; parameters, normalisation statistics and logits stay float32.
    """

    auxiliary: bool = True
    num_classes: int = 1000
    dropout: float = 0.5
    dtype: Any = jnp.float32

    @takes_images(at_least=75)
    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        conv = partial(ConvNorm, train=train, dtype=self.dtype)

        # The auxiliary head runs in training, and where its output is collected.
        is_used = train or self.is_initializing() or self.is_mutable_collection("intermediates")
        has_auxiliary = self.auxiliary and self.num_classes and is_used

        # Stem, with sizes for images of 299 pixels
        x = inception_stem(conv, images)  # [B, 147, 147, 64]
        x = max_pool(x, 3, 2)  # [B, 73, 73, 64]
        x = conv(80, 1, name="stem_conv4")(x)
        x = conv(192, 3, 1, "valid", name="stem_conv5")(x)  # [B, 71, 71, 192]
        x = max_pool(x, 3, 2)  # [B, 35, 35, 192]
        self.sow("intermediates", "stem", x)

        # Stages: [B, 35, 35, 288], [B, 17, 17, 768], [B, 8, 8, 2048]
        for i, modules in enumerate(STAGES, 1):
            x = run_modules(modules, conv, x, prefix=f"stage{i}_block")
            self.sow("intermediates", f"stage{i}", x)
            if i == 2 and has_auxiliary:
                aux = AuxiliaryHead(self.num_classes, conv, self.dtype, name="aux_head")(x)
                self.sow("intermediates", "aux", aux)

        # Head
        x = pool_head_map(self, x)  # [B, 2048]
        dropout = nn.Dropout(self.dropout, deterministic=not train)
        return classify(
            self, x, self.num_classes, self.dtype, kernel_init=dense_init, dropout=dropout
        )


family = Family(
    "inception_v3",
    dict(
        paper="Rethinking the Inception Architecture for Computer Vision, arXiv:1512.00567",
        year=2015,
    ),
)


@family.variant(
    reference="torchvision inception_v3",
    image_size=299,
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
    crop=299 / 342,
    top1=77.294,
    top5=93.450,
    accuracy_source="torchvision, weights IMAGENET1K_V1",
)
def inception_v3(**kwargs) -> InceptionV3:
    """27,161,264 parameters, 5.71 G multiply-adds, 77.3 % top-1.

    Without the auxiliary classifier 23,834,568 parameters.
    """
    return InceptionV3(**kwargs)


MODULES = (("5b", "5c", "5d"), ("6a", "6b", "6c", "6d", "6e"), ("7a", "7b", "7c"))
family.checkpoint_keys(
    "torchvision",
    [
        *(
            (f"^stage{i}_block{j}/", f"Mixed_{module}/")
            for i, stage in enumerate(MODULES, 1)
            for j, module in enumerate(stage, 1)
        ),
        (r"^(Mixed_5\w)/branch2_", r"\1/branch5x5_"),
        (r"^(Mixed_6a)/branch1/", r"\1/branch3x3/"),
        (r"^(Mixed_6a)/branch2_", r"\1/branch3x3dbl_"),
        (r"^(Mixed_6\w)/branch2_", r"\1/branch7x7_"),
        (r"^(Mixed_6\w)/branch3_", r"\1/branch7x7dbl_"),
        (r"^(Mixed_7a)/branch1_", r"\1/branch3x3_"),
        (r"^(Mixed_7a)/branch2_", r"\1/branch7x7x3_"),
        (r"^(Mixed_7\w)/branch2_", r"\1/branch3x3_"),
        (r"/branch3_", "/branch3x3dbl_"),
        (r"/branch1/", "/branch1x1/"),
        (r"^stem_conv1/", "Conv2d_1a_3x3/"),
        (r"^stem_conv2/", "Conv2d_2a_3x3/"),
        (r"^stem_conv3/", "Conv2d_2b_3x3/"),
        (r"^stem_conv4/", "Conv2d_3b_1x1/"),
        (r"^stem_conv5/", "Conv2d_4a_3x3/"),
        (r"^aux_head/head$", "AuxLogits/fc"),
        (r"^aux_head/conv(\d)/", r"AuxLogits/conv\1-1/"),
        (r"/norm$", "/bn"),
        (r"^head$", "fc"),
    ],
)
