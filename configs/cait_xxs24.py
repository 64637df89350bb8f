"""CaiT on ImageNet, the authors' recipe (Touvron et al. 2021, section 5), without distillation.

DeiT's, over 400 epochs, with a drop path of the same rate in every block: 0.05 (XXS, XS), 0.1
(S24), 0.2 (S36). The figures of the released weights, which a RegNetY-16GF taught, are higher; for
them set config.distillation as deit_s.py:distilled does. Evaluation is on whole images, without a
margin.
Command   python -m train --config=configs/cait_xxs24.py --config.data.dir=... --workdir=...
Paper     Going deeper with Image Transformers, arXiv:2103.17239, Table 6; facebookresearch/deit
Hardware  authors: not said
Published 77.6 ? top-1 (78.4 distilled)
          :xxs36 none that was read
          :xs24 none that was read (384 pixels, distilled: 84.1)
          :s24 82.7 ? top-1 (83.5 distilled)
          :s36 83.3 ? top-1 (384 pixels, distilled: 85.4)
Ours      not yet run
"""

from ml_collections import ConfigDict

from configs import base, deit_s

VARIANTS = {  # drop path, initial LayerScale
    "xxs24": (0.05, 1e-5),  # ? drop path
    "xxs36": (0.05, 1e-5),  # ? drop path
    "xs24": (0.05, 1e-5),  # ? drop path
    "s24": (0.1, 1e-5),  # ? drop path
    "s36": (0.2, 1e-6),  # ? drop path
}


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe of a variant, see above; with "smoke" a few steps of it on tiny data."""
    variant, arg = base.variant(arg, VARIANTS)
    config = deit_s.get_config()
    config.model.name = f"cait_{variant}"
    drop_path, layer_scale = VARIANTS[variant]
    config.model.options = ConfigDict({"drop_path": drop_path, "layer_scale": layer_scale})
    config.duration = "400 epochs"
    config.eval.crop = 1.0
    return base.finish(config, arg)
