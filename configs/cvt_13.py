"""CvT on ImageNet, the authors' recipe (Wu et al. 2021, section 4.1).

AdamW, batch 2048, learning rate 2e-3 (2.5e-4 for each 256 images) with 5 epochs of warm-up and a
cosine to 1e-5 over 300 epochs, weight decay 0.05 (:21 has 0.1; not on biases and norms), drop path
0.1 in the last stage, label smoothing 0.1; crops (bicubic), flips, RandAugment, erasing 0.25, mixup
0.8 or cutmix 1.0; only :21 shows each image three times. The schedule is set once per epoch; its 10
cool-down epochs are not trained.

Differs: as the file of :21 stands in the repository, RandAugment and erasing are switched off and
its crops bilinear; here they are those of :13. :21 has the batch and rate of :13, with 16 GPUs.

Command   python -m train --config=configs/cvt_13.py --config.data.dir=... --workdir=...
Paper     CvT, arXiv:2103.15808, Table 4; microsoft/CvT
Hardware  authors: 8 GPUs x 256 images
Published 81.6 top-1
          :21 82.5 top-1
Ours      not yet run
"""

from ml_collections import ConfigDict

from configs import base, deit_s

VARIANTS = ("13", "21")


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe of a variant, see above; with "smoke" a few steps of it on tiny data."""
    variant, arg = base.variant(arg, VARIANTS)
    config = deit_s.get_config()
    config.model.name = f"cvt_{variant}"
    config.model.options = ConfigDict({"dropout": 0.0, "drop_path": (0.0, 0.0, 0.1)})
    config.batch_size = 2048
    config.augment.repeats = 1 if variant == "13" else 3
    config.mix.group = 256 if variant == "13" else 128
    config.optimizer.weight_decay = 0.05 if variant == "13" else 0.1
    config.optimizer.weight_decay_exclude = "(bias|scale|_token)$"
    config.optimizer.weight_decay_exclude_1d = False
    config.schedule.learning_rate = 2.5e-4 * 2048 / 256
    config.schedule.convention = "timm"
    config.ema.decay = 0.0
    return base.finish(config, arg)
