"""ShuffleNet v1 on ImageNet, the authors' recipe (Zhang et al. 2017, section 4; ShuffleNet-Series).

SGD with momentum 0.9, batch 1024, learning rate 0.5 that falls linearly to 0 over 300,000 steps,
weight decay 4e-5 on weights alone, label smoothing 0.1; crops of 8 to 100 % of the area, colour
jitter 0.4, flips. (The paper has a milder augmentation of scales.) Evaluation is every 10,000
steps, with statistics of BatchNorm that are the average over an epoch of training images. :g8 has 8
groups; :0_5x, :1_5x and :2_0x are other widths of 3 groups.

Differs: the authors' input is BGR in 0..255 without mean and deviation, and their evaluation
resizes without a filter against aliasing; they average the statistics only at the end.

Command   python -m train --config=configs/shufflenet_v1_g3_1_0x.py
          --config.data.dir=... --workdir=...
Paper     ShuffleNet, arXiv:1707.01083, Table 2; megvii-model/ShuffleNet-Series
Hardware  authors: 4 GPUs
Published 67.8 top-1, 87.7 top-5 (32.2 / 12.3 % error)
          :g8 68.0 top-1, 86.4 top-5
          :0_5x 57.3 top-1, 80.0 top-5
          :1_5x 71.6 top-1, 90.2 top-5
          :2_0x 74.1 top-1, 91.4 top-5
Ours      not yet run
"""

from ml_collections import ConfigDict

from configs import base, resnet50

VARIANTS = {
    "g3": "shufflenet_v1_g3_1_0x",
    "g8": "shufflenet_v1_g8_1_0x",
    "0_5x": "shufflenet_v1_g3_0_5x",
    "1_5x": "shufflenet_v1_g3_1_5x",
    "2_0x": "shufflenet_v1_g3_2_0x",
}


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe of a variant, see above; with "smoke" a few steps of it on tiny data."""
    variant, arg = base.variant(arg, VARIANTS)
    config = resnet50.get_config("torchvision_v1")
    config.model.name = VARIANTS[variant]
    config.batch_size = 1024
    config.duration = "300000 steps"
    config.augment.color_jitter = (0.4, 0.4, 0.4, 0.0)
    config.loss.label_smoothing = 0.1
    config.optimizer.weight_decay = 4e-5
    config.optimizer.weight_decay_exclude = "(bias|scale)$"
    config.schedule.name = "linear"
    config.schedule.learning_rate = 0.5
    config.schedule.end = 0.0
    config.schedule.boundaries = config.schedule.factors = ()
    config.batch_norm_images = 1_280_000
    config.eval.every = "10000 steps"
    return base.finish(config, arg)
