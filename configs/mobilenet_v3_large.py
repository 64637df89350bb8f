"""MobileNet v3 on ImageNet: the authors' recipe (Howard et al. 2019), torchvision's, timm's.

TensorFlow's RMSProp with momentum 0.9, batch 4096, learning rate 0.1 times 0.99 every 3 epochs,
weight decay 1e-5, dropout 0.2 (printed as 0.8), a moving average of 0.9999; Inception's crops.
:small is the smaller network. :torchvision: PyTorch's RMSprop (epsilon 0.0316), batch 1024, rate
0.064 times 0.973 every 2 of 600 epochs, AutoAugment, erasing 0.2; its authors average the three
best checkpoints. :timm: RMSProp with epsilon 1e-3, rate 0.064, RandAugment, drop path 0.2, erasing
0.2.

Differs: timm's runs add noise to the rate between 42 and 90 % of the epochs.

Command   python -m train --config=configs/mobilenet_v3_large.py --config.data.dir=... --workdir=...
Paper     Searching for MobileNetV3, arXiv:1905.02244, Table 3
Hardware  paper: a TPU of 4 x 4 chips, 128 images each; torchvision: 8 GPUs x 128
Published 75.2 ? top-1
          :small 67.4 ? top-1
          :torchvision 74.042 top-1, 91.340 top-5
          :timm 75.766 top-1, 92.542 top-5
Ours      not yet run
"""

from ml_collections import ConfigDict

from configs import base, inception_v3

VARIANTS = ("large", "small", "torchvision", "timm")


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe of a variant, see above; with "smoke" a few steps of it on tiny data."""
    variant, arg = base.variant(arg, VARIANTS)
    config = inception_v3.get_config()
    config.model.name = f"mobilenet_v3_{'small' if variant == 'small' else 'large'}"
    config.model.options = ConfigDict({"dropout": 0.2})
    config.batch_size = 4096
    config.duration = "600 epochs"  # ?
    config.augment.color_jitter = (0.0,) * 4  # ?
    config.loss.label_smoothing = 0.0  # ?
    config.loss.auxiliary_weights = ()
    config.optimizer.options = ConfigDict({"decay": 0.9, "momentum": 0.9, "eps": 1.0})  # ? eps
    config.optimizer.weight_decay = 1e-5
    config.optimizer.clip_norm = 0.0
    config.schedule.options = ConfigDict({"factor": 0.99, "every": "3 epochs", "staircase": True})
    config.schedule.learning_rate = 0.1
    config.ema.decay = 0.9999
    config.eval.crop = 0.875
    if variant in ("torchvision", "timm"):
        config.augment.area = (0.08, 1.0)
        config.augment.ratio = (3 / 4, 4 / 3)
    if variant == "torchvision":
        config.batch_norm = "per_device"
        config.batch_size = 1024
        config.augment.policy = "autoaugment"
        config.augment.erasing = 0.2
        config.augment.erasing_mode = "constant"
        config.optimizer.name = "rmsprop_torch"
        options = {"decay": 0.9, "momentum": 0.9, "eps": 0.0316}
        config.optimizer.options = ConfigDict(options)
        config.optimizer.weight_decay_exclude = ""
        config.schedule.options.factor, config.schedule.options.every = 0.973, "2 epochs"
        config.schedule.learning_rate = 0.064
        config.ema.decay = 0.0
    if variant == "timm":
        config.model.options = ConfigDict({"dropout": 0.2, "drop_path": 0.2})
        config.batch_size = 1024
        config.augment.policy = "rand-m9-mstd0.5"
        config.augment.interpolation = "random"
        config.augment.erasing = 0.2
        config.loss.label_smoothing = 0.1  # ?
        config.optimizer.options.eps = 1e-3
        config.schedule.options.factor, config.schedule.options.every = 0.973, "2.4 epochs"
        config.schedule.learning_rate = 0.064
        config.schedule.per = "epoch"
        config.schedule.convention = "timm"  # the decay counts from the start
        config.schedule.warmup = "3 epochs"  # ?
        config.schedule.start = 1e-6
        config.ema.convention = "timm"
    return base.finish(config, arg)
