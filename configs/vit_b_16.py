"""ViT on ImageNet from random weights: recipes of the paper, AugReg, big_vision, torchvision.

:paper       Dosovitskiy et al. 2020, Table 3: Adam, batch 4096, rate 3e-3, 10,000 steps of warm-up,
             300 epochs, weight decay 0.3, dropout 0.1, gradients clipped at norm 1.
:augreg      big_vision's vit_i1k: rate 1e-3, weight decay 1e-4 on kernels, sigmoid cross entropy,
             RandAugment (2 operations of magnitude 15), mixup 0.5.
:big_vision  Beyer et al. 2022, "Better plain ViT baselines" of ViT-S/16: 90 epochs, batch 1024,
             RandAugment of magnitude 10, mixup 0.2. Both train on 99 % of the images.
:torchvision AdamW, batch 4096, RandAugment, mixup 0.2 or cutmix 1.0, 300 epochs.

Differs: big_vision's ViT-S/16 pools all tokens and has fixed positions; its decay is not multiplied
by the rate's peak: here it is divided by it. The classifier's bias of -6.9 is not set; its crops
are resized without a filter against aliasing, and in evaluation by averages over areas.

Command   python -m train --config=configs/vit_b_16.py:augreg --config.data.dir=... --workdir=...
Paper     An Image is Worth 16x16 Words, arXiv:2010.11929, Tables 3 and 5; How to train your ViT?,
          arXiv:2106.10270; Better plain ViT baselines, arXiv:2205.01580; google-research/big_vision
Hardware  authors: TPU v3; torchvision: 8 x 512 images
Published 77.9 ? top-1 (fine-tuned at 384 pixels)
          :augreg 79.154 top-1 (timm's evaluation)
          :big_vision 76.5 top-1
          :torchvision 81.072 top-1
Ours      not yet run
"""

from ml_collections import ConfigDict

from configs import base

VARIANTS = ("paper", "augreg", "big_vision", "torchvision")


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe of a variant, see above; with "smoke" a few steps of it on tiny data."""
    variant, arg = base.variant(arg, VARIANTS)
    config = base.get_config()
    config.model.name = "vit_s_16" if variant == "big_vision" else "vit_b_16"
    config.model.options = ConfigDict({"dropout": 0.0})
    config.data.name = "imagenet2012"
    config.batch_size = 4096
    config.duration = "300 epochs"
    config.augment.crop = "random_resized"
    config.augment.area = (0.08, 1.0)
    config.augment.ratio = (3 / 4, 4 / 3)
    config.augment.interpolation = "bilinear"
    config.augment.flip = True
    config.loss.label_smoothing = 0.0
    config.optimizer.name = "adamw"
    config.optimizer.options = ConfigDict({"b1": 0.9, "b2": 0.999, "eps": 1e-8})
    config.optimizer.weight_decay = 1e-4 / 1e-3
    config.optimizer.weight_decay_exclude = ""
    config.optimizer.clip_norm = 1.0
    config.schedule.name = "cosine"
    config.schedule.learning_rate = 1e-3
    config.schedule.warmup = "10000 steps"
    config.schedule.start = 0.0
    config.schedule.end = 0.0
    config.eval.crop = 224 / 256
    config.eval.interpolation = "bilinear"
    if variant == "paper":
        config.model.options = ConfigDict({"dropout": 0.1})
        config.optimizer.weight_decay = 0.3
        config.schedule.learning_rate = 3e-3
    if variant in ("augreg", "big_vision"):
        magnitude, mixup = (15, 0.5) if variant == "augreg" else (10, 0.2)
        config.data.train_split = "train[:99%]"
        config.augment.policy = "tf_randaugment"
        config.augment.policy_options = ConfigDict({"num_layers": 2, "magnitude": magnitude})
        config.augment.area = (0.05, 1.0)
        config.mix.mixup = mixup
        config.mix.convention = "torchvision"  # the partner is the previous image
        config.optimizer.options.mu_dtype = "bfloat16"
        config.optimizer.weight_decay_exclude = "(bias|scale|_token|pos_embed)$"
    if variant == "augreg":
        config.loss.name = "bce"
        config.loss.options = ConfigDict({"sum": True})
    if variant == "big_vision":
        config.batch_size = 1024
        config.duration = "90 epochs"
    if variant == "torchvision":
        config.augment.policy = "randaugment"
        config.augment.repeats = 3
        config.mix.mixup = 0.2
        config.mix.cutmix = 1.0
        config.mix.convention = "torchvision"
        config.mix.group = 512
        config.loss.label_smoothing = 0.11
        config.optimizer.weight_decay = 0.3
        config.schedule.learning_rate = 3e-3
        config.schedule.per = "epoch"
        config.schedule.warmup = "30 epochs"
        config.schedule.start = 0.033 * 3e-3
        config.ema.decay = 1 - 2e-5 * 4096 * 32 / 300  # 0.99998, for each of 300 epochs
        config.ema.convention = "torchvision"
        config.ema.every = "32 steps"
        config.ema.start = "30 epochs"
    return base.finish(config, arg)
