"""ResNets of 20 to 1202 layers on CIFAR-10, the paper's recipe (He et al. 2015, section 4.2).

SGD with momentum 0.9, batch 128, learning rate 0.1 divided by 10 after 32,000 and 48,000 of 64,000
steps, weight decay 1e-4; images are padded by 4 and cropped at random, and flipped. :110 begins
with 400 steps at 0.01. :plain20 ... :plain56 are the networks without shortcuts. :stochastic_depth
trains 110 layers by Huang et al. 2016 for 500 epochs: the last block is dropped from every other
mini-batch, the first from every 108th. :resnet18 is the wide network that is usually meant by
ResNet-18 on CIFAR, by kuangliu/pytorch-cifar: weight decay 5e-4, a cosine over 200 epochs.

Differs: the mean of each channel is subtracted, not of each pixel; :stochastic_depth trains on all
50,000 images, its authors on 45,000 of them, choosing the epoch on the others.

Command   python -m train --config=configs/resnet20_cifar.py:56 --workdir=...
Paper     Deep Residual Learning for Image Recognition, arXiv:1512.03385, Table 6;
          Deep Networks with Stochastic Depth, arXiv:1603.09382, Table 1
Hardware  paper: 2 GPUs
Published 91.25 ? top-1
          :32 92.49 ? top-1
          :44 92.83 ? top-1
          :56 93.03 ? top-1
          :110 93.57 ? top-1 (the best of five; 93.39 their mean)
          :1202 92.07 top-1
          :plain20 none
          :plain32 none
          :plain44 none
          :plain56 none
          :stochastic_depth 94.75 top-1 (5.25 % error; constant depth: 6.41 %)
          :resnet18 93.02 top-1 (by an earlier schedule of steps)
Ours      not yet run
"""

from ml_collections import ConfigDict

from configs import base

VARIANTS = {
    **{depth: f"resnet{depth}_cifar" for depth in ("20", "32", "44", "56", "110", "1202")},
    **{f"plain{depth}": f"plain{depth}_cifar" for depth in ("20", "32", "44", "56")},
    "stochastic_depth": "resnet110_cifar",
    "resnet18": "resnet18_cifar",
}


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe of a variant, see above; with "smoke" a few steps of it on tiny data."""
    variant, arg = base.variant(arg, VARIANTS)
    config = base.get_config()
    config.model.name = VARIANTS[variant]
    config.data.name = "cifar10"
    config.batch_size = 128
    config.duration = "64000 steps"
    config.augment.crop = "padded"
    config.augment.padding = 4
    config.augment.padding_mode = "constant"
    config.augment.flip = True
    config.loss.label_smoothing = 0.0
    config.optimizer.name = "caffe_sgd"
    config.optimizer.options = ConfigDict({"momentum": 0.9})
    config.optimizer.weight_decay = 1e-4
    config.schedule.name = "steps"
    config.schedule.learning_rate = 0.1
    config.schedule.warmup = "0 steps"
    config.schedule.boundaries = ("32000 steps", "48000 steps")
    config.schedule.factors = (0.1, 0.1)
    config.eval.crop = 1.0
    config.eval.interpolation = "bilinear"
    if variant in ("110", "1202"):
        config.schedule.learning_rate = 0.01
        config.schedule.boundaries = ("400 steps", "32000 steps", "48000 steps")
        config.schedule.factors = (10.0, 0.1, 0.1)
    if variant == "stochastic_depth":
        config.duration = "500 epochs"
        config.model.options = ConfigDict({"drop_path": 0.5, "drop_path_rule": "mini_batch"})
        config.optimizer.name = "sgd"
        config.optimizer.options = ConfigDict({"momentum": 0.9, "nesterov": True})
        config.schedule.boundaries = ("250 epochs", "375 epochs")
    if variant == "resnet18":
        config.duration = "200 epochs"
        config.optimizer.name = "sgd"
        config.optimizer.weight_decay = 5e-4
        config.schedule.name = "cosine"
        config.schedule.per = "epoch"
        config.schedule.boundaries = config.schedule.factors = ()
    return base.finish(config, arg)
