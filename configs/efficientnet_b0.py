"""EfficientNet B0 to B7 on ImageNet: the authors' recipe (Tan & Le 2019; tensorflow/tpu), timm's.

TensorFlow's RMSProp with decay 0.9, momentum 0.9 and epsilon 1e-3, batch 2048, learning rate 0.128
(0.016 for each 256 images) times 0.97 every 2.4 of 350 epochs with 5 epochs of warm-up, weight
decay 1e-5 on all but BatchNorm's parameters, label smoothing 0.1, dropout 0.2 to 0.5, blocks that
survive with probability 0.8 (the last), a moving average of 0.9999 with the statistics of
BatchNorm; AutoAugment; images of 224 to 600 pixels. :timm is timm's run of B0 (RandAugment,
erasing).

Differs: the authors stop early by 25,000 training images that are held out; crops keep an aspect
near that of their box. B2 has the 260 pixels of the paper, not the model's 288.

Command   python -m train --config=configs/efficientnet_b0.py:b7 --config.data.dir=... --workdir=...
Paper     EfficientNet, arXiv:1905.11946, Table 2
Hardware  authors: TPU v3, 2048 images in all
Published 77.1 top-1
          :b1 79.1 top-1
          :b2 80.1 top-1
          :b3 81.6 top-1
          :b4 82.9 top-1
          :b5 83.6 top-1
          :b6 84.0 top-1
          :b7 84.3 ? top-1
          :timm 77.7 top-1, 95.3 ? top-5
Ours      not yet run
"""

from ml_collections import ConfigDict

from configs import base

VARIANTS = {  # pixels, dropout
    "b0": (224, 0.2),
    "b1": (240, 0.2),
    "b2": (260, 0.3),
    "b3": (300, 0.3),
    "b4": (380, 0.4),
    "b5": (456, 0.4),
    "b6": (528, 0.5),
    "b7": (600, 0.5),
    "timm": (224, 0.2),
}


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe of a variant, see above; with "smoke" a few steps of it on tiny data."""
    variant, arg = base.variant(arg, VARIANTS)
    image_size, dropout = VARIANTS[variant]
    config = base.get_config()
    config.model.name = f"efficientnet_{'b0' if variant == 'timm' else variant}"
    rates = {"dropout": dropout, "drop_path": 0.2}
    config.model.options = ConfigDict(
        rates | {"same_padding": True, "epsilon": 1e-3, "momentum": 0.99}
    )
    config.data.name = "imagenet2012"
    config.data.image_size = image_size
    config.batch_size = 2048
    config.duration = "350 epochs"
    config.augment.crop = "random_resized"
    config.augment.area = (0.08, 1.0)
    config.augment.ratio = (3 / 4, 4 / 3)
    config.augment.interpolation = "bicubic"
    config.augment.flip = True
    config.augment.policy = "tf_autoaugment"
    config.loss.label_smoothing = 0.1
    config.optimizer.name = "rmsprop_tf"
    config.optimizer.options = ConfigDict({"decay": 0.9, "momentum": 0.9, "eps": 1e-3})
    config.optimizer.weight_decay = 1e-5
    config.optimizer.weight_decay_exclude = "_norm/"
    config.schedule.name = "exponential"
    config.schedule.options = ConfigDict({"factor": 0.97, "every": "2.4 epochs", "staircase": True})
    config.schedule.learning_rate = 0.016 * 2048 / 256
    config.schedule.convention = "timm"  # the decay counts from the start
    config.schedule.warmup = "5 epochs"
    config.schedule.start = 0.0
    config.ema.decay = 0.9999
    config.ema.convention = "tensorflow"
    config.ema.batch_stats = True
    config.eval.crop = image_size / (image_size + 32)
    config.eval.interpolation = "bicubic"
    if variant == "timm":
        config.model.options = ConfigDict(rates)
        config.batch_size = 768
        config.duration = "450 epochs"
        config.augment.policy = "rand-m9-mstd0.5"
        config.augment.interpolation = "random"
        config.augment.erasing = 0.2
        config.augment.erasing_mode = "pixel"
        config.optimizer.weight_decay_exclude = "(bias|scale)$"
        config.schedule.learning_rate = 0.048
        config.schedule.per = "epoch"
        config.schedule.start = 1e-6
        config.ema.convention = "timm"
    return base.finish(config, arg)
