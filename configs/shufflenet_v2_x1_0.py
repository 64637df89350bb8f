"""ShuffleNet v2 on ImageNet, the authors' recipe (Ma et al. 2018, section 4; ShuffleNet-Series).

As version 1: SGD with momentum 0.9, batch 1024, learning rate 0.5 that falls linearly to 0 over
300,000 steps, weight decay 4e-5 on what has more than one axis, label smoothing 0.1; crops, colour
jitter 0.4, flips. The widest network has dropout 0.2.

Differs as shufflenet_v1_g3_1_0x.py does.

Command   python -m train --config=configs/shufflenet_v2_x1_0.py --config.data.dir=... --workdir=...
Paper     ShuffleNet V2, arXiv:1807.11164, Table 8; megvii-model/ShuffleNet-Series
Hardware  authors: 4 GPUs
Published 69.4 top-1, 88.9 top-5 (30.6 / 11.1 % error)
          :x0_5 61.1 top-1, 82.6 top-5
          :x1_5 72.6 top-1, 90.6 top-5
          :x2_0 75.0 top-1, 92.4 top-5
Ours      not yet run
"""

from ml_collections import ConfigDict

from configs import base, shufflenet_v1_g3_1_0x

VARIANTS = ("x1_0", "x0_5", "x1_5", "x2_0")


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe of a variant, see above; with "smoke" a few steps of it on tiny data."""
    variant, arg = base.variant(arg, VARIANTS)
    config = shufflenet_v1_g3_1_0x.get_config()
    config.model.name = f"shufflenet_v2_{variant}"
    config.model.options = ConfigDict({"dropout": 0.2 if variant == "x2_0" else 0.0})
    config.optimizer.weight_decay = 4e-5
    config.optimizer.weight_decay_exclude = ""
    config.optimizer.weight_decay_exclude_1d = True
    return base.finish(config, arg)
