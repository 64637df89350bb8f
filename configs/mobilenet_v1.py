"""MobileNet v1 on ImageNet, the recipe of slim's trainer (Howard et al. 2017, section 3).

Plain SGD, batch 64, learning rate 0.045 times 0.94 every 2.5 epochs, weight decay 4e-5 but on
depthwise filters, Inception's crops and distortions. The paper says
"RMSProp like Inception-v3", asynchronous, with little or no weight decay on depthwise filters, no
label smoothing, and fewer distortions and small crops.

Differs: BatchNorm's decay is that of the model; the paper's smallest crop is not published.

Command   python -m train --config=configs/mobilenet_v1.py --config.data.dir=... --workdir=...
Paper     MobileNets, arXiv:1704.04861, Table 8; tensorflow/models slim
Hardware  slim: one GPU
Published 70.6 top-1
Ours      not yet run
"""

from ml_collections import ConfigDict

from configs import base, inception_v3


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe, or a few steps of it on tiny data if `arg` is "smoke"."""
    config = inception_v3.get_config()
    config.model.name = "mobilenet_v1"
    config.model.options = ConfigDict()
    config.batch_size = 64
    config.duration = "200 epochs"  # ?
    config.loss.label_smoothing = 0.0
    config.loss.auxiliary_weights = ()
    config.optimizer.name = "sgd"
    config.optimizer.options = ConfigDict()
    config.optimizer.weight_decay = 4e-5  # ?
    config.optimizer.weight_decay_exclude = "(bias|scale)$|depthwise"  # ?
    config.optimizer.clip_norm = 0.0
    config.schedule.options = ConfigDict({"factor": 0.94, "every": "2.5 epochs", "staircase": True})
    config.schedule.learning_rate = 0.045
    config.ema.decay = 0.0
    config.eval.crop = 0.875
    return base.finish(config, arg)
