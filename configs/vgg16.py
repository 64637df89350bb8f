"""VGG-16 (configuration D) on ImageNet, the paper's recipe (Simonyan & Zisserman 2015, section 3).

SGD with momentum 0.9, batch 256, learning rate 0.01, weight decay 5e-4, 370,000 steps (74 epochs);
shorter side resized to a random length in [256, 512], random 224 crop, flip, colour shift; dropout
0.5. The training procedure is AlexNet's except for the batch, the duration and the scale.

Deviations from the paper:
- The paper divides the learning rate by 10 when the validation accuracy stalls, 3 times. Here this
  happens at 25, 50 and 65 epochs.
- The paper initializes the first layers from a trained configuration A, and training at [256, 512]
  from a network trained at 384. Here all parameters are initialized at random; the paper notes that
  Glorot initialization makes the first of these unnecessary.

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
