"""CvT-13 on ImageNet, the authors' recipe (Wu et al. 2021, section 4.1).

AdamW, batch 2048, learning rate 2e-3 with 5 epochs of warm-up and a cosine to 1e-5 over 300 epochs,
weight decay 0.05 (not on biases and norms), drop path 0.1 in the last stage, label smoothing 0.1,
RandomResizedCrop (bicubic) and flip.

Not implemented yet, but part of the published recipe: RandAugment (m9, std 0.5, increasing), random
erasing 0.25, mixup 0.8 alternating with cutmix 1.0, 10 cool-down epochs at 1e-5.

Command   python -m train --config=configs/cvt_13.py --config.data.dir=... --workdir=...
Hardware  authors: 8 GPUs x 256 images; 2.5e-4 for each 256
Published 81.6 top-1 (microsoft/CvT)
Ours      not yet run
"""

from ml_collections import ConfigDict

from configs import base, deit_s


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe, or a few steps of it on tiny data if `arg` is "smoke"."""
    config = deit_s.get_config()
    config.model.name = "cvt_13"
    config.batch_size = 2048
    config.optimizer.weight_decay_exclude = r"(bias|scale)$"
    config.schedule.learning_rate = 0.002
    return base.finish(config, arg)
