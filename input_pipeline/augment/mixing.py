"""Mixup and cutmix: each image of a batch is mixed with a partner, and so are their targets.

Mixup blends two images, cutmix puts a box of the partner into the image. Three conventions:

| convention    | partner            | a box that is cut                  | label smoothing       |
|---------------|--------------------|------------------------------------|-----------------------|
| "timm"        | the reversed batch | int(H sqrt(1 - lambda)) rows       | before mixing         |
| "deit"        | the reversed batch | 2 int(H sqrt(1 - lambda) / 2) rows | before mixing         |
| "torchvision" | the previous image | 2 int(H sqrt(1 - lambda) / 2) rows | in the loss, after it |

"deit" is what DeiT was trained with, and all others whose programs have a timm before 1.0.29.
"Batch" is what one device of those programs mixed: here a group of consecutive images. Partners
come from one group, and what is drawn for the whole "batch" is drawn for each group, so the number
of devices and hosts changes nothing.

Images are mixed as they go into the model, after normalization and random erasing.

Sources: Zhang et al. 2018 (mixup), Yun et al. 2019 (cutmix); timm 1.0.31 `data/mixup.py`,
torchvision 0.29 `transforms.v2.MixUp` and `CutMix`.
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp

from input_pipeline.augment.draws import symmetric_beta, whole_number

CONVENTIONS = ("timm", "deit", "torchvision")
MODES = ("batch", "pair", "elem")


class Draws(NamedTuple):
    """What is drawn for each image of a batch.

    Attributes:
      lam: float [B], the image's own share in [0, 1]; 1 leaves the image as it is.
      cutmix: bool [B], whether a box is cut from the partner; otherwise both are blended.
      boxes: int [B, 4], top, bottom, left and right of that box in pixels.
    """

    lam: jax.Array
    cutmix: jax.Array
    boxes: jax.Array


@dataclass(frozen=True)
class Mixing:
    """Mixup and cutmix of a recipe: (key, images, labels) -> mixed images and targets.

    Attributes:
      num_classes: K of the targets.
      mixup, cutmix: parameter alpha of the distribution Beta(alpha, alpha) of lambda; 0 for none.
      switch_probability: probability of cutmix where both are given.
      probability: probability that there is any mixing.
      mode: whether lambda is drawn for each "batch" (group), "pair" of partners or "elem"ent.
      convention: one of `CONVENTIONS`.
      group: number of consecutive images that are mixed with each other; 0 for all of the batch.
      smoothing: label smoothing, before mixing.

    Example:
      >>> mixing = Mixing(num_classes=10, mixup=0.8, cutmix=1.0)
      >>> images, targets = mixing(jax.random.key(0), jnp.zeros((8, 32, 32, 3)), jnp.arange(8))
      >>> targets.shape
      (8, 10)
    """

    num_classes: int
    mixup: float = 0.0
    cutmix: float = 0.0
    switch_probability: float = 0.5
    probability: float = 1.0
    mode: str = "batch"
    convention: str = "timm"
    group: int = 0
    smoothing: float = 0.0

    def __post_init__(self) -> None:
        if self.convention not in CONVENTIONS or self.mode not in MODES:
            raise ValueError(
                f"convention={self.convention!r}, mode={self.mode!r}: choose one of "
                f"{', '.join(CONVENTIONS)}, and one of {', '.join(MODES)}"
            )
        if self.mode == "pair" and (self.group % 2 or self.convention == "torchvision"):
            raise ValueError(
                "pairs are images that are each other's partners: they need a group of an even "
                "number of images, and a convention with a reversed batch"
            )

    def __call__(
        self, key: jax.Array, images: jax.Array, labels: jax.Array, on: jax.typing.ArrayLike = True
    ) -> tuple[jax.Array, jax.Array]:
        """Mixes a batch.

        Args:
          key: a PRNG key.
          images: float [B, H, W, C].
          labels: int [B].
          on: bool [], False to mix nothing; targets are made all the same.

        Returns:
          Images [B, H, W, C] of the same dtype, and targets float32 [B, K].
        """
        batch, height, width, _ = images.shape
        draws = self.draw(key, batch, (height, width))
        draws = draws._replace(lam=jnp.where(on, draws.lam, 1), cutmix=draws.cutmix & on)
        targets = one_hot_targets(labels, self.num_classes, self.smoothing)
        return mix(images, targets, draws, convention=self.convention, group=self.group)

    def draw(self, key: jax.Array, batch: int, image_size: tuple[int, int]) -> Draws:
        """Draws for each image of a batch of `batch` images of (height, width) `image_size`."""
        group = _group(batch, self.group)
        if self.mode == "pair" and group % 2:
            raise ValueError(f"{group} images do not divide into pairs")
        count = {"batch": 1, "pair": group // 2, "elem": group}[self.mode]  # draws of a group
        shape = (batch // group, count)
        uniform_key, beta_key = jax.random.split(key)
        of_kind, of_any, of_y, of_x = jax.random.uniform(uniform_key, (4, *shape))
        only = self.cutmix and not self.mixup
        share = 1.0 if only else self.switch_probability if self.cutmix else 0.0
        cutmix = of_kind < share
        lam = symmetric_beta(beta_key, jnp.where(cutmix, self.cutmix or 1.0, self.mixup or 1.0))
        lam = jnp.where(of_any < self.probability, lam, 1)
        height, width = image_size
        centre_y, centre_x = whole_number(of_y, height), whole_number(of_x, width)
        boxes = cutmix_box(height, width, lam, centre_y, centre_x, self.convention)
        return jax.tree.map(self._for_each_image(group), Draws(lam, cutmix, boxes))

    def _for_each_image(self, group: int):
        """The function from the draws of groups [G, count, ...] to those of images [B, ...]."""

        def spread(values: jax.Array) -> jax.Array:
            if self.mode == "batch":
                values = jnp.repeat(values, group, axis=1)
            if self.mode == "pair":
                values = jnp.concatenate([values, values[:, ::-1]], axis=1)
            return values.reshape(-1, *values.shape[2:])

        return spread


def mix(
    images: jax.Array,
    targets: jax.Array,
    draws: Draws,
    *,
    convention: str = "timm",
    group: int = 0,
    correct_lam: bool = True,
) -> tuple[jax.Array, jax.Array]:
    """Mixes images and targets with those of their partners, as drawn.

    Args:
      images: float [B, H, W, C].
      targets: float [B, K].
      draws: from `Mixing.draw`.
      convention, group: see `Mixing`; they say who the partners are.
      correct_lam: whether a target's share is the share of pixels that a box leaves, as in timm and
        torchvision; otherwise it is lambda.

    Returns:
      Mixed images, of the same dtype, and targets, float32.
    """
    others = partners(images, convention=convention, group=group)
    height, width = images.shape[1:3]
    lam = _per_pixel(draws.lam.astype(jnp.float32))
    blended = images * lam + others * (1 - lam)
    cut = jnp.where(_inside(draws.boxes, height, width), others, images)
    mixed = jnp.where(_per_pixel(draws.cutmix), cut, blended)

    share = draws.lam
    if correct_lam:
        share = jnp.where(draws.cutmix, uncut_share(draws.boxes, height, width), share)
    share = share.astype(jnp.float32)[:, None]
    other_targets = partners(targets, convention=convention, group=group)
    return mixed.astype(images.dtype), targets * share + other_targets * (1 - share)


def partners(values: jax.Array, *, convention: str = "timm", group: int = 0) -> jax.Array:
    """Returns the partner of each element of a batch [B, ...]: of the reversed group, or the one
    before it in its group."""
    size = _group(values.shape[0], group)
    groups = values.reshape(-1, size, *values.shape[1:])
    groups = jnp.roll(groups, 1, axis=1) if convention == "torchvision" else groups[:, ::-1]
    return groups.reshape(values.shape)


def cutmix_box(
    height: int,
    width: int,
    lam: jax.Array,
    centre_y: jax.Array,
    centre_x: jax.Array,
    convention: str = "timm",
) -> jax.Array:
    """Returns the boxes of cutmix, int32 [..., 4]: top, bottom, left, right.

    Args:
      height, width: size of the images in pixels.
      lam: float [...], the share of the image that a box inside of it leaves.
      centre_y, centre_x: int [...], in [0, height) and [0, width); a box is cut at the border.
      convention: one of `CONVENTIONS`.
    """
    ratio = jnp.sqrt(1 - jnp.asarray(lam))

    def ends(length: int, centre: jax.Array) -> tuple[jax.Array, jax.Array]:
        cut = jnp.floor(length * ratio).astype(jnp.int32)
        longer = cut + 1 if convention == "timm" else cut  # of an odd number of pixels
        low, high = centre - cut // 2, centre + longer // 2
        return jnp.clip(low, 0, length), jnp.clip(high, 0, length)

    return jnp.stack([*ends(height, centre_y), *ends(width, centre_x)], axis=-1).astype(jnp.int32)


def uncut_share(boxes: jax.Array, height: int, width: int) -> jax.Array:
    """Returns the share of pixels that boxes [..., 4] leave of an image, float [...]."""
    top, bottom, left, right = jnp.moveaxis(boxes, -1, 0)
    return 1 - (bottom - top) * (right - left) / (height * width)


def one_hot_targets(labels: jax.Array, num_classes: int, smoothing: float = 0.0) -> jax.Array:
    """Returns the targets of labels int [B], float32 [B, K]: 1 - s + s / K and s / K elsewhere."""
    return jax.nn.one_hot(labels, num_classes) * (1 - smoothing) + smoothing / num_classes


def _group(batch: int, group: int) -> int:
    """The number of images in a group; 0 stands for all."""
    group = group or batch
    if batch % group:
        raise ValueError(f"a batch of {batch} images does not divide into groups of {group}")
    return group


def _inside(boxes: jax.Array, height: int, width: int) -> jax.Array:
    """Which pixels are inside of the boxes [B, 4]: bool [B, H, W, 1]."""
    top, bottom, left, right = (boxes[:, i, None] for i in range(4))
    rows, columns = jnp.arange(height)[None], jnp.arange(width)[None]
    in_rows = (rows >= top) & (rows < bottom)  # [B, H]
    in_columns = (columns >= left) & (columns < right)  # [B, W]
    return (in_rows[:, :, None] & in_columns[:, None])[..., None]


def _per_pixel(values: jax.Array) -> jax.Array:
    return values[:, None, None, None]
