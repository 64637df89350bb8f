"""VGG on ImageNet: the paper's recipe (Simonyan & Zisserman 2014, section 3), and torchvision's.

SGD with momentum 0.9, batch 256, learning rate 0.01, weight decay 5e-4, 370,000 steps (74 epochs);
shorter side of a random length in [256, 512], random 224 crop, flip, colour shift; dropout 0.5 on
the first two fully connected layers. What is not said is AlexNet's. :19 is configuration E.
:torchvision and :torchvision_bn are torchvision's runs, without and with BatchNorm.

Differs: the rate is divided by 10 when the validation accuracy stalls, 3 times: here at 25, 50 and
65 epochs. The first layers start from a trained configuration A, and [256, 512] from a network
trained at 384; here all parameters start at random (the paper notes that Glorot's initialisation
makes the first unnecessary).

Command   python -m train --config=configs/vgg16.py --config.data.dir=... --workdir=...
          python -m train.evaluate --views=dense --scales=384 ...
Paper     Very Deep Convolutional Networks, arXiv:1409.1556, Table 3
Hardware  paper: 4 Titan Black, two to three weeks
Published 74.4 top-1, 91.9 ? top-5 (one scale of 384, whole image)
          :19 74.5 top-1, 92.0 ? top-5
          :torchvision 71.592 top-1, 90.382 top-5
          :torchvision_bn 73.360 top-1, 91.516 top-5
Ours      not yet run
"""

from ml_collections import ConfigDict

from configs import alexnet, base, resnet50

VARIANTS = ("16", "19", "torchvision", "torchvision_bn")


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe of a variant, see above; with "smoke" a few steps of it on tiny data."""
    variant, arg = base.variant(arg, VARIANTS)
    if variant.startswith("torchvision"):
        config = resnet50.get_config("torchvision_v1")
        config.model.name = "vgg16_bn" if variant.endswith("bn") else "vgg16"
        config.model.options = ConfigDict({"dropout": 0.5})
        config.schedule.learning_rate = 0.1 if variant.endswith("bn") else 0.01
        return base.finish(config, arg)
    config = alexnet.get_config()
    config.model.name = f"vgg{variant}"
    config.model.options = ConfigDict({"dropout": 0.5})
    config.batch_size = 256
    config.duration = "74 epochs"
    config.augment.resize = (256, 512)
    config.optimizer.weight_decay = 5e-4
    config.schedule.learning_rate = 0.01
    config.schedule.boundaries = ("25 epochs", "50 epochs", "65 epochs")  # when accuracy stalls
    config.schedule.factors = (0.1, 0.1, 0.1)
    config.eval.crop = 224 / 256
    config.eval.views = "center"
    return base.finish(config, arg)
