"""Network in Network on CIFAR-10 and ImageNet (Lin et al. 2013, section 4).

The paper tunes by hand what it does not write down: SGD with momentum, batch 128, weight decay, a
learning rate divided by 10 whenever the training accuracy stalls, twice; dropout 0.5 between the
blocks; with or without translation and flips. Its values are those of AlexNet's recipe here where
it says none. :nin is the network for ImageNet, whose recipe was never published.

Differs: no global contrast normalisation and whitening.

Command   python -m train --config=configs/nin_cifar.py --workdir=...
Paper     Network in Network, arXiv:1312.4400, Table 1
Hardware  paper: not said
Published 91.19 top-1 (8.81 % error, with augmentation)
          :nin 59 ? top-1 (Caffe's zoo)
Ours      not yet run
"""

from ml_collections import ConfigDict

from configs import alexnet, base

VARIANTS = ("nin_cifar", "nin")


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe of a variant, see above; with "smoke" a few steps of it on tiny data."""
    variant, arg = base.variant(arg, VARIANTS)
    config = alexnet.get_config()
    config.model.name = variant
    config.model.options = ConfigDict({"dropout": 0.5})  # ?
    config.batch_size = 128  # ?
    config.optimizer.name = "sgd"
    config.optimizer.options = ConfigDict({"momentum": 0.9})  # ?
    config.optimizer.weight_decay = 1e-4  # ? tuned
    config.schedule.learning_rate = 0.1  # ?
    config.schedule.boundaries = ("80 epochs", "105 epochs")  # ? when the training accuracy stalls
    config.schedule.factors = (0.1, 0.1)
    config.duration = "120 epochs"  # ?
    config.augment.lighting = 0.0
    config.eval.views = "center"
    if variant == "nin_cifar":
        config.data.name = "cifar10"
        config.augment.crop = "padded"
        config.augment.padding = 4  # ?
        config.augment.padding_mode = "constant"
        config.eval.crop = 1.0
    return base.finish(config, arg)
