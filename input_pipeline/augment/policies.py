"""Augmentation policies by the names that recipes use.

| name                                          | policy                                          |
|-----------------------------------------------|-------------------------------------------------|
| autoaugment, autoaugment_cifar10, _svhn       | AutoAugment, torchvision's                      |
| randaugment                                   | RandAugment, torchvision's                      |
| trivial_augment_wide                          | TrivialAugment, torchvision's                   |
| augmix                                        | AugMix, torchvision's                           |
| augmix_authors                                | AugMix, as in the repository of its authors     |
| three_augment                                 | 3-Augment of DeiT III (with `color_jitter` 0.3) |
| tf_randaugment, tf_autoaugment                | as in TensorFlow's EfficientNet and in AugReg   |
| rand-m9-mstd0.5-inc1, original, v0, augmix-m3 | timm's strings, see `timm_policies`             |
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from input_pipeline.augment.augmix import augmix_authors
from input_pipeline.augment.policy import (
    Operation,
    Policy,
    Setting,
    constant,
    of_random_operations,
)
from input_pipeline.augment.tensorflow_policies import tf_auto_augment, tf_rand_augment
from input_pipeline.augment.timm_policies import is_timm, timm_policy
from input_pipeline.augment.torchvision_policies import (
    aug_mix,
    auto_augment,
    rand_augment,
    trivial_augment_wide,
)

Transform = Callable[[jax.Array, jax.Array], jax.Array]


def three_augment() -> Policy:
    """Returns 3-Augment: each image is made grey, solarized at 128, or blurred.

    The blur is Pillow's, of a radius uniform in [0.1, 2]. The colour jitter that follows in DeiT
    III is a key of its own.

    Source: Touvron et al. 2022; facebookresearch/deit `augment.py`.
    """

    def radius(setting: Setting) -> jax.typing.ArrayLike:
        return 0.1 + 1.9 * jnp.asarray(setting.uniform)

    space = (
        Operation("grayscale", "grayscale", lambda setting: 0.0),
        Operation("solarize", "solarize", lambda setting: 128.0),
        Operation("gaussian_blur", "gaussian_blur", radius),
    )
    choose = of_random_operations(len(space), 1, constant(0.0))
    return Policy(space, choose, backend="pillow")


POLICIES: dict[str, Callable[..., Transform]] = {
    "autoaugment": functools.partial(auto_augment, "imagenet"),
    "autoaugment_cifar10": functools.partial(auto_augment, "cifar10"),
    "autoaugment_svhn": functools.partial(auto_augment, "svhn"),
    "randaugment": rand_augment,
    "trivial_augment_wide": trivial_augment_wide,
    "augmix": aug_mix,
    "augmix_authors": augmix_authors,
    "three_augment": three_augment,
    "tf_randaugment": tf_rand_augment,
    "tf_autoaugment": tf_auto_augment,
}
_FROM_TORCHVISION = (*tuple(POLICIES)[:6],)


def make_policy(
    name: str,
    *,
    interpolation: str = "bilinear",
    mean: Sequence[float] = (0.485, 0.456, 0.406),
    **options: Any,
) -> Transform:
    """Returns a policy: (key, uint8 images [B, H, W, C]) -> images.

    Args:
      name: see the table above.
      interpolation: of the training crop, which the geometric operations of torchvision's and
        timm's policies take too. torchvision knows "bicubic" with Pillow only, so that it implies
        `backend="pillow"`.
      mean: of normalization, one value in [0, 1] per channel: timm's colour outside of the image.
      options: arguments of the policy's function, such as `magnitude`, `interpolation` or `fill`.

    Raises:
      ValueError: there is no such policy, or an option has a value that cannot be.
      TypeError: the policy has no such option.

    Example:
      >>> policy = make_policy("rand-m9-mstd0.5-inc1", interpolation="bicubic")
      >>> policy(jax.random.key(0), jnp.zeros((2, 32, 32, 3), jnp.uint8)).shape
      (2, 32, 32, 3)
    """
    if is_timm(name):
        fill = tuple(float(min(255, round(255 * value))) for value in mean)
        return timm_policy(name, **{"interpolation": interpolation, "fill": fill} | options)
    if name not in POLICIES:
        raise ValueError(
            f"there is no policy {name!r}; choose one of {', '.join(POLICIES)}, or one of timm's, "
            'such as "rand-m9-mstd0.5-inc1"'
        )
    if name in _FROM_TORCHVISION:
        options = {"interpolation": interpolation} | options
        if options["interpolation"] in ("bicubic", "random"):
            options = {"backend": "pillow"} | options
    return POLICIES[name](**options)
