"""A multilayer perceptron on the flattened image, a baseline for convolutional networks.

Gradient-Based Learning Applied to Document Recognition, LeCun et al. 1998, section III-B.4: the
28x28-300-100-10 network, 3.05 % error on MNIST without distortions.

Differences from the paper: ReLU instead of a scaled tanh; softmax outputs.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from zoo.layers.dense import Dense
from zoo.layers.head import classify
from zoo.layers.image_input import takes_images
from zoo.registry import Family


class MLP(nn.Module):
    """Multilayer perceptron, images [B, H, W, C] of any one size -> logits [B, num_classes].

    Attributes:
      widths: Numbers of features of the hidden layers.
      num_classes: Number of classes; 0 removes the head and returns the last hidden layer [B, C].
      dtype: Dtype of the computation; parameters and logits stay float32.
    """

    widths: Sequence[int] = (300, 100)
    num_classes: int = 10
    dtype: Any = jnp.float32

    @takes_images()
    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        x = images.reshape(images.shape[0], -1)  # [B, H * W * C]

        # Stages
        for i, features in enumerate(self.widths):
            x = nn.relu(Dense(features, dtype=self.dtype, name=f"fc{i + 1}")(x))
            self.sow("intermediates", f"stage{i + 1}", x)

        # Head
        return classify(self, x, self.num_classes, self.dtype)


family = Family(
    "mlp",
    dict(
        paper="Gradient-Based Learning Applied to Document Recognition, Proc. IEEE 86(11)",
        year=1998,
        image_size=28,
        channels=1,
        mean=(0.1307,),
        std=(0.3081,),
        crop=1.0,
    ),
)


@family.variant(top1=96.95, accuracy_source="paper, Fig. 9: 3.05 % error on MNIST")
def mlp(**kwargs) -> MLP:
    """266,610 parameters on 28x28 images: 784-300-100-10."""
    return MLP(**kwargs)


family.checkpoint_keys("torch", ((r"^head$", "fc3"),))
