"""LeNet-5: the network that read handwritten digits, as it is taught today and as published.

Gradient-Based Learning Applied to Document Recognition, LeCun et al. 1998, section II, Figure 2 and
Table I. No reference implementation has both; `lenet5_1998` follows the paper's text.

`lenet5` differs from the paper: ReLU, max-pooling, C3 connected to all maps of S2, softmax outputs.
`lenet5_1998` is the paper's: scaled tanh, trainable sub-sampling, the sparse table of C3, and RBF
outputs, which are distances to fixed 7x12 bitmaps of the digits.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from zoo.layers.conv import Conv, conv
from zoo.layers.dense import Dense
from zoo.layers.head import classify, flatten_head_map
from zoo.layers.image_input import takes_images
from zoo.layers.pool import max_pool
from zoo.layers.sharding import reshape_batch
from zoo.registry import Family

# Table I: the maps of S2 to which each map of C3 is connected.
C3_TABLE = (
    *((0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 4, 5), (0, 1, 5)),
    *((0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (0, 3, 4, 5), (0, 1, 4, 5), (0, 1, 2, 5)),
    *((0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5)),
    (0, 1, 2, 3, 4, 5),
)

# Figure 3: the target of the 84 units of F6 for each digit, 12 rows of 7. They are text figures,
# so some have descenders; as transcribed in public re-implementations of the paper.
DIGITS = """
.#####. ...##.. .#####. ####### .#####. .#####. ..####. ####### .#####. .#####.
....... ..###.. ....... .....## ....... ....... .##.... .....## ##...## ##..###
..###.. .####.. .#####. ....##. ....... ####### ##..... .....## ##...## ##...##
.##.##. ...##.. ##...## ...##.. .##..## ##..... ##..... ....##. ##...## ##...##
##...## ...##.. #....## ..####. .##..## ##..... ######. ...##.. .#####. ##..###
##...## ...##.. ....##. .....## ###..## .####.. ###..## ...##.. ##...## .######
##...## ...##.. ..###.. .....## ##...## ..####. ##...## ..##... ##...## .....##
##...## ...##.. .##.... .....## ##...## .....## ##...## ..##... ##...## .....##
.##.##. ...##.. ##..... ##...## ##..### ##...## ###..## ..##... ##...## ....##.
..###.. .###### ####### .#####. .###### .#####. .#####. ..##... .#####. .####..
....... ....... ....... ....... .....## ....... ....... ....... ....... .......
....... ....... ....... ....... .....## ....... ....... ....... ....... .......
"""


class LeNet5(nn.Module):
    """LeNet-5 as it is taught today, images [B, 32, 32, C] -> logits [B, num_classes].

    Attributes:
      num_classes: Number of classes; 0 removes the head and returns the features of F6 [B, 84].
      dtype: Dtype of the computation; parameters and logits stay float32.
    """

    num_classes: int = 10
    dtype: Any = jnp.float32

    @takes_images(exactly=32, advice="MNIST's 28x28 are padded by 2 pixels on every side.")
    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        # Stages
        x = Conv(6, (5, 5), padding="VALID", dtype=self.dtype, name="conv1")(images)
        x = max_pool(nn.relu(x), 2, 2)  # [B, 14, 14, 6]
        self.sow("intermediates", "stage1", x)
        x = Conv(16, (5, 5), padding="VALID", dtype=self.dtype, name="conv2")(x)
        x = max_pool(nn.relu(x), 2, 2)  # [B, 5, 5, 16]
        self.sow("intermediates", "stage2", x)

        # Head
        x = flatten_head_map(self, x)  # [B, 400], channels first
        x = nn.relu(Dense(120, dtype=self.dtype, name="fc1")(x))
        x = nn.relu(Dense(84, dtype=self.dtype, name="fc2")(x))
        return classify(self, x, self.num_classes, self.dtype)


class OriginalLeNet5(nn.Module):
    """LeNet-5 as published, images [B, 32, 32, C] -> logits [B, num_classes].

    Ink is 1.175 and paper -0.1 in the images. A logit is minus the squared distance of F6 to the
    bitmap of that class: the nearest wins. Classes beyond the ten digits have random codes, the
    paper's other choice.

    Attributes:
      num_classes: Number of classes; 0 removes the head and returns the features of F6 [B, 84].
      dtype: Dtype of the computation; parameters and logits stay float32.
    """

    num_classes: int = 10
    dtype: Any = jnp.float32

    @takes_images(exactly=32, advice="MNIST's 28x28 are padded by 2 pixels on every side.")
    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        # Stages
        x = Conv(
            6, (5, 5), padding="VALID", dtype=self.dtype, kernel_init=uniform_by_fan_in, name="c1"
        )(images)  # [B, 28, 28, 6]
        x = Subsample(self.dtype, name="s2")(squash(x))  # [B, 14, 14, 6]
        self.sow("intermediates", "stage1", x)
        x = TableConv(self.dtype, name="c3")(x)  # [B, 10, 10, 16]
        x = Subsample(self.dtype, name="s4")(squash(x))  # [B, 5, 5, 16]
        self.sow("intermediates", "stage2", x)
        x = Conv(
            120, (5, 5), padding="VALID", dtype=self.dtype, kernel_init=uniform_by_fan_in, name="c5"
        )(x)  # [B, 1, 1, 120]

        # Head
        x = flatten_head_map(self, squash(x))  # [B, 120]
        x = squash(Dense(84, dtype=self.dtype, kernel_init=uniform_by_fan_in, name="f6")(x))
        self.sow("intermediates", "embedding", x)
        if not self.num_classes:
            return x
        x = x.astype(jnp.promote_types(self.dtype, jnp.float32))
        codes = jnp.asarray(output_codes(self.num_classes), x.dtype)
        return -jnp.sum(jnp.square(x[:, None] - codes[None]), axis=-1)


class Subsample(nn.Module):
    """S2 and S4: trainable sub-sampling, [B, H, W, C] -> [B, H/2, W/2, C].

    The sum of 2x2 inputs times a trainable coefficient, plus a trainable bias, then the sigmoid.

    Attributes:
      dtype: Dtype of the computation.
    """

    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        batch, height, width, channels = x.shape
        windows = reshape_batch(x, (batch, height // 2, 2, width // 2, 2, channels))
        sums = windows.sum((2, 4))
        # A sum of four inputs is a unit of fan-in four.
        scale = self.param("scale", nn.initializers.constant(0.25), (channels,))
        bias = self.param("bias", nn.initializers.zeros, (channels,))
        scale, bias = (p.astype(self.dtype).reshape(1, 1, 1, -1) for p in (scale, bias))
        return squash(sums * scale + bias)


class TableConv(nn.Module):
    """C3: 5x5 convolution with the connections of `C3_TABLE`, [B, 14, 14, 6] -> [B, 10, 10, 16].

    Attributes:
      dtype: Dtype of the computation.
    """

    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        inputs = [source for sources in C3_TABLE for source in sources]
        outputs = [target for target, sources in enumerate(C3_TABLE) for _ in sources]
        taps = self.param("kernel", table_init, (5, 5, len(inputs)))
        bias = self.param("bias", nn.initializers.zeros, (len(C3_TABLE),))
        kernel = jnp.zeros((5, 5, 6, len(C3_TABLE)), taps.dtype)
        kernel = kernel.at[:, :, inputs, outputs].set(taps).astype(self.dtype)
        x = conv(x.astype(self.dtype), kernel, (1, 1), "VALID")
        return x + bias.astype(self.dtype).reshape(1, 1, 1, -1)


def squash(x: jax.Array) -> jax.Array:
    """The paper's sigmoid, 1.7159 tanh(2/3 x): it maps 1 to 1 and -1 to -1."""
    return 1.7159 * jnp.tanh(2 / 3 * x)


def uniform_by_fan_in(key: jax.Array, shape: tuple[int, ...], dtype=jnp.float32) -> jax.Array:
    """Initializer of Appendix A: uniform in [-2.4 / fan-in, 2.4 / fan-in]."""
    bound = 2.4 / np.prod(shape[:-1])
    return jax.random.uniform(key, shape, dtype, -bound, bound)


def table_init(key: jax.Array, shape: tuple[int, ...], dtype=jnp.float32) -> jax.Array:
    """`uniform_by_fan_in` for C3, where the fan-in of a map is 25 times the maps it connects to."""
    bound = jnp.asarray([2.4 / (25 * len(sources)) for sources in C3_TABLE for _ in sources], dtype)
    return jax.random.uniform(key, shape, dtype, -1, 1) * bound.reshape(1, 1, -1)


def output_codes(num_classes: int) -> np.ndarray:
    """Targets of F6, [num_classes, 84] of -1 and +1: bitmaps of the digits, then random codes."""
    columns = np.array([line.split() for line in DIGITS.split("\n") if line])  # [12, 10]
    bitmaps = [[1 if pixel == "#" else -1 for pixel in "".join(digit)] for digit in columns.T]
    others = np.random.RandomState(1998).choice([-1, 1], (max(0, num_classes - 10), 84))
    return np.concatenate([np.array(bitmaps), others])[:num_classes]


family = Family(
    "lenet",
    dict(
        paper="Gradient-Based Learning Applied to Document Recognition, Proc. IEEE 86(11)",
        year=1998,
        image_size=32,
        channels=1,
        crop=1.0,
        top1=99.05,
        accuracy_source="paper, section III-B: 0.95 % error on MNIST without distortions",
    ),
)


@family.variant(mean=(0.1307,), std=(0.3081,), top1=None, accuracy_source="")
def lenet5(**kwargs) -> LeNet5:
    """61,706 parameters; about 99 % on MNIST."""
    return LeNet5(**kwargs)


# Paper at -0.1 and ink at 1.175: (x - mean) / std of images in [0, 1].
@family.variant(mean=(0.1 / 1.275,), std=(1 / 1.275,))
def lenet5_1998(**kwargs) -> OriginalLeNet5:
    """60,000 parameters, as Figure 2 adds up; 0.95 % error on MNIST."""
    return OriginalLeNet5(**kwargs)


family.checkpoint_keys("torch", ((r"^head$", "fc3"),))
