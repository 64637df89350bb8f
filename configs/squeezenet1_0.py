"""SqueezeNet on ImageNet, the authors' recipe (Iandola et al. 2016; their solver for Caffe).

SGD with momentum 0.9, batch 512 (16 x 32), learning rate 0.04 that falls linearly to 0 over 170,000
steps, weight decay 2e-4; random crops of 227 of 256 pixels (the authors' file does not mirror);
dropout 0.5 after the last fire module. :1_1 is the cheaper one of the repository.

Differs: crops have the model's 224 pixels, of an image whose shorter side has 256; the input is
divided by the standard deviation; Caffe warps whole images to 256 x 256.

Command   python -m train --config=configs/squeezenet1_0.py --config.data.dir=... --workdir=...
Paper     SqueezeNet, arXiv:1602.07360, Table 2; forresti/SqueezeNet
Hardware  authors: not said
Published 57.5 ? top-1, 80.3 ? top-5
          :1_1 57.5 ? top-1, 80.3 ? top-5 (torchvision's weights: 58.178 / 80.624)
Ours      not yet run
"""

from ml_collections import ConfigDict

from configs import alexnet, base

VARIANTS = ("1_0", "1_1")


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe of a variant, see above; with "smoke" a few steps of it on tiny data."""
    variant, arg = base.variant(arg, VARIANTS)
    config = alexnet.get_config()
    config.model.name = f"squeezenet{variant}"
    config.model.options = ConfigDict({"dropout": 0.5})
    config.batch_size = 512
    config.duration = "170000 steps"
    config.augment.flip = False
    config.augment.lighting = 0.0
    config.optimizer.accumulate = 16
    config.optimizer.weight_decay = 2e-4
    config.schedule.name = "polynomial"
    config.schedule.options = ConfigDict({"power": 1.0})
    config.schedule.learning_rate = 0.04
    config.schedule.end = 0.0
    config.schedule.boundaries = config.schedule.factors = ()
    config.eval.crop = 227 / 256
    config.eval.views = "center"
    return base.finish(config, arg)
