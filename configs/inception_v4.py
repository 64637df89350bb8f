"""Inception-v4 on ImageNet, the paper's recipe (Szegedy et al. 2016, section 4).

TensorFlow's RMSProp with decay 0.9 and epsilon 1.0, 20 replicas, learning rate 0.045 times 0.94
every 2 epochs; a moving average of the weights is evaluated. What the paper does not say is
Inception-v3's. Differs as inception_v3.py does; there is no auxiliary classifier.

Command   python -m train --config=configs/inception_v4.py --config.data.dir=... --workdir=...
Paper     Inception-v4, Inception-ResNet, arXiv:1602.07261, Table 2
Hardware  paper: 20 replicas, each a Kepler GPU
Published 80.0 top-1, 95.0 top-5 (20.0 / 5.0 % error, one crop)
Ours      not yet run
"""

from ml_collections import ConfigDict

from configs import base, inception_v3


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe, or a few steps of it on tiny data if `arg` is "smoke"."""
    config = inception_v3.get_config()
    config.model.name = "inception_v4"
    config.model.options = ConfigDict({"dropout": 0.2})  # ? keep 0.8
    config.batch_size = 640  # ? of 32 each
    config.duration = "200 epochs"  # ?
    config.loss.label_smoothing = 0.1  # ?
    config.loss.auxiliary_weights = ()
    config.optimizer.options = ConfigDict({"decay": 0.9, "momentum": 0.9, "eps": 1.0})  # ? momentum
    config.optimizer.weight_decay = 4e-5
    config.optimizer.clip_norm = 0.0
    config.schedule.options = ConfigDict({"factor": 0.94, "every": "2 epochs", "staircase": True})
    config.schedule.learning_rate = 0.045
    return base.finish(config, arg)
