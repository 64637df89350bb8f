"""ResNet-50 on ImageNet, torchvision's recipe of its first weights (V1).

SGD with momentum, batch 256, learning rate 0.1 divided by 10 every 30 of 90 epochs, weight decay
1e-4 on all parameters, RandomResizedCrop (bilinear) and flip; evaluation on the central 224 of 256.

Command   python -m train --config=configs/resnet50.py --config.data.dir=... --workdir=...
Hardware  torchvision: 8 GPUs x 32 images
Published 76.130 top-1, 92.862 top-5 (torchvision, references/classification)
Ours      not yet run
"""

from ml_collections import ConfigDict

from configs import base


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe, or a few steps of it on tiny data if `arg` is "smoke"."""
    config = base.get_config()
    config.model.name = "resnet50"
    config.data.name = "imagenet2012"
    config.batch_size = 256
    config.duration = "90 epochs"
    config.augment.crop = "random_resized"
    config.augment.flip = True
    config.optimizer.options = ConfigDict({"momentum": 0.9})
    config.optimizer.weight_decay = 1e-4
    config.schedule.name = "steps"
    config.schedule.boundaries = ("30 epochs", "60 epochs")
    config.schedule.factors = (0.1, 0.1)
    # In torchvision's runs each of 8 devices has its own BatchNorm statistics.
    config.batch_norm = "per_device"
    return base.finish(config, arg)
