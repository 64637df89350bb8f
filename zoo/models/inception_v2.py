"""Inception v2, or BN-Inception: GoogLeNet with BatchNorm, and two 3x3 filters for one 5x5 filter.

Batch Normalization: Accelerating Deep Network Training by Reducing Internal Covariate Shift, Ioffe
and Szegedy 2015, arXiv:1502.03167, Figure 5. Reference: pretrainedmodels `bninception`, which is
the Caffe model; its weights take images in BGR order.

`se_inception_v2` is the same with squeeze-and-excitation: Hu et al. 2017, arXiv:1709.01507, Table
2. Reference: the authors' Caffe model.

Differences from the paper: the pooling of modules 4c and 4d is projected to 128 features, not 96;
convolutions have biases besides BatchNorm's; there are no auxiliary classifiers.
A stage begins with the module that halves the resolution.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from zoo.layers.branches import average, branch, run_modules
from zoo.layers.conv_norm import ConvNorm
from zoo.layers.head import classify, pool_head_map
from zoo.layers.image_input import takes_images
from zoo.layers.pool import max_pool
from zoo.layers.squeeze_excite import SqueezeExcite
from zoo.registry import CAFFE, Family


def inception(
    width_1x1, reduce_3x3, width_3x3, reduce_double, double_3x3, pool_proj, pool=average
) -> Callable[..., list[jax.Array]]:
    """Branches of a module, each [B, H, W, features]; features in the order of Figure 5."""

    def branches(conv, x):
        return [
            branch(conv, "branch1", x, (width_1x1, 1)),
            branch(conv, "branch2", x, (reduce_3x3, 1), (width_3x3, 3)),
            branch(conv, "branch3", x, (reduce_double, 1), (double_3x3, 3), (double_3x3, 3)),
            branch(conv, "branch_pool", pool(x), (pool_proj, 1)),
        ]

    return branches


def reduction(reduce_3x3, width_3x3, reduce_double, double_3x3) -> Callable[..., list[jax.Array]]:
    """Branches of a module with stride 2, each [B, H/2, W/2, features].

    There is no 1x1 branch, and the pooling keeps its channels.
    """

    def branches(conv, x):
        return [
            branch(conv, "branch2", x, (reduce_3x3, 1), (width_3x3, 3, 2)),
            branch(conv, "branch3", x, (reduce_double, 1), (double_3x3, 3), (double_3x3, 3, 2)),
            max_pool(x, 3, 2, ceil_mode=True),
        ]

    return branches


def maximum(x: jax.Array) -> jax.Array:
    """3x3 maximum pooling with stride 1, [B, H, W, C] -> [B, H, W, C]."""
    return max_pool(x, 3, 1, padding=1)


STAGES = (
    (inception(64, 64, 64, 64, 96, 32), inception(64, 64, 96, 64, 96, 64)),
    (
        reduction(128, 160, 64, 96),
        inception(224, 64, 96, 96, 128, 128),
        inception(192, 96, 128, 96, 128, 128),
        inception(160, 128, 160, 128, 160, 128),
        inception(96, 128, 192, 160, 192, 128),
    ),
    (
        reduction(128, 192, 192, 256),
        inception(352, 192, 320, 160, 224, 128),
        inception(352, 192, 320, 192, 224, 128, pool=maximum),
    ),
)


class InceptionV2(nn.Module):
    """Inception v2, images [B, H, W, C] -> logits [B, num_classes].

    The sides of the images are multiples of 32, or up to 7 pixels less.

    Attributes:
      squeeze_excite: Whether each module ends with squeeze-and-excitation; then convolutions have
        no biases.
      num_classes: Number of classes; 0 removes the head and returns the pooled features [B, C].
      dtype: Dtype of the computation; parameters, normalisation statistics and logits stay float32.
    """

    squeeze_excite: bool = False
    num_classes: int = 1000
    dtype: Any = jnp.float32

    @takes_images(multiples_of=32, missing=7)
    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        conv = partial(ConvNorm, use_bias=not self.squeeze_excite, epsilon=1e-5)
        conv = partial(conv, train=train, dtype=self.dtype)
        gate = partial(SqueezeExcite, dtype=self.dtype) if self.squeeze_excite else None

        # Stem
        x = conv(64, 7, 2, name="stem_conv1")(images)  # [B, H/2, W/2, 64]
        x = max_pool(x, 3, 2, ceil_mode=True)  # [B, H/4, W/4, 64]
        x = conv(64, 1, name="stem_conv2")(x)
        x = conv(192, 3, name="stem_conv3")(x)
        x = max_pool(x, 3, 2, ceil_mode=True)  # [B, H/8, W/8, 192]
        self.sow("intermediates", "stem", x)

        # Stages
        for i, modules in enumerate(STAGES, 1):
            x = run_modules(modules, conv, x, prefix=f"stage{i}_block", gate=gate)
            self.sow("intermediates", f"stage{i}", x)  # last: [B, H/32, W/32, 1024]

        # Head
        x = pool_head_map(self, x)  # [B, 1024]
        return classify(self, x, self.num_classes, self.dtype)


family = Family(
    "inception_v2",
    dict(paper="Batch Normalization, arXiv:1502.03167", year=2015, **CAFFE),
)


@family.variant(
    reference="pretrainedmodels bninception",
    top1=74.8,
    top5=92.18,
    accuracy_source="paper, section 4.2: 25.2 / 7.82 % error, single crop",
)
def inception_v2(**kwargs) -> InceptionV2:
    """11,295,240 parameters, 2.03 G multiply-adds, 74.8 % top-1."""
    return InceptionV2(**kwargs)


@family.variant(
    paper="Squeeze-and-Excitation Networks, arXiv:1709.01507",
    year=2017,
    top1=75.77,
    top5=92.86,
    accuracy_source="paper, Table 2: 24.23 / 7.14 % error, single crop",
)
def se_inception_v2(**kwargs) -> InceptionV2:
    """11,931,622 parameters, 2.03 G multiply-adds, 75.8 % top-1."""
    return InceptionV2(squeeze_excite=True, **kwargs)


MODULES = (("3a", "3b"), ("3c", "4a", "4b", "4c", "4d"), ("4e", "5a", "5b"))
family.checkpoint_keys(
    "pretrainedmodels",
    [
        *(
            (f"^stage{i}_block{j}/", f"inception_{module}_")
            for i, stage in enumerate(MODULES, 1)
            for j, module in enumerate(stage, 1)
        ),
        (r"branch1/", "1x1/"),
        (r"branch2_1/", "3x3_reduce/"),
        (r"branch2_2/", "3x3/"),
        (r"branch3_1/", "double_3x3_reduce/"),
        (r"branch3_([23])/", r"double_3x3_\1-1/"),
        (r"branch_pool/", "pool_proj/"),
        (r"^stem_conv1/", "conv1_7x7_s2/"),
        (r"^stem_conv2/", "conv2_3x3_reduce/"),
        (r"^stem_conv3/", "conv2_3x3/"),
        (r"/conv$", ""),
        (r"/norm$", "_bn"),
        (r"^head$", "last_linear"),
    ],
)
