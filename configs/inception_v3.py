"""Inception-v3 on ImageNet, the paper's recipe (Szegedy et al. 2015, section 8).

TensorFlow's RMSProp with decay 0.9, momentum 0.9 and epsilon 1.0, 50 replicas of batch 32, learning
rate 0.045 times 0.94 every 2 of 100 epochs, gradients clipped at norm 2; label smoothing 0.1,
weight decay 4e-5 on weights; crops of 5 to 100 % of the area, colour distortions, 299 pixels; a
moving average of weights and BatchNorm statistics is evaluated. The auxiliary classifier counts
0.4.

Differs: the replicas' updates are asynchronous in the paper, one synchronous step here; crops keep
an aspect near that of their box, and are resized bilinearly where slim draws one of four filters;
brightness is multiplied, not added; BatchNorm's decay is 0.9, not 0.9997.

Command   python -m train --config=configs/inception_v3.py --config.data.dir=... --workdir=...
Paper     Rethinking the Inception Architecture, arXiv:1512.00567, Table 3; research/inception, slim
Hardware  paper: 50 Kepler GPUs
Published 78.8 top-1, 94.4 top-5 (21.2 / 5.6 % error, one crop)
Ours      not yet run
"""

from ml_collections import ConfigDict

from configs import base


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe, or a few steps of it on tiny data if `arg` is "smoke"."""
    config = base.get_config()
    config.model.name = "inception_v3"
    config.model.options = ConfigDict({"dropout": 0.2})
    config.data.name = "imagenet2012"
    config.batch_size = 1600
    config.duration = "100 epochs"
    config.augment.crop = "random_resized"
    config.augment.area = (0.05, 1.0)
    config.augment.ratio = (0.75, 1.33)
    config.augment.interpolation = "bilinear"
    config.augment.flip = True
    config.augment.color_jitter = (32 / 255, 0.5, 0.5, 0.2)
    config.loss.label_smoothing = 0.1
    config.loss.auxiliary_weights = (0.4,)
    config.optimizer.name = "rmsprop_tf"
    config.optimizer.options = ConfigDict({"decay": 0.9, "momentum": 0.9, "eps": 1.0})
    config.optimizer.weight_decay = 4e-5
    config.optimizer.weight_decay_exclude = "(bias|scale)$"
    config.optimizer.clip_norm = 2.0
    config.schedule.name = "exponential"
    config.schedule.options = ConfigDict({"factor": 0.94, "every": "2 epochs", "staircase": True})
    config.schedule.learning_rate = 0.045
    config.schedule.warmup = "0 steps"
    config.ema.decay = 0.9999
    config.ema.convention = "tensorflow"
    config.ema.batch_stats = True
    config.eval.crop = 0.875
    config.eval.interpolation = "bilinear"
    return base.finish(config, arg)
