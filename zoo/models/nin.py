"""NiN: Network in Network, a small perceptron slid over the image in place of a linear filter.

Network In Network, Lin et al. 2013, arXiv:1312.4400, Figure 2.

- `nin`: the ImageNet network of the authors' Caffe models. Reference: its PyTorch port in
  neural-style-pt.
- `nin_cifar`: the CIFAR-10 network. Reference: pytorch-nin-cifar10, of the authors' Caffe models
  as well.

The classifier is the last 1x1 convolution: its map of each class is averaged (global average
pooling is this paper's idea), so no layer is fully connected. Both references have a ReLU between
the two, hence logits are never negative. The embedding is what enters that convolution, averaged.
Differences from the paper, which gives no layer's size: none known. The weights of `nin` take
images in BGR order.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from zoo.layers import initializers
from zoo.layers.conv import Conv
from zoo.layers.head import classify_maps
from zoo.layers.image_input import takes_images
from zoo.layers.pool import average_pool, max_pool
from zoo.registry import CAFFE, Family

normal_005 = initializers.normal(0.05)  # as in the Caffe models


class MLPConv(nn.Module):
    """A convolution, then 1x1 convolutions, with ReLU each. [B, H, W, C] -> [B, H', W', C'].

    Attributes:
      features: Number of features of each convolution; the last is C'.
      kernel_size: Side of the first convolution's kernel.
      strides: Stride of the first convolution.
      padding: Padding of the first convolution on every side.
      dtype: Dtype of the computation.
    """

    features: tuple[int, ...]
    kernel_size: int
    strides: int = 1
    padding: int = 0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        conv = partial(Conv, dtype=self.dtype, kernel_init=normal_005)
        window, first = (self.kernel_size, self.kernel_size), self.features[0]
        x = nn.relu(conv(first, window, self.strides, padding=self.padding, name="conv1")(x))
        for i, features in enumerate(self.features[1:], 2):
            x = nn.relu(conv(features, (1, 1), name=f"conv{i}")(x))
        return x


class NIN(nn.Module):
    """Images [B, H, W, C] of any size from 39 up -> logits [B, num_classes].

    Attributes:
      num_classes: Number of classes; 0 removes the head and returns the pooled features [B, 1024].
      dropout: Dropout rate before the last block.
      dtype: Dtype of the computation; parameters and logits stay float32.
    """

    num_classes: int = 1000
    dropout: float = 0.5
    dtype: Any = jnp.float32

    @takes_images(at_least=39)
    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        block = partial(MLPConv, dtype=self.dtype)

        # Stages, with sizes for images of 224 pixels
        x = block((96, 96, 96), 11, 4, name="mlpconv1")(images)  # [B, 54, 54, 96]
        x = max_pool(x, 3, 2, ceil_mode=True)  # [B, 27, 27, 96]
        self.sow("intermediates", "stage1", x)
        x = block((256, 256, 256), 5, padding=2, name="mlpconv2")(x)  # [B, 27, 27, 256]
        x = max_pool(x, 3, 2, ceil_mode=True)  # [B, 13, 13, 256]
        self.sow("intermediates", "stage2", x)
        x = block((384, 384, 384), 3, padding=1, name="mlpconv3")(x)  # [B, 13, 13, 384]
        x = max_pool(x, 3, 2, ceil_mode=True)  # [B, 6, 6, 384]
        self.sow("intermediates", "stage3", x)
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        x = block((1024, 1024), 3, padding=1, name="mlpconv4")(x)  # [B, 6, 6, 1024]
        self.sow("intermediates", "stage4", x)

        # Head
        return classify_maps(self, x, self.num_classes, self.dtype, kernel_init=normal_005)


class NINCifar(nn.Module):
    """Images [B, H, W, C] of any size from 1 up, 32 by design -> logits [B, num_classes].

    Attributes:
      num_classes: Number of classes; 0 removes the head and returns the pooled features [B, 192].
      dropout: Dropout rate after the first and after the second block.
      dtype: Dtype of the computation; parameters and logits stay float32.
    """

    num_classes: int = 10
    dropout: float = 0.5
    dtype: Any = jnp.float32

    @takes_images()
    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        block = partial(MLPConv, dtype=self.dtype)

        # Stages, with sizes for images of 32 pixels
        x = block((192, 160, 96), 5, padding=2, name="mlpconv1")(images)  # [B, 32, 32, 96]
        x = max_pool(x, 3, 2, padding=1)  # [B, 16, 16, 96]
        self.sow("intermediates", "stage1", x)
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        x = block((192, 192, 192), 5, padding=2, name="mlpconv2")(x)  # [B, 16, 16, 192]
        x = average_pool(x, 3, 2, padding=1)  # [B, 8, 8, 192]
        self.sow("intermediates", "stage2", x)
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        x = block((192, 192), 3, padding=1, name="mlpconv3")(x)  # [B, 8, 8, 192]
        self.sow("intermediates", "stage3", x)

        # Head
        return classify_maps(self, x, self.num_classes, self.dtype, kernel_init=normal_005)


family = Family("nin", dict(paper="Network In Network, arXiv:1312.4400", year=2013))


@family.variant(
    reference="Caffe NIN-ImageNet",
    **CAFFE,
    top1=59.36,
    accuracy_source="Caffe model zoo, nin_imagenet, centre crop",
)
def nin(**kwargs) -> NIN:
    """7,595,176 parameters, 1.10 G multiply-adds, 59.4 % top-1."""
    return NIN(**kwargs)


@family.variant(
    reference="pytorch-nin-cifar10 original.Net",
    image_size=32,
    mean=(0.4914, 0.4824, 0.4467),
    std=(0.2471, 0.2435, 0.2616),
    crop=1.0,
    top1=91.19,
    accuracy_source="paper, Table 1: 8.81 % error on CIFAR-10, with translations and flips",
)
def nin_cifar(**kwargs) -> NINCifar:
    """966,986 parameters, 0.22 G multiply-adds, 91.2 % top-1 on CIFAR-10."""
    return NINCifar(**kwargs)


def pytorch_names(model: NIN | NINCifar) -> list[tuple[str, str]]:
    """Returns positions in the reference's sequence: convolution, ReLU, ..., pooling, dropout."""
    container, first = (
        ("features", (0, 7, 14, 22)) if isinstance(model, NIN) else ("classifier", (0, 8, 16))
    )
    names = [
        (f"^mlpconv{i}/conv{j}$", f"{container}/{start + 2 * (j - 1)}")
        for i, start in enumerate(first, 1)
        for j in (1, 2, 3)
    ]
    return [*names, ("^head$", f"{container}/{first[-1] + 4}")]


family.checkpoint_keys("pytorch", pytorch_names)
