"""ZFNet on ImageNet, the paper's recipe (Zeiler & Fergus 2013, section 3).

SGD with momentum 0.9, batch 128, learning rate 0.01 divided by 10 by hand, 70 epochs; shorter side
of 256, ten fixed crops of 224 pixels, dropout 0.5 on the first two fully connected layers.
:big has 512, 1024 and 512 feature maps in the layers 3 to 5.

Differs: random crops instead of ten fixed ones; the rate falls at 30, 50 and 60 epochs; filters are
not renormalised where their root mean square exceeds 0.1; the mean of each channel is subtracted.
A weight decay is not published.

Command   python -m train --config=configs/zfnet.py --config.data.dir=... --workdir=...
Paper     Visualizing and Understanding Convolutional Networks, arXiv:1311.2901, Table 2
Hardware  paper: one GTX 580, 12 days
Published 61.6 top-1, 83.5 ? top-5 (38.4 % error, ten crops)
          :big 62.5 top-1, 84.0 ? top-5
Ours      not yet run
"""

from ml_collections import ConfigDict

from configs import alexnet, base

VARIANTS = {"zfnet": "zfnet", "big": "zfnet_big"}


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe of a variant, see above; with "smoke" a few steps of it on tiny data."""
    variant, arg = base.variant(arg, VARIANTS)
    config = alexnet.get_config()
    config.model.name = VARIANTS[variant]
    config.model.options = ConfigDict({"dropout": 0.5})
    config.batch_size = 128
    config.duration = "70 epochs"
    config.augment.lighting = 0.0
    config.optimizer.name = "sgd"
    config.optimizer.weight_decay = 0.0  # ?
    config.schedule.boundaries = ("30 epochs", "50 epochs", "60 epochs")  # ? by hand
    config.eval.crop = 224 / 256
    config.eval.views = "ten_crop_square"
    return base.finish(config, arg)
