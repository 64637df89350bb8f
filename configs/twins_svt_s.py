"""Twins on ImageNet, the authors' recipe (Chu et al. 2021, section 4.1).

DeiT's with gradients clipped at norm 5, without an average of the weights, and each image once in
an epoch; the convolutions of the positions do not decay. Peaks of the rate are those of the logs:
2e-3 (SVT-S), 1.25e-3 (PCPVT-S), 1e-3 (the others), and batches follow from them; SVT-L has 20
epochs of warm-up, the others 5.

Command   python -m train --config=configs/twins_svt_s.py --config.data.dir=... --workdir=...
Paper     Twins, arXiv:2104.13840, Table 1; Meituan-AutoML/Twins
Hardware  authors: 8 GPUs
Published 81.7 top-1
          :svt_b 83.2 top-1
          :svt_l 83.660 top-1, 96.512 top-5
          :pcpvt_s 81.2 top-1
          :pcpvt_b 82.7 top-1
          :pcpvt_l 83.1 top-1
Ours      not yet run
"""

from ml_collections import ConfigDict

from configs import base, deit_s

VARIANTS = {  # drop path, peak of the learning rate, epochs of warm-up
    "svt_s": (0.2, 2e-3, 5),  # ? drop path
    "svt_b": (0.3, 1e-3, 5),
    "svt_l": (0.5, 1e-3, 20),  # ? drop path
    "pcpvt_s": (0.2, 1.25e-3, 5),  # ? drop path
    "pcpvt_b": (0.3, 1e-3, 5),  # ? drop path
    "pcpvt_l": (0.5, 1e-3, 5),  # ? drop path
}


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe of a variant, see above; with "smoke" a few steps of it on tiny data."""
    variant, arg = base.variant(arg, VARIANTS)
    drop_path, peak, warmup = VARIANTS[variant]
    config = deit_s.get_config()
    config.model.name = f"twins_{variant}"
    config.model.options = ConfigDict({"dropout": 0.0, "drop_path": drop_path})
    config.batch_size = round(512 * peak / 5e-4)  # 5e-4 for each 512 images
    config.augment.repeats = 1
    config.mix.group = config.batch_size // 8  # ? the number of GPUs, but of SVT-B
    config.optimizer.weight_decay_exclude = "position_conv/"
    config.optimizer.clip_norm = 5.0
    config.schedule.learning_rate = peak
    config.schedule.warmup = f"{warmup} epochs"
    config.ema.decay = 0.0
    config.eval.crop = 224 / 256
    return base.finish(config, arg)
