"""ResT on ImageNet, the authors' recipe (Zhang & Yang 2021, section 4.1).

DeiT's without an average of the weights: AdamW, batch 2048 (:large 1920), learning rate 5e-4 for
each 512 images with 5 epochs of warm-up from 1e-6 and a cosine to 1e-5, both for each 512 images
too, over 300 epochs, weight decay 0.05, gradients clipped at norm 5; drop path 0.1 (Lite, S), 0.2
(B), 0.3 (L). (The repository's later program, of ResT v2, has other values.)

Command   python -m train --config=configs/rest_small.py --config.data.dir=... --workdir=...
Paper     ResT, arXiv:2105.13677, Table 2; wofmanaf/ResT
Hardware  authors: 8 GPUs x 256 images
Published 79.6 top-1, 94.9 top-5
          :lite 77.2 top-1, 93.7 top-5
          :base 81.6 top-1, 95.7 top-5
          :large 83.6 top-1, 96.3 top-5
Ours      not yet run
"""

from ml_collections import ConfigDict

from configs import base, deit_s

VARIANTS = {"small": 0.1, "lite": 0.1, "base": 0.2, "large": 0.3}


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe of a variant, see above; with "smoke" a few steps of it on tiny data."""
    variant, arg = base.variant(arg, VARIANTS)
    config = deit_s.get_config()
    config.model.name = f"rest_{variant}"
    config.model.options = ConfigDict({"dropout": 0.0, "drop_path": VARIANTS[variant]})
    config.batch_size = 1920 if variant == "large" else 2048
    config.mix.group = config.batch_size // 8
    config.optimizer.weight_decay_exclude = ""
    config.optimizer.clip_norm = 5.0
    config.schedule.learning_rate = 5e-4 * config.batch_size / 512
    config.schedule.start = 1e-6 * config.batch_size / 512
    config.schedule.end = 1e-5 * config.batch_size / 512
    config.ema.decay = 0.0
    config.eval.crop = 224 / 256
    return base.finish(config, arg)
