"""Xception on ImageNet, the paper's recipe (Chollet 2016, section 4).

SGD with momentum 0.9, learning rate 0.045 times 0.94 every 2 epochs, weight decay 1e-5, dropout 0.5
before the classifier, an average of the weights; crops and distortions of Inception-v3.

Differs as inception_v3.py does. The batch and the length are not published: here those of
Inception-v3.

Command   python -m train --config=configs/xception.py --config.data.dir=... --workdir=...
Paper     Xception, arXiv:1610.02357, Table 1
Hardware  paper: 60 K80 GPUs
Published 79.0 top-1, 94.5 ? top-5 (one crop)
Ours      not yet run
"""

from ml_collections import ConfigDict

from configs import base, inception_v3


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe, or a few steps of it on tiny data if `arg` is "smoke"."""
    config = inception_v3.get_config()
    config.model.name = "xception"
    config.model.options = ConfigDict({"dropout": 0.5})
    config.batch_size = 1600  # ?
    config.duration = "100 epochs"  # ?
    config.loss.label_smoothing = 0.1  # ?
    config.loss.auxiliary_weights = ()
    config.optimizer.name = "sgd"
    config.optimizer.options = ConfigDict({"momentum": 0.9})
    config.optimizer.weight_decay = 1e-5
    config.optimizer.clip_norm = 0.0
    config.schedule.learning_rate = 0.045
    return base.finish(config, arg)
