"""Small ResNets on Fashion-MNIST, and what each part of a recipe adds there.

There is no published recipe; this one is ours, short enough for 2 CPU cores: SGD with Nesterov
momentum, a rate that rises linearly for one epoch and then falls as half a cosine, weight decay,
random shifts by 2 pixels and flips, images of 28 pixels as they are.

:mixup ... :randaugment  one part more each.
:se            squeeze-and-excitation in every block (Hu et al. 2017).
:resnet56, :plain20, :plain56
               He's degradation: deeper plain networks learn worse, deeper residual ones do not.
:constant, :constant_both, :exclusive_gating, :shortcut_gating, :conv, :dropout
               what a shortcut may do (He et al. 2016, Table 1), 8 epochs each; :identity beside.

Command   python -m train --config=configs/resnet20_fashion.py:mixup --workdir=...
Paper     none; the networks: arXiv:1512.03385, section 4.2, and arXiv:1603.05027, Table 1
Hardware  2 CPU cores
Published none
Ours      not yet run
"""

from collections.abc import Callable

from ml_collections import ConfigDict

from configs import base

SHORTCUTS = (
    *("identity", "constant", "constant_both", "exclusive_gating", "shortcut_gating"),
    *("conv", "dropout"),
)


def _as_it_is(config: ConfigDict) -> None:
    del config


def _mixup(config: ConfigDict) -> None:
    config.mix.mixup = 0.2


def _cutmix(config: ConfigDict) -> None:
    config.mix.cutmix = 1.0
    config.mix.probability = 0.5


def _ema(config: ConfigDict) -> None:
    config.ema.decay = 0.999
    config.ema.batch_stats = True


def _smoothing(config: ConfigDict) -> None:
    config.loss.label_smoothing = 0.1


def _randaugment(config: ConfigDict) -> None:
    config.augment.policy = "randaugment"
    config.augment.policy_options = ConfigDict({"num_ops": 1, "magnitude": 5})


def _se(config: ConfigDict) -> None:
    config.model.options = ConfigDict({"squeeze_excite": True})


def _network(name: str) -> Callable[[ConfigDict], None]:
    def change(config: ConfigDict) -> None:
        config.model.name = f"{name}_cifar"

    return change


def _shortcut(name: str) -> Callable[[ConfigDict], None]:
    def change(config: ConfigDict) -> None:
        config.model.options = ConfigDict({"shortcut": name})
        config.duration = "8 epochs"

    return change


VARIANTS = {
    "resnet20": _as_it_is,
    "mixup": _mixup,
    "cutmix": _cutmix,
    "ema": _ema,
    "smoothing": _smoothing,
    "randaugment": _randaugment,
    "se": _se,
    **{name: _network(name) for name in ("resnet56", "plain20", "plain56")},
    **{name: _shortcut(name) for name in SHORTCUTS},
}


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe of a variant, see above; with "smoke" a few steps of it on tiny data."""
    variant, arg = base.variant(arg, VARIANTS)
    config = base.get_config()
    config.model.name = "resnet20_cifar"
    config.data.name = "fashion_mnist"
    config.data.image_size = 28
    config.batch_size = 128
    config.duration = "11 epochs"
    config.augment.crop, config.augment.padding = "padded", 2
    config.augment.flip = True
    config.optimizer.name = "sgd"
    config.optimizer.options = ConfigDict({"momentum": 0.9, "nesterov": True})
    config.optimizer.weight_decay = 5e-4
    config.schedule.name = "cosine"
    config.schedule.learning_rate = 0.1
    config.schedule.warmup = "1 epoch"
    config.eval.batch_size = 500
    VARIANTS[variant](config)
    return base.finish(config, arg)
