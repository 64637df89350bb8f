"""CrossViT on ImageNet, the authors' recipe (Chen et al. 2021, section 4.1).

DeiT's with a warm-up of 30 epochs and no average of the weights, on images of 240 pixels; batch
4096 (4 nodes of 8 GPUs; on one node the repository has 2048 and 5 epochs of warm-up). Positions and
class tokens decay: the repository exempts names that no parameter has.

Command   python -m train --config=configs/crossvit_s.py --config.data.dir=... --workdir=...
Paper     CrossViT, arXiv:2103.14899, Table 2; IBM/CrossViT
Hardware  authors: 32 GPUs x 128 images
Published 81.0 top-1
          :ti 73.4 top-1
          :b 82.2 ? top-1
Ours      not yet run
"""

from ml_collections import ConfigDict

from configs import base, deit_s

VARIANTS = ("s", "ti", "b")


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe of a variant, see above; with "smoke" a few steps of it on tiny data."""
    variant, arg = base.variant(arg, VARIANTS)
    config = deit_s.get_config()
    config.model.name = f"crossvit_{variant}"
    config.model.options = ConfigDict({"dropout": 0.0, "drop_path": 0.1})
    config.data.image_size = 240
    config.batch_size = 4096
    config.mix.group = 128
    config.optimizer.weight_decay_exclude = ""
    config.schedule.learning_rate = 5e-4 * 4096 / 512
    config.schedule.warmup = "30 epochs"
    config.ema.decay = 0.0
    config.eval.crop = 224 / 256
    return base.finish(config, arg)
