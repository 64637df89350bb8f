"""AlexNet of 2012 on ImageNet, the paper's recipe (Krizhevsky et al. 2012, sections 4 and 5).

SGD with momentum 0.9, batch 128, learning rate 0.01, weight decay 5e-4 on all parameters, about 90
epochs; shorter side resized to 256, random square crop, flip, colour shift along the principal
components of RGB; dropout 0.5.

Deviations from the paper:
- The paper divides the learning rate by 10 when the validation error stalls, 3 times in all. Here
  this happens at 30, 60 and 80 epochs.
- The random crop is taken from the whole resized image, not from its central 256 x 256, and is 227
  pixels wide: the paper says 224, which does not fit its layer sizes.
- The mean of each channel is subtracted, not of each pixel; and the input is divided by ImageNet's
  standard deviation.

Command   python -m train --config=configs/alexnet.py --config.data.dir=... --workdir=...
Hardware  paper: 2 GTX 580, five to six days
Published ILSVRC-2012 validation 59.3 top-1, 81.8 top-5 (one network, average of 10 crops)
Ours      not yet run (and evaluated on one crop)
"""

from ml_collections import ConfigDict

from configs import base


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe, or a few steps of it on tiny data if `arg` is "smoke"."""
    config = base.get_config()
    config.model.name = "alexnet"
    config.data.name = "imagenet2012"
    config.duration = "90 epochs"
    config.augment.crop = "resize_random"
    config.augment.resize = (256, 256)
    config.augment.flip = True
    config.augment.lighting = 0.1
    config.optimizer.options = ConfigDict({"momentum": 0.9})
    config.optimizer.weight_decay = 5e-4
    config.schedule.name = "steps"
    config.schedule.learning_rate = 0.01
    config.schedule.boundaries = ("30 epochs", "60 epochs", "80 epochs")
    config.schedule.factors = (0.1, 0.1, 0.1)
    config.eval.crop = 227 / 256
    return base.finish(config, arg)
