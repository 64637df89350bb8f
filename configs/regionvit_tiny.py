"""RegionViT on ImageNet, the authors' recipe (Chen et al. 2021, section 4.1).

DeiT's with a warm-up of 50 epochs and no average of the weights, batch 4096 (2 nodes of 8 GPUs; on
one node the repository has 2048 and 5 epochs of warm-up). Tables of positions decay.

Command   python -m train --config=configs/regionvit_tiny.py --config.data.dir=... --workdir=...
Paper     RegionViT, arXiv:2106.02689, Table 2; IBM/RegionViT
Hardware  authors: 16 GPUs x 256 images
Published 80.4 top-1
          :small 82.6 top-1
          :medium 83.1 top-1
          :base 83.2 top-1
Ours      not yet run
"""

from ml_collections import ConfigDict

from configs import base, deit_s

VARIANTS = ("tiny", "small", "medium", "base")


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe of a variant, see above; with "smoke" a few steps of it on tiny data."""
    variant, arg = base.variant(arg, VARIANTS)
    config = deit_s.get_config()
    config.model.name = f"regionvit_{variant}"
    config.model.options = ConfigDict({"dropout": 0.0, "drop_path": 0.1})
    config.batch_size = 4096  # ? in the paper
    config.optimizer.weight_decay_exclude = ""
    config.schedule.learning_rate = 5e-4 * 4096 / 512
    config.schedule.warmup = "50 epochs"
    config.ema.decay = 0.0
    config.eval.crop = 224 / 256
    return base.finish(config, arg)
