"""PNASNet-5 on ImageNet, the authors' recipe (Liu et al. 2017; slim's pnasnet.py).

As NASNet-A large: TensorFlow's RMSProp, 100 replicas of batch 16, learning rate 0.015 for each
times 0.97 every 2.4 epochs, gradients clipped at norm 10, weight decay 4e-5, label smoothing 0.1,
dropout 0.5; scheduled drop path that keeps 0.6 of the last cell's paths at the end of 250,000
steps. Differs as nasnet_mobile.py does. slim has no training notes of its own for it.
Command   python -m train --config=configs/pnasnet_large.py --config.data.dir=... --workdir=...
Paper     Progressive Neural Architecture Search, arXiv:1712.00559, Table 5
Hardware  paper: 100 GPUs ?
Published 82.9 ? top-1, 96.2 ? top-5
Ours      not yet run
"""

from ml_collections import ConfigDict

from configs import base, nasnet_mobile


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe, or a few steps of it on tiny data if `arg` is "smoke"."""
    config = nasnet_mobile.get_config("large")
    config.model.name = "pnasnet_large"
    config.model.options = ConfigDict({"dropout": 0.5, "drop_path": 0.4})
    config.batch_size = 1600  # ?
    config.optimizer.weight_decay = 4e-5
    config.schedule.learning_rate = 0.015 * 100  # ?
    return base.finish(config, arg)
