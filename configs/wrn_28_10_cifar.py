"""Wide ResNets on CIFAR-10 and SVHN, the authors' recipe (Zagoruyko & Komodakis 2016, section 3).

SGD with Nesterov momentum 0.9, batch 128, learning rate 0.1 times 0.2 at 60, 120 and 160 of 200
epochs, weight decay 5e-4; images are padded by 4 with their reflection and cropped at random, and
flipped. :dropout has dropout 0.3 between the convolutions of a block. :svhn trains WRN-16-8 with
dropout 0.4 on SVHN (with its additional images), rate 0.01 divided by 10 at 80 and 120 of 160
epochs, without augmentation. :imagenet is WRN-50-2-bottleneck by fb.resnet.torch's recipe.

Command   python -m train --config=configs/wrn_28_10_cifar.py --workdir=...
Paper     Wide Residual Networks, arXiv:1605.07146, Tables 4 to 8; szagoruyko/wide-residual-networks
Hardware  authors: one Titan X
Published 96.00 top-1 (4.00 % error, median of 5 runs)
          :dropout 96.11 top-1 (3.89 % error)
          :svhn 98.46 top-1 (1.54 % error)
          :imagenet 78.1 top-1, 93.97 top-5 (21.9 / 6.03 % error; the README says 5.79)
Ours      not yet run
"""

from ml_collections import ConfigDict

from configs import base, resnet50

VARIANTS = {"cifar10": 0.0, "dropout": 0.3, "svhn": 0.4, "imagenet": 0.0}


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe of a variant, see above; with "smoke" a few steps of it on tiny data."""
    variant, arg = base.variant(arg, VARIANTS)
    if variant == "imagenet":
        config = resnet50.get_config("fb")  # ? the repository trains it by fb.resnet.torch
        config.model.name = "wide_resnet50_2"
        return base.finish(config, arg)
    config = base.get_config()
    config.model.name = "wrn_16_8_cifar" if variant == "svhn" else "wrn_28_10_cifar"
    config.model.options = ConfigDict({"dropout": VARIANTS[variant]})
    config.data.name = "cifar10"
    config.batch_size = 128
    config.duration = "200 epochs"
    config.augment.crop = "padded"
    config.augment.padding = 4
    config.augment.padding_mode = "reflect"
    config.augment.flip = True
    config.loss.label_smoothing = 0.0
    config.optimizer.name = "sgd"
    config.optimizer.options = ConfigDict({"momentum": 0.9, "nesterov": True})
    config.optimizer.weight_decay = 5e-4  # of all parameters
    config.schedule.name = "steps"
    config.schedule.learning_rate = 0.1
    config.schedule.warmup = "0 steps"
    config.schedule.boundaries = ("60 epochs", "120 epochs", "160 epochs")
    config.schedule.factors = (0.2, 0.2, 0.2)
    config.eval.crop = 1.0
    config.eval.interpolation = "bilinear"
    if variant == "svhn":
        config.data.name = "svhn_cropped"
        config.data.train_split = "train+extra"
        config.data.eval_split = "test"
        config.duration = "160 epochs"
        config.augment.crop = "none"
        config.augment.padding = 0
        config.augment.flip = False
        config.schedule.learning_rate = 0.01
        config.schedule.boundaries = ("80 epochs", "120 epochs")
        config.schedule.factors = (0.1, 0.1)
    return base.finish(config, arg)
