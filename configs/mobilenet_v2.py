"""MobileNet v2 on ImageNet: the authors' recipe (Sandler et al. 2018, section 6.1), torchvision's.

TensorFlow's RMSProp with decay 0.9, momentum 0.9 and epsilon 1.0, 8 GPUs of batch 96, learning rate
0.045 for each times 0.98 every 2.5 epochs, about 700,000 steps, weight decay 4e-5, label smoothing
0.1, a moving average of the weights; Inception's crops and distortions. These are the values by
which slim's README says to reach 72.0 %; the paper has 16 asynchronous GPUs and a rate that falls
every epoch. :torchvision: SGD with momentum 0.9, batch 256, rate 0.045 times 0.98 every epoch, 300
epochs, no smoothing and no average.

Differs as inception_v3.py does.

Command   python -m train --config=configs/mobilenet_v2.py --config.data.dir=... --workdir=...
Paper     MobileNetV2, arXiv:1801.04381, Table 4; slim's mobilenet README
Hardware  slim: 8 GPUs x 96 images; paper: 16
Published 72.0 top-1
          :torchvision 71.878 top-1, 90.286 top-5
Ours      not yet run
"""

from ml_collections import ConfigDict

from configs import base, inception_v3, resnet50

VARIANTS = ("authors", "torchvision")


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe of a variant, see above; with "smoke" a few steps of it on tiny data."""
    variant, arg = base.variant(arg, VARIANTS)
    if variant == "torchvision":
        config = resnet50.get_config("torchvision_v1")
        config.model.name = "mobilenet_v2"
        config.model.options = ConfigDict({"dropout": 0.2})
        config.duration = "300 epochs"
        config.optimizer.weight_decay = 4e-5
        config.schedule.name = "exponential"
        config.schedule.options = ConfigDict(
            {"factor": 0.98, "every": "1 epoch", "staircase": True}
        )
        config.schedule.learning_rate = 0.045
        config.schedule.boundaries = config.schedule.factors = ()
        return base.finish(config, arg)
    config = inception_v3.get_config()
    config.model.name = "mobilenet_v2"
    config.model.options = ConfigDict({"dropout": 0.2})  # ?
    config.batch_size = 8 * 96
    config.duration = "700000 steps"
    config.loss.label_smoothing = 0.1
    config.loss.auxiliary_weights = ()
    config.optimizer.options = ConfigDict({"decay": 0.9, "momentum": 0.9, "eps": 1.0})
    config.optimizer.weight_decay = 4e-5
    config.optimizer.clip_norm = 0.0
    config.schedule.options = ConfigDict({"factor": 0.98, "every": "2.5 epochs", "staircase": True})
    config.schedule.learning_rate = 0.045 * 8
    config.ema.decay = 0.9999
    config.eval.crop = 0.875
    return base.finish(config, arg)
