"""RegNets on ImageNet: pycls' recipe (Radosavovic et al. 2020, section 4) and torchvision's.

SGD with Nesterov momentum 0.9, learning rate 0.1 for each 128 images, half a cosine to 0 over 100
epochs with a warm-up of 5 epochs that multiplies it from 0.1 on, weight decay 5e-5 on all
parameters; crops and flips, colour shift 0.1; BatchNorm statistics re-estimated on 8192 images. The
rate is set once per epoch. :torchvision is without Nesterov momentum, colour shift and
re-estimated statistics.

Differs: pycls draws aspects linearly, and resizes without a filter against aliasing.

Command   python -m train --config=configs/regnet_y_400mf.py:4gf --config.data.dir=... --workdir=...
Paper     Designing Network Design Spaces, arXiv:2003.13678, Tables 2 to 4; pycls MODEL_ZOO
Hardware  authors: 8 GPUs
Published 74.1 top-1 (25.9 % error, mean of 5 runs)
          :4gf 79.4 top-1
          :8gf 79.9 top-1
          :16gf 80.4 top-1
          :x_400mf 72.6 top-1
          :torchvision 74.046 top-1, 91.716 top-5
Ours      not yet run
"""

from ml_collections import ConfigDict

from configs import base, resnet50

VARIANTS = {  # model, batch of pycls' MODEL_ZOO
    "y_400mf": ("regnet_y_400mf", 1024),
    "4gf": ("regnety_040", 512),
    "8gf": ("regnety_080", 512),
    "16gf": ("regnety_160", 256),
    "x_400mf": ("regnet_x_400mf", 1024),
    "torchvision": ("regnet_y_400mf", 1024),
}


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe of a variant, see above; with "smoke" a few steps of it on tiny data."""
    variant, arg = base.variant(arg, VARIANTS)
    config = resnet50.get_config("torchvision_v1")
    config.model.name, config.batch_size = VARIANTS[variant]
    config.duration = "100 epochs"
    config.augment.lighting = 0.1
    config.optimizer.options = ConfigDict({"momentum": 0.9, "nesterov": True})
    config.optimizer.weight_decay = 5e-5
    config.schedule.name = "cosine"
    config.schedule.learning_rate = 0.1 * config.batch_size / 128
    config.schedule.per = "epoch"
    config.schedule.convention = "pycls"
    config.schedule.warmup = "5 epochs"
    config.schedule.start = 0.1 * config.schedule.learning_rate
    config.schedule.end = 0.0
    config.schedule.boundaries = config.schedule.factors = ()
    config.batch_norm_images = 8192
    if variant == "torchvision":
        config.augment.lighting = 0.0
        config.optimizer.options = ConfigDict({"momentum": 0.9})
        config.schedule.learning_rate = 0.4
        config.schedule.convention = ""
        config.schedule.start = 0.04
        config.batch_norm_images = 0
    return base.finish(config, arg)
