"""NesT on ImageNet, the authors' recipe (Zhang et al. 2021, section 4).

AdamW, batch 1024, learning rate 1e-3 (2.5e-4 for each 256 images) with 20 epochs of warm-up and a
cosine to 0 over 300 epochs, weight decay 0.05 (not on positions), drop path 0.2 (T), 0.3 (S), 0.5
(B), label smoothing 0.1; crops of 5 to 100 % of the area, flips, RandAugment (2 operations,
magnitude 9, std 0.5, each with probability 0.5), SimCLR's colours of strength 0.3, erasing 0.25,
mixup 0.8 or cutmix 1.0 with a share of its own for each image.

Differs: RandAugment's operations are timm's; mixup or cutmix is drawn for an image, not for the
batch, and their shares by Beta distributions, of which the authors have an approximation.

Command   python -m train --config=configs/nest_tiny.py --config.data.dir=... --workdir=...
Paper     Nested Hierarchical Transformer, arXiv:2105.12723, Table 2;
          google-research/nested-transformer
Hardware  authors: TPU, 1024 images in all
Published 81.5 top-1
          :small 83.3 top-1
          :base 83.8 top-1
Ours      not yet run
"""

import functools
from typing import Any

from ml_collections import ConfigDict

from configs import base, deit_s

VARIANTS = {"tiny": 0.2, "small": 0.3, "base": 0.5}


def simclr_colors(key: Any, images: Any) -> Any:
    """Brightness, contrast, saturation and hue of 80 % of the images change, 20 % become grey."""
    from input_pipeline import augment

    strengths: dict[str, Any] = dict(brightness=0.24, contrast=0.24, saturation=0.24, hue=0.06)
    jitter = augment.random_apply(functools.partial(augment.color_jitter, **strengths), 0.8)
    gray = functools.partial(augment.random_grayscale, p=0.2)
    return augment.compose(jitter, gray)(key, images)


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe of a variant, see above; with "smoke" a few steps of it on tiny data."""
    variant, arg = base.variant(arg, VARIANTS)
    config = deit_s.get_config()
    config.model.name = f"nest_{variant}"
    config.model.options = ConfigDict({"dropout": 0.0, "drop_path": VARIANTS[variant]})
    config.augment.area = (0.05, 1.0)
    config.augment.interpolation = "bilinear"
    config.augment.policy = "rand-m9-mstd0.5-p0.5"
    config.augment.operations = (simclr_colors,)
    config.augment.repeats = 1
    config.mix.convention = "timm"
    config.mix.mode = "elem"
    config.mix.group = 0
    config.optimizer.weight_decay_exclude = "pos_embed$"
    config.optimizer.weight_decay_exclude_1d = False
    config.schedule.learning_rate = 2.5e-4 * 1024 / 256
    config.schedule.per = "step"
    config.schedule.convention = ""
    config.schedule.warmup = "20 epochs"
    config.schedule.start = 0.0
    config.schedule.end = 0.0
    config.ema.decay = 0.0
    config.eval.crop = 224 / 256
    config.eval.interpolation = "bilinear"
    return base.finish(config, arg)
