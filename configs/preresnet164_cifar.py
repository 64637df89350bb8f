"""Pre-activated ResNets on CIFAR-10 and ImageNet, the paper's recipes (He et al. 2016, appendix).

CIFAR-10: SGD with momentum 0.9, batch 128, learning rate 0.1 divided by 10 after 32,000 and 48,000
of 64,000 steps, the first 400 at 0.01, weight decay 1e-4; padding by 4, random crop, flip. :110 and
:1001 are other depths. :imagenet_200 is ResNet-200: batch 256, the rate divided by 10 at 30 and 60
epochs, shorter sides of 256 to 480 pixels, evaluated on 320 pixels.

Differs: `preresnet*_cifar` projects the raw input where a stage changes the shape; channel means.
:imagenet_200 is given 90 epochs, which the paper does not say.

Command   python -m train --config=configs/preresnet164_cifar.py --workdir=...
Paper     Identity Mappings in Deep Residual Networks, arXiv:1603.05027, Tables 2, 4 and 5
Hardware  paper: 2 GPUs (CIFAR), 8 GPUs (ImageNet)
Published 94.54 top-1 (5.46 % error)
          :110 93.63 top-1 (6.37 % error)
          :1001 95.08 top-1 (4.92 % error; 4.62 % with batches of 64)
          :imagenet_200 79.3 top-1, 94.7 top-5 (320 pixels of 320)
Ours      not yet run
"""

from ml_collections import ConfigDict

from configs import base, resnet20_cifar, resnet50

VARIANTS = ("164", "110", "1001", "imagenet_200")


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe of a variant, see above; with "smoke" a few steps of it on tiny data."""
    variant, arg = base.variant(arg, VARIANTS)
    if variant == "imagenet_200":
        config = resnet50.get_config("he2015")
        config.model.name = "preresnet200"
        config.duration = "90 epochs"  # ?
        config.data.image_size = 224
        config.eval.image_size = 320
        config.eval.crop = 1.0
    else:
        config = resnet20_cifar.get_config("110")
        config.model.name = f"preresnet{variant}_cifar"
    return base.finish(config, arg)
