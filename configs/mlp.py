"""The multilayer perceptron of LeCun et al. 1998 on MNIST, by the recipe of the modern LeNet-5.

The paper's own is that of lenet5_1998.py, on 300 and 100 hidden units. This one is ours: SGD with
Nesterov momentum, a warm-up of one epoch, then a learning rate that falls to 0, label smoothing.

Command   python -m train --config=configs/mlp.py
Paper     Gradient-Based Learning Applied to Document Recognition, Proc. IEEE 1998, Figure 9
Hardware  2 CPU cores
Published 96.95 top-1 (3.05 % error, the paper's recipe)
Ours      not yet run
"""

from ml_collections import ConfigDict

from configs import base, lenet


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe, or a few steps of it on tiny data if `arg` is "smoke"."""
    config = lenet.get_config()
    config.model.name = "mlp"
    config.augment.crop = "none"
    config.augment.padding = 0
    return base.finish(config, arg)
