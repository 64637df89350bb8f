"""GoogLeNet on ImageNet, the recipe of Caffe's bvlc_googlenet ("quick solver").

SGD with momentum 0.9, batch 32, learning rate 0.01 that falls as (1 - t/T)^0.5 over 2,400,000 steps
(60 epochs), weight decay 2e-4; random crops of 224 of 256 pixels and flips; dropout 0.4, and 0.7 in
the auxiliary classifiers, whose losses count 0.3 each. :paper is what the paper says (Szegedy et
al. 2014, section 6): crops of 8 to 100 % of the area, photometric distortions, the rate times 0.96
every 8 epochs, an average of the weights; its rate, batch and length are those of Caffe's other
solver (250 epochs), as it does not say them. Biases learn twice as fast and do not decay.

Differs: the input is divided by the standard deviation; Caffe warps whole images to 256 x 256. In
:paper the interpolation of the crops is drawn, and the distortions are a jitter of brightness,
contrast and saturation.

Command   python -m train --config=configs/googlenet.py --config.data.dir=... --workdir=...
          python -m train.evaluate --views=googlenet_144 ...
Paper     Going Deeper with Convolutions, arXiv:1409.4842, Table 3; BVLC/caffe models/bvlc_googlenet
Hardware  Caffe: one GPU; paper: DistBelief, CPUs
Published 68.7 top-1, 88.9 top-5 (centre crop)
          :paper 89.93 ? top-5 (10.07 % error, one crop; 144 crops: 7.89 ? %)
Ours      not yet run
"""

from ml_collections import ConfigDict

from configs import alexnet, base

VARIANTS = ("caffe", "paper")


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe of a variant, see above; with "smoke" a few steps of it on tiny data."""
    variant, arg = base.variant(arg, VARIANTS)
    config = alexnet.get_config()
    config.model.name = "googlenet"
    config.model.options = ConfigDict({"dropout": 0.4, "aux_dropout": 0.7})
    config.batch_size = 32
    config.duration = "2400000 steps"
    config.augment.lighting = 0.0
    config.loss.auxiliary_weights = (0.3, 0.3)
    config.optimizer.weight_decay = 2e-4
    config.optimizer.weight_decay_exclude = "bias$"
    config.optimizer.multipliers = (("bias$", 2.0),)
    config.schedule.name = "polynomial"
    config.schedule.options = ConfigDict({"power": 0.5})
    config.schedule.learning_rate = 0.01
    config.schedule.end = 0.0
    config.schedule.boundaries = config.schedule.factors = ()
    config.eval.crop = 224 / 256
    config.eval.views = "center"
    if variant == "paper":
        config.duration = "10000000 steps"  # ?
        config.augment.crop = "random_resized"
        config.augment.area = (0.08, 1.0)
        config.augment.ratio = (3 / 4, 4 / 3)
        config.augment.interpolation = "random"
        config.augment.color_jitter = (0.4, 0.4, 0.4, 0.0)  # ?
        config.schedule.name = "exponential"
        config.schedule.options = ConfigDict(
            {"factor": 0.96, "every": "8 epochs", "staircase": True}
        )
        config.ema.decay = 0.9999  # ? "Polyak averaging"
        config.ema.convention = "tensorflow"
    return base.finish(config, arg)
