"""NesT on ImageNet, the authors' recipe (Zhang et al. 2021, section 4).

AdamW, batch 1024, learning rate 1e-3 (2.5e-4 for each 256 images) with 20 epochs of warm-up and a
cosine over 300 epochs, weight decay 0.05 (not on positions), drop path 0.2 (T), 0.3 (S), 0.5 (B),
label smoothing 0.1; crops, flips, RandAugment (2 operations, magnitude 9, std 0.5, each with
probability 0.5), colour jitter 0.3, erasing 0.25, mixup 0.8 or cutmix 1.0.

Differs: the colour jitter is torchvision's, not SimCLR's.

Command   python -m train --config=configs/nest_tiny.py --config.data.dir=... --workdir=...
Paper     Nested Hierarchical Transformer, arXiv:2105.12723, Table 2;
          google-research/nested-transformer
Hardware  authors: TPU
Published 81.5 top-1
          :small 83.3 top-1
          :base 83.8 top-1
Ours      not yet run
"""

from ml_collections import ConfigDict

from configs import base, deit_s

VARIANTS = {"tiny": 0.2, "small": 0.3, "base": 0.5}


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe of a variant, see above; with "smoke" a few steps of it on tiny data."""
    variant, arg = base.variant(arg, VARIANTS)
    config = deit_s.get_config()
    config.model.name = f"nest_{variant}"
    config.model.options = ConfigDict({"dropout": 0.0, "drop_path": VARIANTS[variant]})
    config.augment.policy = "rand-m9-mstd0.5-p0.5"
    config.augment.repeats = 1
    config.mix.convention = "timm"
    config.mix.group = 0
    config.optimizer.weight_decay_exclude = "pos_embed$"
    config.optimizer.weight_decay_exclude_1d = False
    config.schedule.learning_rate = 2.5e-4 * 1024 / 256
    config.schedule.per = "step"
    config.schedule.convention = ""
    config.schedule.warmup = "20 epochs"
    config.schedule.start = 0.0  # ?
    config.schedule.end = 0.0  # ?
    config.ema.decay = 0.0  # ?
    config.eval.crop = 224 / 256
    return base.finish(config, arg)
