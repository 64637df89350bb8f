"""Swin-T on ImageNet, the authors' recipe (Liu et al. 2021, Appendix A2.1).

AdamW, batch 1024, learning rate 1e-3 with 20 epochs of warm-up and a cosine to 1e-5 over 300
epochs, weight decay 0.05 (not on biases, norms and the tables of relative positions), gradients
clipped to norm 5, drop path 0.2, label smoothing 0.1, RandomResizedCrop (bicubic) and flip.

Not implemented yet, but part of the published recipe: RandAugment (m9, std 0.5, increasing), random
erasing 0.25, mixup 0.8 alternating with cutmix 1.0.

Command   python -m train --config=configs/swin_t.py --config.data.dir=... --workdir=...
Hardware  authors: 8 GPUs x 128 images
Published 81.2 top-1, 95.5 top-5 (microsoft/Swin-Transformer)
Ours      not yet run
"""

from ml_collections import ConfigDict

from configs import base, deit_s


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe, or a few steps of it on tiny data if `arg` is "smoke"."""
    config = deit_s.get_config()
    config.model.name = "swin_t"
    config.model.options.drop_path = 0.2
    config.optimizer.weight_decay_exclude = r"(bias|scale|bias_table)$"
    config.optimizer.clip_norm = 5.0
    config.schedule.warmup = "20 epochs"
    return base.finish(config, arg)
