"""SqueezeNet: AlexNet's accuracy with fifty times fewer parameters.

SqueezeNet: AlexNet-level accuracy with 50x fewer parameters and <0.5MB model size, Iandola et al.
2016, arXiv:1602.07360, Table 1, Figure 2. Reference: torchvision `squeezenet1_0`, `squeezenet1_1`.

Differences from the paper: the first convolution is not padded, so that images of 224 pixels give
54x54 instead of 55x55 after the first pooling (the authors' Caffe net takes 227). The paper's model
with complex bypass has 7.7 MB; the connections as it describes them make 6.1 MB.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from zoo.layers import initializers
from zoo.layers.conv import Conv
from zoo.layers.head import classify_maps
from zoo.layers.image_input import takes_images
from zoo.layers.image_size import require_at_least
from zoo.layers.pool import max_pool
from zoo.registry import Family

conv_init = initializers.variance_scaling(2.0, "fan_in", "uniform")
head_init = initializers.normal(0.01)

# Features of the squeeze convolutions of fire2 ... fire9; each half of the expansion has 4 times,
# the two together 8 times as many.
SQUEEZE = (16, 16, 32, 32, 48, 48, 64, 64)

# Features and kernel size of the first convolution, and the fire modules before a pooling.
VERSIONS = {"1.0": (96, 7, (4, 8)), "1.1": (64, 3, (3, 5))}
BYPASSES = ("", "simple", "complex")


class Fire(nn.Module):
    """Squeeze by a 1x1 convolution, expand by 1x1 and 3x3. [B, H, W, C] -> [B, H, W, 8 * squeeze].

    Attributes:
      squeeze: Number of features after the squeeze.
      bypass: Kind of connection around the module: "" for none; "simple" for the identity where
        shapes allow it; "complex" for a 1x1 convolution, too, where they do not.
    """

    squeeze: int
    bypass: str
    conv: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        features = 4 * self.squeeze
        y = nn.relu(self.conv(self.squeeze, (1, 1), name="squeeze")(x))
        small = nn.relu(self.conv(features, (1, 1), name="expand1x1")(y))
        large = nn.relu(self.conv(features, (3, 3), padding=1, name="expand3x3")(y))
        y = jnp.concatenate([small, large], axis=-1)
        if self.bypass and x.shape == y.shape:
            return x + y
        if self.bypass == "complex":
            return self.conv(2 * features, (1, 1), name="bypass")(x) + y
        return y


class SqueezeNet(nn.Module):
    """Images [B, H, W, C] of any size from 21 up (version 1.1: from 17) -> logits [B, num_classes].

    Attributes:
      version: "1.0" is the paper's; "1.1" starts smaller, pools earlier and costs 2.4 times less.
      bypass: Kind of connections around the fire modules, "", "simple" or "complex"; see `Fire`.
      num_classes: Number of classes; 0 removes the head and returns the pooled features [B, 512] of
        fire9.
      dropout: Dropout rate before the classifier, a 1x1 convolution whose maps are averaged.
      dtype: Dtype of the computation; parameters and logits stay float32.
    """

    version: str = "1.0"
    bypass: str = ""
    num_classes: int = 1000
    dropout: float = 0.5
    dtype: Any = jnp.float32

    @takes_images()
    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        if self.version not in VERSIONS or self.bypass not in BYPASSES:
            raise ValueError(
                f"SqueezeNet has the versions {', '.join(VERSIONS)} and the bypasses {BYPASSES}, "
                f"got {self.version!r} and {self.bypass!r}."
            )
        width, kernel_size, pooled = VERSIONS[self.version]
        require_at_least(images, 14 + kernel_size, "This SqueezeNet")
        conv = partial(Conv, padding=0, kernel_init=conv_init, dtype=self.dtype)
        window = (kernel_size, kernel_size)
        pool = partial(max_pool, window=3, strides=2, ceil_mode=True)

        # Stem
        x = nn.relu(conv(width, window, 2, name="stem_conv")(images))  # [B, H/2, W/2, width]
        x = pool(x)  # [B, H/4, W/4, width]
        self.sow("intermediates", "stem", x)

        # Stages
        stage = 1
        for i, squeeze in enumerate(SQUEEZE, 2):
            x = Fire(squeeze, self.bypass, conv, name=f"fire{i}")(x)
            if i in pooled or i == 9:
                self.sow("intermediates", f"stage{stage}", x)  # last: [B, H/16, W/16, 512]
                stage += 1
            if i in pooled:
                x = pool(x)

        # Head
        head = partial(classify_maps, kernel_init=head_init)
        dropout = nn.Dropout(self.dropout, deterministic=not train)
        return head(self, x, self.num_classes, self.dtype, dropout=dropout)


family = Family(
    "squeezenet",
    dict(
        paper="SqueezeNet: AlexNet-level accuracy with 50x fewer parameters, arXiv:1602.07360",
        year=2016,
        accuracy_source="torchvision, weights IMAGENET1K_V1",
    ),
)


@family.variant(reference="torchvision squeezenet1_0", top1=58.092, top5=80.420)
def squeezenet1_0(**kwargs) -> SqueezeNet:
    """1,248,424 parameters, 0.82 G multiply-adds, 58.1 % top-1."""
    return SqueezeNet(**kwargs)


@family.variant(reference="torchvision squeezenet1_1", top1=58.178, top5=80.624)
def squeezenet1_1(**kwargs) -> SqueezeNet:
    """1,235,496 parameters, 0.35 G multiply-adds, 58.2 % top-1."""
    return SqueezeNet("1.1", **kwargs)


@family.variant(top1=60.4, top5=82.5, accuracy_source="paper, Table 3")
def squeezenet1_0_simple_bypass(**kwargs) -> SqueezeNet:
    """1,248,424 parameters, 0.82 G multiply-adds, 60.4 % top-1."""
    return SqueezeNet(bypass="simple", **kwargs)


@family.variant(top1=58.8, top5=82.0, accuracy_source="paper, Table 3")
def squeezenet1_0_complex_bypass(**kwargs) -> SqueezeNet:
    """1,589,672 parameters, 1.17 G multiply-adds, 58.8 % top-1."""
    return SqueezeNet(bypass="complex", **kwargs)


def torchvision_names(model: SqueezeNet) -> list[tuple[str, str]]:
    """Returns positions in torchvision's `features`, where poolings count as well."""
    positions = (
        (3, 4, 5, 7, 8, 9, 10, 12) if model.version == "1.0" else (3, 4, 6, 7, *range(9, 13))
    )
    fires = [(f"^fire{i}/", f"features/{index}/") for i, index in enumerate(positions, 2)]
    return [("^stem_conv$", "features/0"), *fires, ("^head$", "classifier/1")]


family.checkpoint_keys("torchvision", torchvision_names)
