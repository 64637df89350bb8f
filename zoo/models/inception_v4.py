"""Inception v4: Inception v3 made uniform.

Inception-v4, Inception-ResNet and the Impact of Residual Connections on Learning, Szegedy et al.
2016, arXiv:1602.07261, Figure 9. Reference: timm `inception_v4`.

Differences from the paper: none known. A stage begins with the module that halves the resolution.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from zoo.layers.branches import average, branch, fork, inception_stem, run_modules
from zoo.layers.conv_norm import ConvNorm
from zoo.layers.head import classify, pool_head_map
from zoo.layers.image_input import takes_images
from zoo.layers.pool import max_pool
from zoo.registry import Family


def stem_1(conv: Callable[..., nn.Module], x: jax.Array) -> list[jax.Array]:
    """The first fork of the stem (Figure 3), [B, ~H/2, ~W/2, C] and [B, ~H/2, ~W/2, 96]."""
    return [max_pool(x, 3, 2), conv(96, 3, 2, "valid", name="conv")(x)]


def stem_2(conv: Callable[..., nn.Module], x: jax.Array) -> list[jax.Array]:
    """The second fork of the stem (Figure 3), both branches [B, H - 2, W - 2, 96]."""
    return [
        branch(conv, "branch1", x, (64, 1), (96, 3, 1, "valid")),
        branch(conv, "branch2", x, (64, 1), (64, (1, 7)), (64, (7, 1)), (96, 3, 1, "valid")),
    ]


def stem_3(conv: Callable[..., nn.Module], x: jax.Array) -> list[jax.Array]:
    """The third fork of the stem (Figure 3), [B, ~H/2, ~W/2, 192] and [B, ~H/2, ~W/2, C]."""
    return [conv(192, 3, 2, "valid", name="conv")(x), max_pool(x, 3, 2)]


def module_a(conv: Callable[..., nn.Module], x: jax.Array) -> list[jax.Array]:
    """Branches of the module of Figure 4, each [B, H, W, features]."""
    return [
        branch(conv, "branch1", x, (96, 1)),
        branch(conv, "branch2", x, (64, 1), (96, 3)),
        branch(conv, "branch3", x, (64, 1), (96, 3), (96, 3)),
        branch(conv, "branch_pool", average(x, count_padding=False), (96, 1)),
    ]


def reduction_a(conv: Callable[..., nn.Module], x: jax.Array) -> list[jax.Array]:
    """Branches of the reduction of Figure 7, each [B, ~H/2, ~W/2, features]."""
    return [
        branch(conv, "branch1", x, (384, 3, 2, "valid")),
        branch(conv, "branch2", x, (192, 1), (224, 3), (256, 3, 2, "valid")),
        max_pool(x, 3, 2),
    ]


def module_b(conv: Callable[..., nn.Module], x: jax.Array) -> list[jax.Array]:
    """Branches of the module of Figure 5, each [B, H, W, features]."""
    third = ((192, 1), (192, (7, 1)), (224, (1, 7)), (224, (7, 1)), (256, (1, 7)))
    return [
        branch(conv, "branch1", x, (384, 1)),
        branch(conv, "branch2", x, (192, 1), (224, (1, 7)), (256, (7, 1))),
        branch(conv, "branch3", x, *third),
        branch(conv, "branch_pool", average(x, count_padding=False), (128, 1)),
    ]


def reduction_b(conv: Callable[..., nn.Module], x: jax.Array) -> list[jax.Array]:
    """Branches of the reduction of Figure 8, each [B, ~H/2, ~W/2, features]."""
    return [
        branch(conv, "branch1", x, (192, 1), (192, 3, 2, "valid")),
        branch(conv, "branch2", x, (256, 1), (256, (1, 7)), (320, (7, 1)), (320, 3, 2, "valid")),
        max_pool(x, 3, 2),
    ]


def module_c(conv: Callable[..., nn.Module], x: jax.Array) -> list[jax.Array]:
    """Branches of the module of Figure 6, each [B, H, W, features]."""
    third = branch(conv, "branch3", x, (384, 1), (448, (3, 1)), (512, (1, 3)))
    return [
        branch(conv, "branch1", x, (256, 1)),
        *fork(conv, "branch2_2", conv(384, 1, name="branch2_1")(x), 256),
        *fork(conv, "branch3_4", third, 256),
        branch(conv, "branch_pool", average(x, count_padding=False), (256, 1)),
    ]


STEM = (stem_1, stem_2, stem_3)
STAGES = (4 * (module_a,), (reduction_a, *7 * (module_b,)), (reduction_b, *3 * (module_c,)))


class InceptionV4(nn.Module):
    """Inception v4, images [B, H, W, C] of any size from 75 up -> logits [B, num_classes].

    Attributes:
      num_classes: Number of classes; 0 removes the head and returns the pooled features [B, C].
      dropout: Dropout rate before the head.
      dtype: Dtype of the computation; parameters, normalisation statistics and logits stay float32.
    """

    num_classes: int = 1000
    dropout: float = 0.2
    dtype: Any = jnp.float32

    @takes_images(at_least=75)
    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        conv = partial(ConvNorm, train=train, dtype=self.dtype)

        # Stem, with sizes for images of 299 pixels
        x = inception_stem(conv, images)  # [B, 147, 147, 64]
        # 160 features of 73x73, 192 of 71x71, 384 of 35x35
        x = run_modules(STEM, conv, x, prefix="stem_block")
        self.sow("intermediates", "stem", x)

        # Stages: [B, 35, 35, 384], [B, 17, 17, 1024], [B, 8, 8, 1536]
        for i, modules in enumerate(STAGES, 1):
            x = run_modules(modules, conv, x, prefix=f"stage{i}_block")
            self.sow("intermediates", f"stage{i}", x)

        # Head
        x = pool_head_map(self, x)  # [B, 1536]
        dropout = nn.Dropout(self.dropout, deterministic=not train)
        return classify(self, x, self.num_classes, self.dtype, dropout=dropout)


family = Family(
    "inception_v4",
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
    reference="timm inception_v4",
    interpolation="bicubic",
    top1=80.144,
    top5=94.982,
    accuracy_source="timm, weights tf_in1k",
)
def inception_v4(**kwargs) -> InceptionV4:
    """42,679,816 parameters, 12.25 G multiply-adds, 80.1 % top-1."""
    return InceptionV4(**kwargs)


family.checkpoint_keys(
    "timm",
    (
        (r"^stem_conv(\d)/", r"features/\1-1/"),
        (r"^stem_block(\d)/", r"features/\1+2/"),
        (r"^stage1_block(\d)/", r"features/\1+5/"),
        (r"^stage2_block(\d)/", r"features/\1+9/"),
        (r"^stage3_block(\d)/", r"features/\1+17/"),
        # The modules of stage 3 that fork have names of their own: branch1_0, branch1_1a.
        (r"/branch(\d)_(\d)([ab]?)/", r"/branch\1-1_\2-1\3/"),
        (r"^(features/(?!19|20|21).*/branch\d)_", r"\1/"),
        (r"/branch(\d)/(conv|norm)$", r"/branch\1-1/\2"),
        (r"/branch_pool/", "/branch3/1/"),
        (r"/norm$", "/bn"),
        (r"^head$", "last_linear"),
    ),
)
