"""AlexNet: the network that won ImageNet 2012, and its one-tower descendants.

- `alexnet`, `alexnet_one_gpu`: ImageNet Classification with Deep Convolutional Neural Networks,
  Krizhevsky et al. 2012, section 3. Reference: Caffe's bvlc_alexnet.
- `alexnet_owt`: One weird trick for parallelizing convolutional neural networks, Krizhevsky 2014,
  arXiv:1404.5997. Reference: torchvision `alexnet`.

Differences from the paper: images of 227 pixels (with 224 the sizes do not add up), and local
response normalisation with Caffe's constants, k = 1 and alpha / 5 (the paper: k = 2 and alpha).
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
from zoo.layers.initializers import torch_default
from zoo.layers.lrn import local_response_norm
from zoo.layers.pool import adaptive_average_pool, flatten, max_pool
from zoo.registry import CAFFE, Family

normal_001 = initializers.normal(0.01)  # section 5


class AlexNet(nn.Module):
    """AlexNet with grouped convolutions, images [B, 227, 227, C] -> logits [B, num_classes].

    Attributes:
      gpus: Number of groups of the second, fourth and fifth convolution: the paper's two GPUs.
      num_classes: Number of classes; 0 removes the head and returns the features of fc7 [B, 4096].
      dropout: Dropout rate after fc6 and fc7.
      dtype: Dtype of the computation; parameters and logits stay float32.
    """

    gpus: int = 2
    num_classes: int = 1000
    dropout: float = 0.5
    dtype: Any = jnp.float32

    @takes_images(exactly=227, advice="alexnet_owt takes any size from 63 up.")
    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        conv = partial(Conv, dtype=self.dtype, kernel_init=normal_001)
        two_towers = partial(conv, feature_group_count=self.gpus, bias_init=nn.initializers.ones)
        dense = partial(Dense, kernel_init=normal_001)

        # Stages
        x = nn.relu(conv(96, (11, 11), 4, padding=0, name="conv1")(images))  # [B, 55, 55, 96]
        x = max_pool(local_response_norm(x), 3, 2)  # [B, 27, 27, 96]
        self.sow("intermediates", "stage1", x)
        x = nn.relu(two_towers(256, (5, 5), padding=2, name="conv2")(x))  # [B, 27, 27, 256]
        x = max_pool(local_response_norm(x), 3, 2)  # [B, 13, 13, 256]
        self.sow("intermediates", "stage2", x)
        x = nn.relu(conv(384, (3, 3), padding=1, name="conv3")(x))  # [B, 13, 13, 384]
        self.sow("intermediates", "stage3", x)
        x = nn.relu(two_towers(384, (3, 3), padding=1, name="conv4")(x))  # [B, 13, 13, 384]
        self.sow("intermediates", "stage4", x)
        x = nn.relu(two_towers(256, (3, 3), padding=1, name="conv5")(x))  # [B, 13, 13, 256]
        x = max_pool(x, 3, 2)  # [B, 6, 6, 256]
        self.sow("intermediates", "stage5", x)

        # Head
        x = flatten_head_map(self, x)  # [B, 9216], channels first
        for name in ("fc6", "fc7"):
            x = dense(4096, dtype=self.dtype, bias_init=nn.initializers.ones, name=name)(x)
            x = nn.Dropout(self.dropout, deterministic=not train)(nn.relu(x))
        return classify(self, x, self.num_classes, self.dtype, kernel_init=normal_001)


class AlexNetOneTower(nn.Module):
    """AlexNet without groups, images [B, H, W, C] of any size from 63 up -> [B, num_classes].

    Attributes:
      num_classes: Number of classes; 0 removes the head and returns the features of fc7 [B, 4096].
      dropout: Dropout rate before fc6 and fc7.
      dtype: Dtype of the computation; parameters and logits stay float32.
    """

    num_classes: int = 1000
    dropout: float = 0.5
    dtype: Any = jnp.float32

    @takes_images(at_least=63)
    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        conv = partial(Conv, dtype=self.dtype, kernel_init=torch_default)
        dense = partial(Dense, kernel_init=torch_default)

        # Stages, with sizes for images of 224 pixels
        x = nn.relu(conv(64, (11, 11), 4, padding=2, name="conv1")(images))  # [B, 55, 55, 64]
        x = max_pool(x, 3, 2)  # [B, 27, 27, 64]
        self.sow("intermediates", "stage1", x)
        x = nn.relu(conv(192, (5, 5), padding=2, name="conv2")(x))  # [B, 27, 27, 192]
        x = max_pool(x, 3, 2)  # [B, 13, 13, 192]
        self.sow("intermediates", "stage2", x)
        x = nn.relu(conv(384, (3, 3), padding=1, name="conv3")(x))  # [B, 13, 13, 384]
        self.sow("intermediates", "stage3", x)
        x = nn.relu(conv(256, (3, 3), padding=1, name="conv4")(x))  # [B, 13, 13, 256]
        self.sow("intermediates", "stage4", x)
        x = nn.relu(conv(256, (3, 3), padding=1, name="conv5")(x))  # [B, 13, 13, 256]
        x = max_pool(x, 3, 2)  # [B, 6, 6, 256]
        self.sow("intermediates", "stage5", x)

        # Head
        self.sow("intermediates", "head_map", x)
        x = adaptive_average_pool(x, 6)
        x = flatten(x)  # [B, 9216], channels first
        for name in ("fc6", "fc7"):
            x = nn.Dropout(self.dropout, deterministic=not train)(x)
            x = nn.relu(dense(4096, dtype=self.dtype, name=name)(x))
        return classify(self, x, self.num_classes, self.dtype, kernel_init=normal_001)


family = Family(
    "alexnet",
    dict(
        paper="ImageNet Classification with Deep Convolutional Neural Networks, NIPS 2012",
        year=2012,
        image_size=227,
    ),
)


@family.variant(
    reference="Caffe bvlc_alexnet",
    top1=57.1,
    top5=80.2,
    accuracy_source="Caffe model zoo, centre crop",
    **CAFFE,
)
def alexnet(**kwargs) -> AlexNet:
    """60,965,224 parameters, 0.72 G multiply-adds, 57.1 % top-1."""
    return AlexNet(**kwargs)


@family.variant()
def alexnet_one_gpu(**kwargs) -> AlexNet:
    """62,378,344 parameters, 1.14 G multiply-adds: AlexNet without groups."""
    return AlexNet(gpus=1, **kwargs)


@family.variant(
    paper="One weird trick for parallelizing convolutional neural networks, arXiv:1404.5997",
    year=2014,
    image_size=224,
    reference="torchvision alexnet",
    top1=56.522,
    top5=79.066,
    accuracy_source="torchvision, weights IMAGENET1K_V1",
)
def alexnet_owt(**kwargs) -> AlexNetOneTower:
    """61,100,840 parameters, 0.71 G multiply-adds, 56.5 % top-1."""
    return AlexNetOneTower(**kwargs)


def sequential_names(convs: tuple[int, ...], denses: tuple[int, ...]) -> list[tuple[str, str]]:
    """Checkpoint keys of a reference whose layers are numbered.

    Args:
      convs: Positions of the convolutions in the reference's `features`.
      denses: Positions of fc6, fc7 and the head in its `classifier`.
    """
    names = [(f"^conv{i}$", f"features/{at}") for i, at in enumerate(convs, 1)]
    layers = ("fc6", "fc7", "head")
    return names + [
        (f"^{ours}$", f"classifier/{at}") for ours, at in zip(layers, denses, strict=True)
    ]


def pytorch_names(model: AlexNet | AlexNetOneTower) -> list[tuple[str, str]]:
    """Checkpoint keys of torchvision's `alexnet`, or of AlexNet as a PyTorch model like it."""
    if isinstance(model, AlexNetOneTower):
        return sequential_names((0, 3, 6, 8, 10), (1, 4, 6))
    return sequential_names((0, 4, 8, 10, 12), (0, 3, 6))


family.checkpoint_keys("torchvision", pytorch_names)
