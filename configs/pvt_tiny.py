"""PVT on ImageNet, the authors' recipe (Wang et al. 2021, section 5.1).

DeiT's, batch 1024, without an average of the weights; drop path 0.1 (T, S), or 0.3 with gradients
clipped at norm 1 (M, L). Positions decay, the class token does not.

Command   python -m train --config=configs/pvt_tiny.py --config.data.dir=... --workdir=...
Paper     Pyramid Vision Transformer, arXiv:2102.12122, Table 2; whai362/PVT
Hardware  authors: 8 GPUs x 128 images
Published 75.1 top-1
          :small 79.764 top-1, 94.950 top-5
          :medium 81.2 top-1
          :large 81.7 top-1
Ours      not yet run
"""

from ml_collections import ConfigDict

from configs import base, deit_s

VARIANTS = ("tiny", "small", "medium", "large")


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe of a variant, see above; with "smoke" a few steps of it on tiny data."""
    variant, arg = base.variant(arg, VARIANTS)
    config = deit_s.get_config()
    config.model.name = f"pvt_{variant}"
    large = variant in ("medium", "large")
    config.model.options = ConfigDict({"dropout": 0.0, "drop_path": 0.3 if large else 0.1})
    config.mix.group = 128
    config.optimizer.weight_decay_exclude = "_token$"
    config.optimizer.clip_norm = 1.0 if large else 0.0
    config.ema.decay = 0.0
    config.eval.crop = 224 / 256
    return base.finish(config, arg)
