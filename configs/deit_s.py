"""DeiT-S on ImageNet, the authors' recipe without distillation (Touvron et al. 2020, Table 9).

AdamW, batch 1024, learning rate 1e-3 with 5 epochs of warm-up and a cosine to 1e-5 over 300 epochs,
weight decay 0.05 (not on biases, norms, positions and class token), drop path 0.1, label smoothing
0.1, RandomResizedCrop (bicubic) and flip.

Not implemented yet, but part of the published recipe: RandAugment (m9, std 0.5, increasing), random
erasing 0.25, mixup 0.8 alternating with cutmix 1.0, repeated augmentation (3), 10 cool-down epochs
at 1e-5.

Command   python -m train --config=configs/deit_s.py --config.data.dir=... --workdir=...
Hardware  authors: one node of 4 to 8 GPUs
Published 79.854 top-1, 94.968 top-5 (facebookresearch/deit)
Ours      not yet run
"""

from ml_collections import ConfigDict

from configs import base


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe, or a few steps of it on tiny data if `arg` is "smoke"."""
    config = base.get_config()
    config.model.name = "deit_s"
    config.model.options = ConfigDict({"drop_path": 0.1})
    config.data.name = "imagenet2012"
    config.batch_size = 1024
    config.duration = "300 epochs"
    config.augment.crop = "random_resized"
    config.augment.interpolation = "bicubic"
    config.augment.flip = True
    config.loss.label_smoothing = 0.1
    config.optimizer.name = "adamw"
    config.optimizer.options = ConfigDict({"b1": 0.9, "b2": 0.999, "eps": 1e-8})
    config.optimizer.weight_decay = 0.05
    config.optimizer.weight_decay_exclude = r"(bias|scale|pos_embed|class_token)$"
    config.schedule.name = "cosine"
    config.schedule.learning_rate = 0.001
    config.schedule.warmup = "5 epochs"
    config.schedule.start = 1e-06
    config.schedule.end = 1e-05
    config.eval.interpolation = "bicubic"
    return base.finish(config, arg)
