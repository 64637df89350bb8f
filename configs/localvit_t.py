"""LocalViT on ImageNet, by DeiT's recipe (Li et al. 2021, section 4).

Command   python -m train --config=configs/localvit_t.py --config.data.dir=... --workdir=...
Paper     LocalViT, arXiv:2104.05707, Table 6; ofsoundof/LocalViT
Hardware  authors: 8 GPUs x 128 images
Published 74.838 top-1, 92.610 top-5
          :s 80.780 top-1, 95.376 top-5
          :pvt_t 78.144 top-1, 94.238 top-5
Ours      not yet run
"""

from ml_collections import ConfigDict

from configs import base, deit_s

VARIANTS = ("t", "s", "pvt_t")


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe of a variant, see above; with "smoke" a few steps of it on tiny data."""
    variant, arg = base.variant(arg, VARIANTS)
    config = deit_s.get_config()
    config.model.name = f"localvit_{variant}"
    config.model.options = ConfigDict({"dropout": 0.0, "drop_path": 0.1})
    config.mix.group = 128
    config.eval.crop = 224 / 256
    return base.finish(config, arg)
