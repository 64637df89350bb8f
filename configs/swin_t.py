"""Swin on ImageNet, the authors' recipe (Liu et al. 2021, appendix A2.1), and torchvision's.

AdamW, batch 1024, learning rate 1e-3 (5e-4 for each 512 images) with 20 epochs of warm-up from 1e-6
and a cosine to 1e-5 over 300 epochs, weight decay 0.05 (not on what has one axis and the tables of
relative positions), gradients clipped at norm 5, drop path 0.2 (T), 0.3 (S), 0.5 (B), label
smoothing 0.1; DeiT's augmentation without repeats; no average of the weights. :torchvision:
TrivialAugment, an average of the weights.

Command   python -m train --config=configs/swin_t.py --config.data.dir=... --workdir=...
Paper     Swin Transformer, arXiv:2103.14030, Table 1; microsoft/Swin-Transformer
Hardware  authors: 8 GPUs x 128 images
Published 81.2 top-1, 95.5 top-5
          :s 83.2 top-1, 96.2 top-5
          :b 83.5 top-1, 96.5 top-5
          :torchvision 81.474 top-1
Ours      not yet run
"""

from ml_collections import ConfigDict

from configs import base, deit_s

VARIANTS = {"t": 0.2, "s": 0.3, "b": 0.5, "torchvision": 0.2}


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe of a variant, see above; with "smoke" a few steps of it on tiny data."""
    variant, arg = base.variant(arg, VARIANTS)
    config = deit_s.get_config()
    config.model.name = f"swin_{'t' if variant == 'torchvision' else variant}"
    config.model.options = ConfigDict({"dropout": 0.0, "drop_path": VARIANTS[variant]})
    config.augment.repeats = 1
    config.mix.group = 128
    config.optimizer.weight_decay_exclude = "bias_table$"
    config.optimizer.clip_norm = 5.0
    config.schedule.per = "step"
    config.schedule.convention = ""  # since today's code: the cosine begins after the warm-up
    config.schedule.warmup = "20 epochs"
    config.schedule.start = 5e-7 * 1024 / 512
    config.schedule.end = 5e-6 * 1024 / 512
    config.ema.decay = 0.0
    config.eval.crop = 224 / 256
    if variant == "torchvision":
        config.augment.policy = "trivial_augment_wide"
        config.augment.erasing_mode = "constant"
        config.augment.repeats = 4
        config.mix.convention = "torchvision"
        config.schedule.per = "epoch"
        config.schedule.start = 0.01 * 1e-3
        config.ema.decay = 1 - 2e-5 * 1024 * 32 / 300  # 0.99998, for each of 300 epochs
        config.ema.convention = "torchvision"
        config.ema.every = "32 steps"
        config.ema.start = "20 epochs"
        config.eval.crop = 224 / 232
    return base.finish(config, arg)
