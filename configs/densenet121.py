"""DenseNets on ImageNet and CIFAR-10, the authors' recipe (Huang et al. 2016, section 4.2).

ImageNet: SGD with Nesterov momentum 0.9, batch 256, learning rate 0.1 divided by 10 at 30 and 60 of
90 epochs, weight decay 1e-4 on all parameters; fb.resnet.torch's crops, colour jitter and shift.
:161 has batch 128 and 100 epochs. :bc_100_12_cifar: batch 64, 300 epochs, the rate divided by 10 at
half and three quarters of them, padding by 4, crop, flip; :40_12_cifar is without bottlenecks.

Command   python -m train --config=configs/densenet121.py --config.data.dir=... --workdir=...
Paper     Densely Connected Convolutional Networks, arXiv:1608.06993, Tables 2 and 3;
          liuzhuang13/DenseNet
Hardware  authors: 4 to 8 GPUs
Published 75.0 top-1 (25.0 % error, one crop)
          :169 76.4 top-1
          :201 77.5 top-1
          :161 77.8 top-1
          :264 77.85 top-1, 93.88 top-5
          :bc_100_12_cifar 95.49 top-1 (4.51 % error)
          :40_12_cifar 94.76 top-1 (5.24 % error)
Ours      not yet run
"""

from ml_collections import ConfigDict

from configs import base, resnet50, wrn_28_10_cifar

VARIANTS = ("121", "169", "201", "161", "264", "bc_100_12_cifar", "40_12_cifar")


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe of a variant, see above; with "smoke" a few steps of it on tiny data."""
    variant, arg = base.variant(arg, VARIANTS)
    if variant.endswith("cifar"):
        config = wrn_28_10_cifar.get_config()
        config.model.name = f"densenet_{variant}"
        config.model.options = ConfigDict({"dropout": 0.0})  # 0.2 without augmentation
        config.batch_size = 64
        config.duration = "300 epochs"
        config.augment.padding_mode = "constant"
        config.optimizer.weight_decay = 1e-4
        config.schedule.boundaries = ("150 epochs", "225 epochs")
        config.schedule.factors = (0.1, 0.1)
        return base.finish(config, arg)
    config = resnet50.get_config("fb")
    config.model.name = f"densenet{variant}"
    if variant == "161":
        config.batch_size = 128
        config.duration = "100 epochs"
        config.schedule.boundaries = ("30 epochs", "60 epochs", "90 epochs")  # ? the last one
        config.schedule.factors = (0.1, 0.1, 0.1)
    return base.finish(config, arg)
