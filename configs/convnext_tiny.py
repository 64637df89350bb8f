"""ConvNeXt on ImageNet, the authors' recipe (Liu et al. 2022, Table 5), and torchvision's.

AdamW, batch 4096, learning rate 4e-3 with 20 epochs of warm-up and a cosine to 1e-6 over 300
epochs, weight decay 0.05 (not on what has one axis), drop path 0.1 (T), 0.4 (S), 0.5 (B, L), label
smoothing 0.1; crops (bicubic), flips, RandAugment (m9, std 0.5, increasing), erasing 0.25, mixup
0.8 or cutmix 1.0; a moving average of 0.9999 is published. :torchvision: batch 1024, rate 1e-3, 600
epochs, TrivialAugment, images of 176 pixels in training.
Command   python -m train --config=configs/convnext_tiny.py --config.data.dir=... --workdir=...
Paper     A ConvNet for the 2020s, arXiv:2201.03545, Table 1; facebookresearch/ConvNeXt TRAINING.md
Hardware  authors: 4 nodes of 8 GPUs x 128 images
Published 82.1 top-1
          :small 83.1 top-1
          :base 83.8 top-1
          :large 84.3 top-1
          :torchvision 82.520 top-1
Ours      not yet run
"""

from ml_collections import ConfigDict

from configs import base, deit_s, resnet50

VARIANTS = {"tiny": 0.1, "small": 0.4, "base": 0.5, "large": 0.5, "torchvision": 0.1}


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe of a variant, see above; with "smoke" a few steps of it on tiny data."""
    variant, arg = base.variant(arg, VARIANTS)
    if variant == "torchvision":
        config = resnet50.get_config("torchvision_v2")
        config.model.name = "convnext_tiny"
        config.model.options = ConfigDict({"drop_path": 0.1})
        config.optimizer.name = "adamw"
        config.optimizer.options = ConfigDict({"b1": 0.9, "b2": 0.999, "eps": 1e-8})
        config.optimizer.weight_decay = 0.05
        config.optimizer.weight_decay_exclude = r"norm\d*/"
        config.schedule.learning_rate = 1e-3
        config.schedule.start = 0.01 * 1e-3
        config.eval.crop = 224 / 236
        return base.finish(config, arg)
    config = deit_s.get_config()
    config.model.name = f"convnext_{variant}"
    config.model.options = ConfigDict({"drop_path": VARIANTS[variant], "layer_scale": 1e-6})
    config.batch_size = 4096
    config.augment.repeats = 1
    config.mix.group = 128
    config.optimizer.weight_decay_exclude = ""
    config.schedule.learning_rate = 4e-3
    config.schedule.per = "step"
    config.schedule.convention = "convnext"
    config.schedule.warmup = "20 epochs"
    config.schedule.start = 0.0
    config.schedule.end = 1e-6
    config.ema.decay = 0.9999
    config.eval.crop = 224 / 256
    return base.finish(config, arg)
