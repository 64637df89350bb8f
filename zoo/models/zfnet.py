"""ZFNet: AlexNet after a look inside, with a smaller window and stride at the start.

Visualizing and Understanding Convolutional Networks, Zeiler and Fergus 2013, arXiv:1311.2901,
Figure 3. Reference: pytorchcv `zfnet`, `zfnetb`.

Differences from the paper: local response normalisation (k = 2 as in AlexNet's paper, alpha / 5 as
in PyTorch) comes before the pooling, not after it; filters are not scaled back while they train.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from zoo.layers import initializers
from zoo.layers.conv import Conv
from zoo.layers.dense import Dense
from zoo.layers.head import classify, flatten_head_map
from zoo.layers.image_input import takes_images
from zoo.layers.lrn import local_response_norm
from zoo.layers.pool import max_pool
from zoo.registry import Family

normal_001 = initializers.normal(0.01)  # section 3


class ZFNet(nn.Module):
    """Images [B, 224, 224, C] -> logits [B, num_classes].

    Attributes:
      widths: Numbers of features of convolutions 3, 4 and 5.
      num_classes: Number of classes; 0 removes the head and returns the features of fc7 [B, 4096].
      dropout: Dropout rate after fc6 and fc7.
      dtype: Dtype of the computation; parameters and logits stay float32.
    """

    widths: tuple[int, int, int] = (384, 384, 256)
    num_classes: int = 1000
    dropout: float = 0.5
    dtype: Any = jnp.float32

    @takes_images(exactly=224)
    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        conv = partial(Conv, dtype=self.dtype, kernel_init=normal_001)
        dense = partial(Dense, kernel_init=normal_001)

        # Stages
        x = nn.relu(conv(96, (7, 7), 2, padding=1, name="conv1")(images))  # [B, 110, 110, 96]
        x = max_pool(local_response_norm(x, k=2.0), 3, 2, ceil_mode=True)  # [B, 55, 55, 96]
        self.sow("intermediates", "stage1", x)
        x = nn.relu(conv(256, (5, 5), 2, padding=0, name="conv2")(x))  # [B, 26, 26, 256]
        x = max_pool(local_response_norm(x, k=2.0), 3, 2, ceil_mode=True)  # [B, 13, 13, 256]
        self.sow("intermediates", "stage2", x)
        for i, features in enumerate(self.widths, 3):
            x = nn.relu(conv(features, (3, 3), padding=1, name=f"conv{i}")(x))  # [B, 13, 13, 384]
        x = max_pool(x, 3, 2, ceil_mode=True)  # [B, 6, 6, 256]
        self.sow("intermediates", "stage3", x)

        # Head
        x = flatten_head_map(self, x)  # [B, 9216], channels first
        for name in ("fc6", "fc7"):
            x = nn.relu(dense(4096, dtype=self.dtype, name=name)(x))
            x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return classify(self, x, self.num_classes, self.dtype, kernel_init=normal_001)


family = Family(
    "zfnet",
    dict(
        paper="Visualizing and Understanding Convolutional Networks, arXiv:1311.2901",
        year=2013,
    ),
)


@family.variant(
    reference="pytorchcv zfnet",
    top1=61.6,
    top5=83.5,
    accuracy_source="paper, Table 2: 38.4 / 16.5 % error, 10-crop",
    crops=10,
)
def zfnet(**kwargs) -> ZFNet:
    """62,357,608 parameters, 1.17 G multiply-adds, 61.6 % top-1."""
    return ZFNet(**kwargs)


@family.variant(
    reference="pytorchcv zfnetb",
    top1=62.5,
    top5=84.0,
    accuracy_source="paper, Table 2: 37.5 / 16.0 % error, 10-crop",
    crops=10,
)
def zfnet_big(**kwargs) -> ZFNet:
    """107,627,624 parameters, 2.48 G multiply-adds, 62.5 % top-1."""
    return ZFNet(widths=(512, 1024, 512), **kwargs)


family.checkpoint_keys(
    "pytorchcv",
    (
        (r"^conv([12])$", r"features/stage\1/unit1/conv"),
        (r"^conv([345])$", r"features/stage3/unit\1-2/conv"),
        (r"^fc([67])$", r"output/fc\1-5/fc"),
        (r"^head$", "output/fc3"),
    ),
)
