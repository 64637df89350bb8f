"""DeiT on ImageNet, the authors' recipe (Touvron et al. 2020, Table 9), and DeiT III's.

AdamW, batch 1024, learning rate 1e-3 (5e-4 for each 512 images) with 5 epochs of warm-up and a
cosine to 1e-5 over 300 epochs, set once per epoch and one epoch late; weight decay 0.05 (not on
what has one axis, positions and tokens), drop path 0.1 growing linearly from 0, label smoothing
0.1; crops (bicubic), flips, RandAugment (m9, std 0.5, increasing), erasing 0.25, mixup 0.8 or
cutmix 1.0 on every batch, each image three times in an epoch's order. The 10 cool-down epochs of
timm's schedule are never reached: the authors' loop ends after 300. A moving average of 0.99996 is
tracked; the published figures seem to be those of the plain weights.

:ti and :b are other sizes. :distilled is taught by RegNetY-16GF, whose decision counts half (its
weights are a key: config.distillation.teacher). :iii is DeiT III's recipe for S (Touvron et al.
2022): LAMB, 800 epochs, binary cross entropy, 3-Augment with colour jitter, no erasing, evaluation
on whole images.

Differs: DeiT III's networks have LayerScale, which `deit_s` has not.

Command   python -m train --config=configs/deit_s.py:iii --config.data.dir=... --workdir=...
Paper     Training data-efficient image transformers, arXiv:2012.12877, Table 7;
          DeiT III, arXiv:2204.07118, Table 3; facebookresearch/deit
Hardware  authors: one node of 4 GPUs x 256 images; DeiT III: 8 GPUs x 256
Published 79.854 top-1, 94.968 top-5
          :ti 72.202 top-1, 91.124 top-5
          :b 81.846 top-1, 95.594 top-5
          :distilled 81.164 top-1
          :iii 81.4 top-1
Ours      not yet run
"""

from ml_collections import ConfigDict

from configs import base

VARIANTS = {
    "s": "deit_s",
    "ti": "deit_ti",
    "b": "deit_b",
    "distilled": "deit_s_distilled",
    "iii": "deit_s",
}


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe of a variant, see above; with "smoke" a few steps of it on tiny data."""
    variant, arg = base.variant(arg, VARIANTS)
    config = base.get_config()
    config.model.name = VARIANTS[variant]
    config.model.options = ConfigDict({"dropout": 0.0, "drop_path": 0.1})
    config.data.name = "imagenet2012"
    config.batch_size = 1024
    config.duration = "300 epochs"
    config.augment.crop = "random_resized"
    config.augment.area = (0.08, 1.0)
    config.augment.ratio = (3 / 4, 4 / 3)
    config.augment.interpolation = "bicubic"
    config.augment.flip = True
    config.augment.policy = "rand-m9-mstd0.5-inc1"
    config.augment.erasing = 0.25
    config.augment.erasing_mode = "pixel"
    config.augment.erasing_count = 1
    config.augment.repeats = 3
    config.mix.mixup = 0.8
    config.mix.cutmix = 1.0
    config.mix.switch_probability = 0.5
    config.mix.probability = 1.0
    config.mix.mode = "batch"
    config.mix.convention = "deit"
    config.mix.group = 256
    config.loss.label_smoothing = 0.1
    config.optimizer.name = "adamw"
    config.optimizer.options = ConfigDict({"b1": 0.9, "b2": 0.999, "eps": 1e-8})
    config.optimizer.weight_decay = 0.05
    config.optimizer.weight_decay_exclude = "(pos_embed|_token)$"
    config.optimizer.weight_decay_exclude_1d = True
    config.optimizer.clip_norm = 0.0
    config.schedule.name = "cosine"
    config.schedule.learning_rate = 5e-4 * 1024 / 512
    config.schedule.per = "epoch"
    config.schedule.convention = "deit"
    config.schedule.warmup = "5 epochs"
    config.schedule.start = 1e-6
    config.schedule.end = 1e-5
    config.ema.decay = 0.99996
    config.ema.convention = "timm"
    config.eval.crop = 0.875
    config.eval.interpolation = "bicubic"
    if variant == "distilled":
        config.distillation.kind = "hard"
        config.distillation.alpha = 0.5
        config.distillation.temperature = 1.0
    if variant == "iii":
        config.model.options = ConfigDict({"dropout": 0.0, "drop_path": 0.05})
        config.batch_size = 2048
        config.duration = "800 epochs"
        config.augment.policy = "three_augment"
        config.augment.color_jitter = (0.3, 0.3, 0.3, 0.0)
        config.augment.erasing = 0.0
        config.loss.name = "bce"
        config.loss.options = ConfigDict({"threshold": 0.0})
        config.loss.label_smoothing = 0.0
        config.optimizer.name = "lamb"
        config.optimizer.options = ConfigDict({"b1": 0.9, "b2": 0.999, "eps": 1e-8})
        config.optimizer.clip_norm = 1.0  # ? the default of apex' LAMB
        config.schedule.learning_rate = 4e-3
        config.eval.crop = 1.0
    return base.finish(config, arg)
