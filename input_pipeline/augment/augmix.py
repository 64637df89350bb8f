"""AugMix (Hendrycks et al. 2020): an image is blended with a mixture of chains of operations.

Each chain applies one to three operations to the image. Their results are mixed with weights from a
Dirichlet distribution, and the mixture is blended with the image by a share m from Beta(alpha,
alpha). The paper's loss compares predictions of the clean image and of two such images, see
`augment.views` of recipes and the loss "jsd".

Three programs round at different places, see `AugMix.blend`.

Sources: torchvision 0.29 `transforms.v2.AugMix`; timm 1.0.31 `data/auto_augment.py`;
google-research/augmix @9b9824c `augmentations.py`, `cifar.py`.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp

from input_pipeline.augment.combine import image_keys
from input_pipeline.augment.draws import whole_number
from input_pipeline.augment.policy import (
    Choice,
    Draws,
    Levels,
    Operation,
    Policy,
    Scale,
    Setting,
    of_random_operations,
)

BLENDS = ("torchvision", "timm", "chain", "authors")
MAX_DEPTH = 3  # of chains of random depth


class MixDraws(NamedTuple):
    """What images get.

    Attributes:
      chains: index and argument [..., width, depth], the operations of each chain.
      weights: float32 [..., width], the chains' shares of the mixture, 1 in sum.
      m: float32 [...], share of the mixture; the image has 1 - m.
    """

    chains: Draws
    weights: jax.Array
    m: jax.Array


@dataclass(frozen=True)
class AugMix:
    """AugMix: (key, uint8 images [B, H, W, C]) -> images.

    Attributes:
      policy: whose operations the chains apply; its `choose` gives those of all chains, see
        `chains`.
      width: number of chains.
      alpha: parameter of both distributions.
      blend: how it is rounded: "torchvision" truncates the result; "timm" the mixture and then the
        result; "chain", timm's other form, blends one chain after the other, truncating each time;
        "authors" does not round at all, and gives float32.
    """

    policy: Policy
    width: int = 3
    alpha: float = 1.0
    blend: str = "torchvision"

    def __call__(self, key: jax.Array, images: jax.Array) -> jax.Array:
        """Draws and applies; `key` is one key, or one for each image [B]."""
        keys = image_keys(key, images.shape[0])
        height, width = images.shape[1:3]
        return self.apply(images, jax.vmap(lambda k: self.draw(k, height, width))(keys))

    def draw(self, key: jax.Array, height: int, width: int) -> MixDraws:
        """Draws what one image of a size gets."""
        chains_key, shares_key = jax.random.split(key)
        chains = self.policy.draw(chains_key, height, width)
        chains = Draws(*(values.reshape(self.width, -1) for values in chains))
        # Gamma variables over their sum are Dirichlet, two of them Beta.
        logs = jax.random.loggamma(shares_key, self.alpha, (self.width + 2,))
        weights = jax.nn.softmax(logs[: self.width])
        return MixDraws(chains, weights, jax.nn.sigmoid(logs[-1] - logs[-2]))

    def apply(self, images: jax.Array, draws: MixDraws) -> jax.Array:
        """Applies what was drawn, [B, ...], to uint8 images [B, H, W, C]."""
        width = draws.weights.shape[1]
        # All chains of an image side by side, so that the operations are compiled once.
        results = self.policy.apply(
            jnp.repeat(images, width, axis=0),
            Draws(*(values.reshape(-1, values.shape[-1]) for values in draws.chains)),
        ).reshape(-1, width, *images.shape[1:])
        results = jnp.moveaxis(results, 1, 0)  # [width, B, H, W, C]
        plain = images.astype(jnp.float32)
        weights, m = draws.weights[:, :, None, None, None], draws.m[:, None, None, None]
        if self.blend == "chain":
            shares = _shares_one_by_one(draws.weights * draws.m[:, None])
            mixed = plain
            for chain, result in enumerate(results):
                share = shares[:, chain, None, None, None]
                mixed = jnp.trunc(mixed + share * (result - mixed))
            return mixed.astype(jnp.uint8)
        mixture = jnp.zeros_like(plain)
        for chain, result in enumerate(results):
            mixture += weights[:, chain] * result
        if self.blend == "timm":
            mixture = jnp.trunc(jnp.clip(mixture, 0, 255))
            return (plain + m * (mixture - plain)).astype(jnp.uint8)
        mixed = (1 - m) * plain + m * mixture
        return mixed if self.blend == "authors" else mixed.astype(jnp.uint8)


def chains(count: int, width: int, depth: int, level: Levels) -> Callable[[jax.Array], Choice]:
    """Returns the `choose` of chains of operations, [width * depth] for one image.

    Args:
      count: number of operations in the space.
      width: number of chains.
      depth: operations in a chain; 0 or less: 1 to 3, drawn for each chain.
      level: from uniform draws to levels.
    """
    longest = depth if depth > 0 else MAX_DEPTH
    operations = of_random_operations(count, width * longest, level)

    def choose(key: jax.Array) -> Choice:
        choice = operations(key)
        if depth > 0:
            return choice
        depths = 1 + whole_number(
            jax.random.uniform(jax.random.fold_in(key, 1), (width, 1)), longest
        )
        applied = jnp.arange(longest)[None] < depths  # [width, longest]
        return choice._replace(applied=applied.reshape(-1))

    return choose


def _shares_one_by_one(weights: jax.Array) -> jax.Array:
    """The share of each chain [B, W] when they are blended into the image one after the other, so
    that they have the given weights at last."""
    shares, left = [], jnp.ones(weights.shape[0])
    for chain in reversed(range(weights.shape[1])):
        share = weights[:, chain] / left
        left *= 1 - share
        shares.insert(0, share)
    return jnp.stack(shares, axis=1)


_AUTHORS_ENHANCE = Scale(0.1, 1.8)
# Of each operation of the authors' code: its name in augment.OPS, and its argument by level.
AUTHORS_SCALES = {
    "autocontrast": ("autocontrast", Scale()),
    "equalize": ("equalize", Scale()),
    "posterize": ("posterize", Scale(4, -4, whole=True, low=0)),
    "rotate": ("rotate", Scale(span=30, whole=True, signed=True)),
    "solarize": ("solarize", Scale(256, -256, whole=True, low=0)),
    "shear_x": ("shear_x", Scale(span=0.3, signed=True)),
    "shear_y": ("shear_y", Scale(span=0.3, signed=True)),
    "translate_x": ("translate_x", None),  # a third of the width at level 10
    "translate_y": ("translate_y", None),
    "color": ("saturation", _AUTHORS_ENHANCE),
    "contrast": ("contrast", _AUTHORS_ENHANCE),
    "brightness": ("brightness", _AUTHORS_ENHANCE),
    "sharpness": ("sharpness", _AUTHORS_ENHANCE),
}
_WITHOUT_ALL_OPS = tuple(AUTHORS_SCALES)[:9]


def authors_argument(name: str, setting: Setting) -> jax.Array:
    """Returns the argument of an operation of the authors' code at a level."""
    scale = AUTHORS_SCALES[name][1]
    if scale is None:
        length = setting.width if name == "translate_x" else setting.height
        scale = Scale(span=length / 3, whole=True, signed=True)
    return scale(setting.level, setting.sign)


def augmix_authors(
    severity: float = 3,
    mixture_width: int = 3,
    mixture_depth: int = -1,
    alpha: float = 1.0,
    all_ops: bool = False,
    *,
    interpolation: str = "bilinear",
    fill: float | tuple[float, ...] | None = None,
    backend: str = "pillow",
) -> AugMix:
    """Returns AugMix as in the repository of its authors.

    Args:
      severity: each operation draws its level uniformly from 0.1 to this: 3 for CIFAR, 1 for
        ImageNet.
      mixture_width: number of chains.
      mixture_depth: operations in a chain; -1: 1 to 3.
      alpha: parameter of both distributions.
      all_ops: also colour, contrast, brightness and sharpness, which overlap with ImageNet-C.
      interpolation, fill, backend: see `Policy`.

    Returns:
      What gives float32 images, which are not rounded.
    """
    names = tuple(AUTHORS_SCALES) if all_ops else _WITHOUT_ALL_OPS
    space = tuple(
        Operation(name, AUTHORS_SCALES[name][0], functools.partial(authors_argument, name))
        for name in names
    )

    def level(uniform: jax.Array) -> jax.Array:
        return 0.1 + (severity - 0.1) * uniform

    choose = chains(len(space), mixture_width, mixture_depth, level)
    policy = Policy(space, choose, fill, interpolation, backend)
    return AugMix(policy, mixture_width, alpha, blend="authors")
