"""EfficientNetV2 on ImageNet, the authors' recipe (Tan & Le 2021; google/automl): progressive.

TensorFlow's RMSProp, batch 4096, learning rate 0.256 (0.016 for each 256 images) times 0.97 every
2.4 of 350 epochs with 5 epochs of warm-up, weight decay 1e-5 on weights, label smoothing 0.1,
blocks that survive with probability 0.8, a moving average of 0.9999. In four stages the images grow
and with them RandAugment's magnitude, from 5 to 10 (S), 15 (M) and 20 (L), and mixup and cutmix,
each on half of a batch, from 0 to 0, 0.2 and 0.5. Sizes are those of the code, which begins at 128
pixels and takes a fourth of the way with each stage. Evaluation is on larger images, without a
crop. :paper has the paper's magnitudes (to 15) and its growing dropout for S.

Differs: the input is normalised as the model says, which is not (x - 0.5) / 0.5 for S and M; where
mixup and cutmix are on, one of them is drawn for a batch. BatchNorm's momentum is the paper's; the
authors' program says 0.9.

Command   python -m train --config=configs/efficientnet_v2_s.py:m
          --config.data.dir=... --workdir=...
Paper     EfficientNetV2, arXiv:2104.00298, Tables 6 and 7
Hardware  authors: 32 TPU v3
Published 83.9 top-1
          :m 85.2 top-1
          :l 85.7 top-1
          :paper 83.9 top-1
Ours      not yet run
"""

from ml_collections import ConfigDict

from configs import base, efficientnet_b0

VARIANTS = {  # pixels of training and of evaluation, dropout, magnitude, mixup and cutmix
    "s": (300, 384, 0.2, 10.0, 0.0),
    "m": (384, 480, 0.3, 15.0, 0.2),
    "l": (384, 480, 0.4, 20.0, 0.5),
    "paper": (300, 384, 0.3, 15.0, 0.0),
}


def _growing(first: float, last: float) -> tuple[float, ...]:
    """The values of the four stages, from the first to the last."""
    return tuple(first + (last - first) * stage / 3 for stage in range(4))


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe of a variant, see above; with "smoke" a few steps of it on tiny data."""
    variant, arg = base.variant(arg, VARIANTS)
    train_size, eval_size, dropout, magnitude, mix = VARIANTS[variant]
    config = efficientnet_b0.get_config()
    config.model.name = f"efficientnet_v2_{'s' if variant == 'paper' else variant}"
    rates = {"dropout": dropout, "drop_path": 0.2}
    config.model.options = ConfigDict(
        rates | {"same_padding": True, "epsilon": 1e-3, "momentum": 0.99}
    )
    config.data.image_size = train_size
    config.batch_size = 4096
    config.duration = "350 epochs"
    config.augment.policy = "tf_randaugment"
    config.augment.policy_options = ConfigDict({"num_layers": 2, "magnitude": magnitude})
    config.mix.mixup = config.mix.cutmix = mix
    config.optimizer.weight_decay = 1e-5
    config.optimizer.weight_decay_exclude = "(bias|scale)$"
    config.schedule.learning_rate = 0.016 * 4096 / 256
    config.progressive.stages = 4
    config.progressive.image_size = tuple(
        int(128 + (train_size - 128) * stage / 4) for stage in (1, 2, 3, 4)
    )
    config.progressive.changes = (
        ("augment.policy_options.magnitude", _growing(5.0, magnitude)),
        ("mix.mixup", _growing(0.0, mix)),
        ("mix.cutmix", _growing(0.0, mix)),
    )
    if variant == "paper":
        config.progressive.changes += (("model.options.dropout", _growing(0.1, dropout)),)
    config.eval.image_size = eval_size
    config.eval.crop = 0.0  # the whole image becomes a square
    return base.finish(config, arg)
