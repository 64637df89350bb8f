"""Inception-ResNet on ImageNet, the paper's recipe (Szegedy et al. 2016, section 4).

As Inception-v4: TensorFlow's RMSProp with decay 0.9 and epsilon 1.0, 20 replicas, learning rate
0.045 times 0.94 every 2 epochs; branches are scaled before they are added. :v1 is the smaller one.
Differs as inception_v3.py does; there is no auxiliary classifier.

Command   python -m train --config=configs/inception_resnet_v2.py
          --config.data.dir=... --workdir=...
Paper     Inception-v4, Inception-ResNet, arXiv:1602.07261, Table 2
Hardware  paper: 20 replicas, each a Kepler GPU
Published 80.1 top-1, 95.1 top-5 (19.9 / 4.9 % error, one crop)
          :v1 78.7 top-1, 94.5 ? top-5
Ours      not yet run
"""

from ml_collections import ConfigDict

from configs import base, inception_v4

VARIANTS = ("v2", "v1")


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe of a variant, see above; with "smoke" a few steps of it on tiny data."""
    variant, arg = base.variant(arg, VARIANTS)
    config = inception_v4.get_config()
    config.model.name = f"inception_resnet_{variant}"
    config.model.options = ConfigDict({"dropout": 0.2})  # ? keep 0.8
    return base.finish(config, arg)
