"""SE-ResNet, SE-ResNeXt and SENet-154 on ImageNet, the paper's recipe (Hu et al. 2017, section 5).

Synchronous SGD with momentum 0.9, batch 1024, learning rate 0.6 divided by 10 every 30 of 100
epochs; crops of 8 to 100 % of the area and flips, the mean of each channel subtracted.

Differs: the paper draws classes evenly ("data balancing"); the input is divided by the standard
deviation too. The released weights, of which the figure of :senet154 is, had batch 256, rate 0.1,
more epochs and more augmentation.

Command   python -m train --config=configs/seresnet50.py --config.data.dir=... --workdir=...
Paper     Squeeze-and-Excitation Networks, arXiv:1709.01507, Table 2
Hardware  authors: 4 servers of 8 GPUs ?
Published 76.71 top-1, 93.38 top-5 (23.29 / 6.62 % error, one crop of 224)
          :resnet101 77.62 top-1, 93.93 top-5
          :resnet152 78.43 top-1, 94.27 top-5
          :resnext50_32x4d 78.90 top-1, 94.51 top-5
          :resnext101_32x4d 79.30 top-1, 95.00 top-5
          :senet154 81.32 top-1, 95.53 top-5 (18.68 / 4.47 % error)
Ours      not yet run
"""

from ml_collections import ConfigDict

from configs import base, resnet50

VARIANTS = {
    "resnet50": "seresnet50",
    "resnet101": "seresnet101",
    "resnet152": "seresnet152",
    "resnext50_32x4d": "seresnext50_32x4d",
    "resnext101_32x4d": "seresnext101_32x4d",
    "senet154": "senet154",
}


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe of a variant, see above; with "smoke" a few steps of it on tiny data."""
    variant, arg = base.variant(arg, VARIANTS)
    config = resnet50.get_config("torchvision_v1")
    config.model.name = VARIANTS[variant]
    if variant == "senet154":
        config.model.options = ConfigDict({"dropout": 0.2})  # ?
    config.batch_size = 1024
    config.duration = "100 epochs"
    config.optimizer.weight_decay = 1e-4  # ?
    config.schedule.learning_rate = 0.6
    config.schedule.boundaries = ("30 epochs", "60 epochs", "90 epochs")
    config.schedule.factors = (0.1, 0.1, 0.1)
    return base.finish(config, arg)
