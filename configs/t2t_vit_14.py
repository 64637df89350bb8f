"""T2T-ViT on ImageNet, the authors' recipe (Yuan et al. 2021, section 4.1).

AdamW, batch 512, learning rate 5e-4 (8 GPUs; 1e-3 for :7) with 10 epochs of warm-up and a cosine
over 310 epochs, the last 10 at its end; weight decay 0.05 (14), 0.03 (7), 0.065 (19, 24), drop path
0.1, label smoothing 0.1; crops of drawn interpolation, RandAugment, erasing 0.25, mixup 0.8 or
cutmix 1.0; an average of 0.99996. :t_14 has a transformer in its tokens, the others performers.

Differs: the authors' program (timm's) mixes the images before it erases.

Command   python -m train --config=configs/t2t_vit_14.py --config.data.dir=... --workdir=...
Paper     Tokens-to-Token ViT, arXiv:2101.11986, Table 2; yitu-opensource/T2T-ViT
Hardware  authors: 8 GPUs x 64 images
Published 81.5 top-1
          :7 71.7 top-1
          :19 81.9 top-1
          :24 82.3 top-1
          :t_14 81.7 top-1
Ours      not yet run
"""

from ml_collections import ConfigDict

from configs import base, deit_s

VARIANTS = {  # weight decay, learning rate
    "14": (0.05, 5e-4),
    "7": (0.03, 1e-3),
    "19": (0.065, 5e-4),
    "24": (0.065, 5e-4),
    "t_14": (0.05, 5e-4),
}


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe of a variant, see above; with "smoke" a few steps of it on tiny data."""
    variant, arg = base.variant(arg, VARIANTS)
    config = deit_s.get_config()
    config.model.name = f"t2t_vit_{variant}"
    config.model.options = ConfigDict({"dropout": 0.0, "drop_path": 0.1})
    config.batch_size = 512
    config.duration = "310 epochs"
    config.augment.interpolation = "random"
    config.augment.repeats = 1
    config.mix.group = 64
    config.optimizer.weight_decay, config.schedule.learning_rate = VARIANTS[variant]
    config.optimizer.weight_decay_exclude = "(_token|pos_embed|random_vectors)$"  # two are fixed
    config.schedule.convention = "timm"
    config.schedule.warmup = "10 epochs"
    config.schedule.cooldown = "10 epochs"
    config.ema.decay = 0.99996
    config.eval.crop = 0.9
    return base.finish(config, arg)
