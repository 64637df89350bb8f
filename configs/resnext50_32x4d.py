"""ResNeXt on ImageNet, the authors' recipe (Xie et al. 2016, section 4): fb.resnet.torch's.

SGD with Nesterov momentum 0.9, batch 256, learning rate 0.1 divided by 10 every 30 of 100 epochs,
weight decay 1e-4 on all parameters; crops of 8 to 100 % of the area, colour jitter and shift.
:101_32x4d and :101_64x4d are the larger networks. Differs as resnet50.py:fb does.

Command   python -m train --config=configs/resnext50_32x4d.py --config.data.dir=... --workdir=...
Paper     Aggregated Residual Transformations for Deep Neural Networks, arXiv:1611.05431, Table 5
Hardware  authors: 8 GPUs x 32 images
Published 77.8 top-1 (22.2 % error, one crop of 224; facebookresearch/ResNeXt)
          :101_32x4d 78.8 top-1, 94.4 top-5
          :101_64x4d 79.6 top-1, 94.7 top-5
Ours      not yet run
"""

from ml_collections import ConfigDict

from configs import base, resnet50

VARIANTS = ("50_32x4d", "101_32x4d", "101_64x4d")


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe of a variant, see above; with "smoke" a few steps of it on tiny data."""
    variant, arg = base.variant(arg, VARIANTS)
    config = resnet50.get_config("fb")
    config.model.name = f"resnext{variant}"
    config.duration = "100 epochs"
    config.schedule.boundaries = ("30 epochs", "60 epochs", "90 epochs")
    config.schedule.factors = (0.1, 0.1, 0.1)
    return base.finish(config, arg)
