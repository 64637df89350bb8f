"""AlexNet on ImageNet: the paper's recipe (Krizhevsky et al. 2012), Caffe's and torchvision's.

SGD with momentum 0.9 (the rate within the momentum), batch 128, learning rate 0.01, weight decay
5e-4 on all parameters, about 90 epochs; shorter side of 256, random square crop, flip, colour shift
along the principal components of RGB; dropout 0.5. :caffe is Caffe's bvlc_alexnet: the rate falls
every 100,000 of 450,000 steps, biases learn twice as fast and do not decay, no colour shift.
:torchvision is AlexNet "one weird trick" by torchvision.

Differs from the paper: it divides the rate by 10 by hand, 3 times, when the validation error
stalls: here at 30, 60 and 80 epochs; its crops are of the central 256 x 256 pixels, not of the
whole resized image, and it says 224 pixels where 227 fit; it subtracts the mean of each pixel, and
does not divide by a deviation. Caffe warps whole images to 256 x 256.

Command   python -m train --config=configs/alexnet.py --config.data.dir=... --workdir=...
Paper     ImageNet Classification with Deep Convolutional Neural Networks, NIPS 2012, sections 4, 5
Hardware  paper: 2 GTX 580, five to six days
Published 59.3 top-1, 81.8 ? top-5 (ILSVRC-2012, one network, ten crops)
          :caffe 57.1 top-1, 80.2 top-5 (centre crop)
          :torchvision 56.522 top-1, 79.066 top-5
Ours      not yet run
"""

from ml_collections import ConfigDict

from configs import base, resnet50

VARIANTS = ("paper", "caffe", "torchvision")


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe of a variant, see above; with "smoke" a few steps of it on tiny data."""
    variant, arg = base.variant(arg, VARIANTS)
    if variant == "torchvision":
        config = resnet50.get_config("torchvision_v1")
        config.model.name = "alexnet_owt"
        config.model.options = ConfigDict({"dropout": 0.5})
        config.schedule.learning_rate = 0.01
        return base.finish(config, arg)
    config = base.get_config()
    config.model.name = "alexnet"
    config.model.options = ConfigDict({"dropout": 0.5})
    config.data.name = "imagenet2012"
    config.batch_size = 128
    config.duration = "90 epochs"
    config.augment.crop = "resize_random"
    config.augment.resize = (256, 256)
    config.augment.interpolation = "bilinear"
    config.augment.flip = True
    config.augment.lighting = 0.1
    config.loss.label_smoothing = 0.0
    config.optimizer.name = "caffe_sgd"
    config.optimizer.options = ConfigDict({"momentum": 0.9})
    config.optimizer.weight_decay = 5e-4
    config.schedule.name = "steps"
    config.schedule.learning_rate = 0.01
    config.schedule.warmup = "0 steps"
    config.schedule.boundaries = ("30 epochs", "60 epochs", "80 epochs")
    config.schedule.factors = (0.1, 0.1, 0.1)
    config.eval.crop = 227 / 256
    config.eval.interpolation = "bilinear"
    config.eval.views = "ten_crop_square"
    config.eval.average = "probabilities"
    if variant == "caffe":
        config.batch_size = 256
        config.duration = "450000 steps"
        config.augment.lighting = 0.0
        config.optimizer.weight_decay_exclude = "bias$"
        config.optimizer.multipliers = (("bias$", 2.0),)
        falls = range(100_000, 450_000, 100_000)
        config.schedule.boundaries = tuple(f"{step} steps" for step in falls)
        config.schedule.factors = (0.1,) * 4
        config.eval.views = "center"
    return base.finish(config, arg)
