"""PVT v2 on ImageNet, the authors' recipe (Wang et al. 2021, section 4.1).

DeiT's, batch 1024, without an average of the weights; drop path 0.1 (B0 to B2), or 0.3 with
gradients clipped at norm 1 (B3 to B5).

Command   python -m train --config=configs/pvt_v2_b2.py --config.data.dir=... --workdir=...
Paper     PVT v2, arXiv:2106.13797, Table 2; whai362/PVT
Hardware  authors: 8 GPUs x 128 images
Published 82.0 top-1
          :b0 70.5 top-1
          :b1 78.7 top-1
          :b2_li 82.1 top-1
          :b3 83.1 top-1
          :b4 83.6 top-1
          :b5 83.8 top-1
Ours      not yet run
"""

from ml_collections import ConfigDict

from configs import base, deit_s

VARIANTS = ("b2", "b0", "b1", "b2_li", "b3", "b4", "b5")


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe of a variant, see above; with "smoke" a few steps of it on tiny data."""
    variant, arg = base.variant(arg, VARIANTS)
    config = deit_s.get_config()
    config.model.name = f"pvt_v2_{variant}"
    large = variant in ("b3", "b4", "b5")
    config.model.options = ConfigDict({"dropout": 0.0, "drop_path": 0.3 if large else 0.1})
    config.mix.group = 128
    config.optimizer.weight_decay_exclude = ""
    config.optimizer.clip_norm = 1.0 if large else 0.0
    config.ema.decay = 0.0
    config.eval.crop = 224 / 256
    return base.finish(config, arg)
