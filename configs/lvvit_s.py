"""LV-ViT on ImageNet, the authors' recipe (Jiang et al. 2021, section 4.1).

AdamW, batch 1024, learning rate 1.6e-3 with 5 epochs of warm-up and a cosine to 1e-5 over 310
epochs (10 of them at the end of it), weight decay 0.05, drop path 0.1 (T, S), 0.2 (M); crops of
drawn interpolation, flips, RandAugment (m9, std 0.5, increasing), erasing 0.25; an average of
0.99992.

Differs: the authors also teach every token (token labelling, weight 1.0) by maps of labels that an
NFNet-F6 made, which are cropped with the image, and paste boxes of tokens (MixToken). The loss is
here ("token_labelling"), and the maps are not: without them the figures are those of a cross
entropy, and lower.

Command   python -m train --config=configs/lvvit_s.py --config.data.dir=... --workdir=...
Paper     All Tokens Matter, arXiv:2104.10858, Table 5; zihangJiang/TokenLabeling
Hardware  authors: 8 GPUs x 128 images
Published 83.3 top-1
          :t 79.1 top-1
          :m 84.0 top-1
Ours      not yet run
"""

from ml_collections import ConfigDict

from configs import base, deit_s

VARIANTS = {"s": 0.1, "t": 0.1, "m": 0.2}


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe of a variant, see above; with "smoke" a few steps of it on tiny data."""
    variant, arg = base.variant(arg, VARIANTS)
    config = deit_s.get_config()
    config.model.name = f"lvvit_{variant}"
    config.model.options = ConfigDict({"dropout": 0.0, "drop_path": VARIANTS[variant]})
    config.duration = "310 epochs"
    config.augment.interpolation = "random"
    config.augment.repeats = 1
    config.mix.mixup = config.mix.cutmix = 0.0
    config.schedule.learning_rate = 1.6e-3
    config.schedule.convention = "timm"
    config.schedule.cooldown = "10 epochs"
    config.ema.decay = 0.99992
    config.eval.crop = 1.0 if variant == "m" else 0.9
    return base.finish(config, arg)
