"""NASNet-A on ImageNet, the authors' recipe (Zoph et al. 2017, appendix; slim's nasnet.py).

TensorFlow's RMSProp with decay 0.9, momentum 0.9 and epsilon 1.0, 50 synchronous replicas of batch
32, learning rate 0.04 for each times 0.97 every 2.4 epochs, gradients clipped at norm 10, weight
decay 4e-5 on weights; label smoothing 0.1, dropout 0.5, a moving average of the weights;
Inception's crops and distortions. :large: 100 replicas of batch 16, 0.015 for each, weight decay
5e-5, scheduled drop path that keeps 0.7 of the last cell's paths at the end of 250,000 steps; 331
pixels.

Differs: no auxiliary classifier (weight 0.4 in the paper); BatchNorm's decay is 0.9, not 0.9997.

Command   python -m train --config=configs/nasnet_mobile.py:large
          --config.data.dir=... --workdir=...
Paper     Learning Transferable Architectures, arXiv:1707.07012, Tables 2 and 3
Hardware  paper: 50 or 100 GPUs
Published 74.0 top-1, 91.6 ? top-5
          :large 82.7 top-1, 96.2 top-5
Ours      not yet run
"""

from ml_collections import ConfigDict

from configs import base, inception_v3

VARIANTS = ("mobile", "large")


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe of a variant, see above; with "smoke" a few steps of it on tiny data."""
    variant, arg = base.variant(arg, VARIANTS)
    config = inception_v3.get_config()
    config.model.name = f"nasnet_{variant}"
    config.model.options = ConfigDict({"dropout": 0.5, "drop_path": 0.0})
    config.batch_size = 1600
    config.duration = "250000 steps"
    config.loss.label_smoothing = 0.1
    config.loss.auxiliary_weights = ()
    config.optimizer.options = ConfigDict({"decay": 0.9, "momentum": 0.9, "eps": 1.0})  # ? momentum
    config.optimizer.weight_decay = 4e-5
    config.optimizer.clip_norm = 10.0
    config.schedule.options = ConfigDict({"factor": 0.97, "every": "2.4 epochs", "staircase": True})
    config.schedule.learning_rate = 0.04 * 50
    config.ema.decay = 0.9999
    if variant == "large":
        config.model.options = ConfigDict({"dropout": 0.5, "drop_path": 0.3})
        config.optimizer.weight_decay = 5e-5
        config.schedule.learning_rate = 0.015 * 100
    return base.finish(config, arg)
