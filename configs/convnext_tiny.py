"""ConvNeXt-T on ImageNet, the authors' recipe (Liu et al. 2022, Table 5).

AdamW, batch 4096, learning rate 4e-3 with 20 epochs of warm-up and a cosine to 1e-6 over 300
epochs, weight decay 0.05 (not on biases, norms and layer scale), drop path 0.1, label smoothing
0.1, RandomResizedCrop (bicubic) and flip; a moving average of the weights (0.9999) is evaluated.

Not implemented yet, but part of the published recipe: RandAugment (m9, std 0.5, increasing), random
erasing 0.25, mixup 0.8 alternating with cutmix 1.0.

Command   python -m train --config=configs/convnext_tiny.py --config.data.dir=... --workdir=...
Hardware  authors: 4 nodes of 8 GPUs x 128 images
Published 82.1 top-1 (facebookresearch/ConvNeXt)
Ours      not yet run
"""

from ml_collections import ConfigDict

from configs import base, deit_s


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe, or a few steps of it on tiny data if `arg` is "smoke"."""
    config = deit_s.get_config()
    config.model.name = "convnext_tiny"
    config.batch_size = 4096
    config.optimizer.weight_decay_exclude = r"(bias|scale)$"
    config.schedule.learning_rate = 0.004
    config.schedule.warmup = "20 epochs"
    config.schedule.start = 0.0
    config.schedule.end = 1e-06
    config.ema.decay = 0.9999
    return base.finish(config, arg)
