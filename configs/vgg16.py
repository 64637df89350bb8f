"""VGG-16 (configuration D) on ImageNet, the paper's recipe (Simonyan & Zisserman 2015, section 3).

SGD with momentum 0.9, batch 256, learning rate 0.01, weight decay 5e-4, 370,000 steps (74 epochs);
shorter side to a random size in [256, 512], random 224 square, flip, colour shift; dropout 0.5.

What stands in for what the paper did by hand or in stages:
- The learning rate was divided by 10 when the validation accuracy stalled, 3 times. Here that is at
  25, 50 and 65 epochs.
- The paper's first layers start from a trained configuration A, and training at [256, 512] from a
  network trained at 384. Here all starts at random; the paper notes that Glorot's initialisation
  works without the first of these.

Command   python -m train --config=configs/vgg16.py --config.data.dir=... --workdir=...
Hardware  paper: 4 Titan Black, two to three weeks
Published 74.4 top-1, 91.9 top-5 (one scale of 384, whole image)
Ours      not yet run (and evaluated on the central 224 of 256)
"""

from ml_collections import ConfigDict

from configs import alexnet, base


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe, or a few steps of it on tiny data if `arg` is "smoke"."""
    config = alexnet.get_config()
    config.model.name = "vgg16"
    config.batch_size = 256
    config.duration = "74 epochs"
    config.augment.resize = (256, 512)
    config.schedule.boundaries = ("25 epochs", "50 epochs", "65 epochs")
    config.eval.crop = 224 / 256
    return base.finish(config, arg)
