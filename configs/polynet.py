"""PolyNet on ImageNet (Zhang et al. 2016, section 5). Only its figures were read at the source.

RMSProp with decay 0.9 and epsilon 1.0, batch 512, learning rate 0.45 divided by 10 every 160,000 of
560,000 steps; Inception's crops and distortions at 331 pixels. The paper also inserts blocks into
trained networks, and drops paths at random; here neither is done.

Command   python -m train --config=configs/polynet.py --config.data.dir=... --workdir=...
Paper     PolyNet: A Pursuit of Structural Diversity in Very Deep Networks, arXiv:1611.05725
Hardware  authors: 32 Titan X
Published 81.29 top-1, 95.75 top-5 (18.71 / 4.25 % error, one crop)
Ours      not yet run
"""

from ml_collections import ConfigDict

from configs import base, inception_v3


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe, or a few steps of it on tiny data if `arg` is "smoke"."""
    config = inception_v3.get_config()
    config.model.name = "polynet"
    config.model.options = ConfigDict({"dropout": 0.2})  # ?
    config.batch_size = 512  # ?
    config.duration = "560000 steps"  # ?
    config.loss.label_smoothing = 0.1  # ?
    config.loss.auxiliary_weights = ()
    config.optimizer.options = ConfigDict({"decay": 0.9, "momentum": 0.9, "eps": 1.0})  # ?
    config.optimizer.weight_decay = 4e-5  # ?
    config.optimizer.clip_norm = 0.0  # ?
    config.schedule.name = "steps"
    config.schedule.options = ConfigDict()
    config.schedule.learning_rate = 0.45  # ?
    config.schedule.boundaries = ("160000 steps", "320000 steps", "480000 steps")  # ?
    config.schedule.factors = (0.1, 0.1, 0.1)  # ?
    return base.finish(config, arg)
