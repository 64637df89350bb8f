"""ResNet-50 on ImageNet: recipes of He et al. 2015, fb.resnet.torch, torchvision, RSB and others.

:he2015          He et al. 2015, section 3.4: SGD, batch 256, shorter sides of 256 to 480 pixels,
                 colour shift. The follow-up (He et al. 2016) states the epochs of the two falls of
                 the rate, which fell by hand. Differs: the stride is in the 3x3 convolutions, the
                 mean of each channel is subtracted, not of each pixel.
:fb              fb.resnet.torch: Nesterov momentum, crops of 8 to 100 % of the area, colour jitter
                 and shift. Differs: aspects are drawn log-uniformly.
:torchvision_v1  weights IMAGENET1K_V1: SGD, crops and flips.
:torchvision_v2  weights IMAGENET1K_V2: 600 epochs of small images, TrivialAugment, erasing, mixup
                 and cutmix, an average of the weights, evaluation on larger images (FixRes).
:a1, :a2, :a3    "ResNet strikes back" (Wightman et al. 2021, Table 2): LAMB, binary cross entropy,
                 RandAugment, mixup and cutmix; 600, 300 and 100 epochs. Differs: timm's program
                 mixes the images before they are normalized, to whole numbers.
:stochastic_depth
                 ResNet-152 by Huang et al. 2016: fb.resnet.torch's values with batch 128 for 120
                 epochs, the last block dropped from every other mini-batch, the first from every
                 100th.
:drop_block      DropBlock (Ghiasi et al. 2018, section 4.1), from tensorflow/tpu: squares of 7 x 7
                 pixels in the last two stages, more and more of them.

Command   python -m train --config=configs/resnet50.py:he2015 --config.data.dir=... --workdir=...
Paper     Deep Residual Learning for Image Recognition, arXiv:1512.03385, Table 3 and section 3.4
Hardware  8 GPUs x 32 images (:he2015, :fb, :torchvision_v1), x 128 (:torchvision_v2)
Published 75.3 top-1, 92.2 top-5 (24.7 / 7.8 % error, one crop; 77.1 / 93.3 of ten crops)
          :fb 75.99 top-1, 92.98 top-5 (one crop; 77.76 / 93.92 of ten crops)
          :torchvision_v1 76.130 top-1, 92.862 top-5
          :torchvision_v2 80.858 top-1, 95.434 top-5
          :a1 80.4 top-1 (timm: 80.382 / 94.598)
          :a2 79.8 top-1 (timm: 79.828)
          :a3 78.1 top-1 (timm: 78.052)
          :stochastic_depth 78.02 top-1 (21.98 % error; 23.38 % after 90 epochs)
          :drop_block 78.1 ? top-1
Ours      not yet run
"""

from ml_collections import ConfigDict

from configs import base


def _he2015(config: ConfigDict) -> None:
    config.batch_size = 256
    config.duration = "600000 steps"  # ? "up to 60 x 10^4 iterations"
    config.augment.crop = "resize_random"
    config.augment.resize = (256, 480)
    config.augment.lighting = 0.1
    config.loss.label_smoothing = 0.0
    config.optimizer.name = "caffe_sgd"
    config.optimizer.options = ConfigDict({"momentum": 0.9})
    config.optimizer.weight_decay = 1e-4
    config.schedule.name = "steps"
    config.schedule.learning_rate = 0.1
    config.schedule.warmup = "0 steps"
    config.schedule.boundaries = ("30 epochs", "60 epochs")
    config.schedule.factors = (0.1, 0.1)
    config.batch_norm_images = 8192  # ? "a sufficiently large training batch"
    config.eval.crop = 224 / 256
    config.eval.interpolation = "bilinear"


def _fb(config: ConfigDict) -> None:
    _torchvision_v1(config)
    config.augment.interpolation = "bicubic"
    config.augment.color_jitter = (0.4, 0.4, 0.4, 0.0)
    config.augment.lighting = 0.1
    config.optimizer.options = ConfigDict({"momentum": 0.9, "nesterov": True})
    config.eval.interpolation = "bicubic"


def _stochastic_depth(config: ConfigDict) -> None:
    _fb(config)
    config.model.name = "resnet152"
    config.model.options = ConfigDict({"drop_path": 0.5, "drop_path_rule": "mini_batch"})
    config.batch_size = 128
    config.duration = "120 epochs"
    config.schedule.boundaries = ("30 epochs", "60 epochs", "90 epochs")
    config.schedule.factors = (0.1, 0.1, 0.1)


def _torchvision_v1(config: ConfigDict) -> None:
    config.batch_size = 256
    config.duration = "90 epochs"
    config.augment.crop = "random_resized"
    config.augment.area = (0.08, 1.0)
    config.augment.ratio = (3 / 4, 4 / 3)
    config.augment.interpolation = "bilinear"
    config.loss.label_smoothing = 0.0
    config.optimizer.name = "sgd"
    config.optimizer.options = ConfigDict({"momentum": 0.9})
    config.optimizer.weight_decay = 1e-4  # of all parameters
    config.schedule.name = "steps"
    config.schedule.learning_rate = 0.1
    config.schedule.warmup = "0 steps"
    config.schedule.boundaries = ("30 epochs", "60 epochs")
    config.schedule.factors = (0.1, 0.1)
    config.eval.crop = 224 / 256
    config.eval.interpolation = "bilinear"


def _torchvision_v2(config: ConfigDict) -> None:
    _torchvision_v1(config)
    config.batch_size = 1024
    config.duration = "600 epochs"
    config.data.image_size = 176
    config.augment.policy = "trivial_augment_wide"
    config.augment.erasing = 0.1
    config.augment.erasing_mode = "constant"
    config.augment.repeats = 4
    config.mix.mixup = 0.2
    config.mix.cutmix = 1.0
    config.mix.convention = "torchvision"
    config.mix.group = 128
    config.loss.label_smoothing = 0.1
    config.optimizer.weight_decay = 2e-5
    config.optimizer.weight_decay_exclude = r"norm\d*/"
    config.schedule.name = "cosine"
    config.schedule.learning_rate = 0.5
    config.schedule.per = "epoch"
    config.schedule.warmup = "5 epochs"
    config.schedule.start = 0.01 * 0.5
    config.schedule.end = 0.0
    config.ema.decay = 1 - 2e-5 * 1024 * 32 / 600  # 0.99998, for each of 600 epochs
    config.ema.convention = "torchvision"
    config.ema.every = "32 steps"
    config.ema.start = "5 epochs"
    config.ema.batch_stats = True
    config.eval.image_size = 224
    config.eval.crop = 224 / 232


def _a1(config: ConfigDict) -> None:
    _torchvision_v1(config)
    config.batch_norm = "global"
    config.batch_size = 2048
    config.duration = "600 epochs"
    config.model.options = ConfigDict({"drop_path": 0.05, "drop_path_rule": "linear"})
    config.augment.interpolation = "bicubic"  # ?
    config.augment.policy = "rand-m7-mstd0.5-inc1"  # ? increasing, as in mmpretrain
    config.augment.repeats = 3
    config.mix.mixup = 0.2
    config.mix.cutmix = 1.0
    config.mix.convention = "deit"
    config.mix.group = 512  # ? four GPUs
    config.loss.name = "bce"
    config.loss.options = ConfigDict({"threshold": 0.2})  # ? both classes of a mixed image are 1
    config.loss.label_smoothing = 0.1  # ?
    config.optimizer.name = "lamb"
    config.optimizer.options = ConfigDict({"b1": 0.9, "b2": 0.999, "eps": 1e-6})
    config.optimizer.weight_decay = 0.01
    config.optimizer.weight_decay_exclude = "(bias|scale)$"
    config.optimizer.clip_norm = 1.0  # timm's LAMB
    config.schedule.name = "cosine"
    config.schedule.learning_rate = 5e-3
    config.schedule.per = "epoch"
    config.schedule.convention = "timm"
    config.schedule.warmup = "5 epochs"
    config.schedule.start = 1e-6  # ?
    config.schedule.end = 1e-6  # ?
    config.eval.crop = 0.95
    config.eval.interpolation = "bicubic"


def _a2(config: ConfigDict) -> None:
    _a1(config)
    config.duration = "300 epochs"
    config.mix.mixup = 0.1
    config.loss.label_smoothing = 0.0
    config.optimizer.weight_decay = 0.02


def _a3(config: ConfigDict) -> None:
    _a2(config)
    config.duration = "100 epochs"
    config.data.image_size = 160
    config.eval.image_size = 224
    config.model.options = ConfigDict({"drop_path": 0.0})
    config.augment.policy = "rand-m6-mstd0.5-inc1"  # ? increasing
    config.augment.repeats = 1
    config.schedule.learning_rate = 8e-3


def _drop_block(config: ConfigDict) -> None:
    _torchvision_v1(config)
    config.batch_size = 1024
    config.duration = "270 epochs"  # ?
    config.model.options = ConfigDict({"drop_block": 0.1, "drop_block_size": 7})
    config.schedule.learning_rate = 0.4
    config.schedule.warmup = "5 epochs"  # ?
    config.schedule.boundaries = ("125 epochs", "200 epochs", "250 epochs")  # ?
    config.schedule.factors = (0.1, 0.1, 0.1)


VARIANTS = {
    "he2015": _he2015,
    "fb": _fb,
    "torchvision_v1": _torchvision_v1,
    "torchvision_v2": _torchvision_v2,
    "a1": _a1,
    "a2": _a2,
    "a3": _a3,
    "stochastic_depth": _stochastic_depth,
    "drop_block": _drop_block,
}


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe of a variant, see above; with "smoke" a few steps of it on tiny data."""
    variant, arg = base.variant(arg, VARIANTS)
    config = base.get_config()
    config.model.name = "resnet50"
    config.data.name = "imagenet2012"
    # In all these runs but RSB's each device has BatchNorm statistics of its own.
    config.batch_norm = "per_device"
    config.augment.flip = True
    VARIANTS[variant](config)
    return base.finish(config, arg)
