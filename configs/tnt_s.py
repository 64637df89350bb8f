"""TNT on ImageNet, the authors' recipe (Han et al. 2021, section 4.1).

DeiT's by timm's training program: AdamW, batch 1024, learning rate 1e-3 with 5 epochs of warm-up
from 1e-6 and a cosine to 1e-5 over 310 epochs, the last 10 at its end, weight decay 0.05, drop path
0.1, an average of 0.99996, repeated augmentation, crops of drawn interpolation.

Differs: that program mixes the images before it erases.

Command   python -m train --config=configs/tnt_s.py --config.data.dir=... --workdir=...
Paper     Transformer in Transformer, arXiv:2103.00112, Table 3; huawei-noah/Efficient-AI-Backbones
Hardware  authors: 8 GPUs x 128 images
Published 81.5 top-1, 95.7 top-5
          :b 82.9 top-1, 96.3 top-5
Ours      not yet run
"""

from ml_collections import ConfigDict

from configs import base, deit_s

VARIANTS = ("s", "b")


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe of a variant, see above; with "smoke" a few steps of it on tiny data."""
    variant, arg = base.variant(arg, VARIANTS)
    config = deit_s.get_config()
    config.model.name = f"tnt_{variant}"
    config.model.options = ConfigDict({"dropout": 0.0, "drop_path": 0.1})
    config.duration = "310 epochs"
    config.augment.interpolation = "random"
    config.mix.group = 128
    config.schedule.convention = "timm"
    config.schedule.cooldown = "10 epochs"
    config.eval.crop = 0.9
    return base.finish(config, arg)
