"""BN-Inception (Inception-v2) on ImageNet, the paper's recipe "BN-x5" (Ioffe & Szegedy 2015).

SGD with momentum, batch 32, the learning rate five times that of Inception and decaying six times
as fast, a fifth of its weight decay, no dropout, fewer photometric distortions. :x30 begins at 30
times the rate. Inception's own values, which the factors multiply, are Caffe's where they are not
published. The paper says when 72.2 % were reached (2.1 and 2.7 million steps), and not the length.

Command   python -m train --config=configs/inception_v2.py --config.data.dir=... --workdir=...
Paper     Batch Normalization, arXiv:1502.03167, section 4.2 and Figure 3
Hardware  paper: DistBelief
Published 73.0 top-1 (x5; one crop)
          :x30 74.8 top-1, 92.18 top-5
Ours      not yet run
"""

from ml_collections import ConfigDict

from configs import base, googlenet

VARIANTS = ("x5", "x30")


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe of a variant, see above; with "smoke" a few steps of it on tiny data."""
    variant, arg = base.variant(arg, VARIANTS)
    config = googlenet.get_config("paper")
    config.model.name = "inception_v2"
    config.model.options = ConfigDict()
    config.batch_size = 32
    config.duration = "6000000 steps"  # ?
    config.augment.color_jitter = (0.0,) * 4  # ? "reduce the photometric distortions"
    config.loss.auxiliary_weights = ()
    config.optimizer.name = "sgd"
    config.optimizer.options = ConfigDict({"momentum": 0.9})
    config.optimizer.weight_decay = 2e-4 / 5  # ? a fifth
    config.optimizer.multipliers = ()
    config.schedule.options = ConfigDict(
        {"factor": 0.96, "every": "1.333 epochs", "staircase": True}
    )
    config.schedule.learning_rate = 0.0075 if variant == "x5" else 0.045  # ?
    return base.finish(config, arg)
