"""Swin v2 on ImageNet, the authors' recipe (Liu et al. 2021; microsoft/Swin-Transformer, swinv2).

That of Swin, on images of 256 pixels with windows of 8: AdamW, batch 1024, learning rate 1e-3 with
20 epochs of warm-up and a cosine to 1e-5 over 300 epochs, weight decay 0.05, gradients clipped at
norm 5, drop path 0.2 (T), 0.3 (S), 0.5 (B). What computes the positions' biases does not decay.

Command   python -m train --config=configs/swin_v2_t.py --config.data.dir=... --workdir=...
Paper     Swin Transformer V2, arXiv:2111.09883; microsoft/Swin-Transformer
Hardware  authors: 8 GPUs x 128 images ?
Published 81.8 top-1, 95.9 top-5 (256 pixels, windows of 8)
          :s 83.7 top-1, 96.6 top-5
          :b 84.2 top-1, 96.9 top-5
Ours      not yet run
"""

from ml_collections import ConfigDict

from configs import base, swin_t

VARIANTS = {"t": 0.2, "s": 0.3, "b": 0.5}


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe of a variant, see above; with "smoke" a few steps of it on tiny data."""
    variant, arg = base.variant(arg, VARIANTS)
    config = swin_t.get_config()
    config.model.name = f"swin_v2_{variant}"
    config.model.options = ConfigDict({"dropout": 0.0, "drop_path": VARIANTS[variant]})
    config.data.image_size = 256
    config.optimizer.weight_decay_exclude = "logit_scale$|bias_fc"
    config.eval.crop = 256 / 292  # int(256 / 224 * 256)
    return base.finish(config, arg)
