"""ViT-B/32 moved to other data sets: big_vision's transfer protocol (Steiner et al. 2021).

All layers are trained at 384 pixels from AugReg's weights of ImageNet-21k; the classifier starts at
zero. SGD with momentum 0.9 (kept in bfloat16), batch 512, gradients clipped at norm 1, no weight
decay, warm-up and cosine. CIFAR: 10,000 steps, 500 of warm-up, random crops of images resized to
448. Pets and Flowers: 500 steps, 100 of warm-up, Inception's crops of at least 5 %; ImageNet: the
same crops, 20,000 steps. The data set is the argument: cifar10 (default), cifar100, imagenet2012,
oxford_iiit_pet, oxford_flowers102.

Differs from big_vision: images are resized by an antialiased bilinear filter instead of averages
over areas.

Command   python -m train --config=configs/transfer_big_vision.py:cifar100 --workdir=...
Paper     How to train your ViT?, arXiv:2106.10270, section 4; google-research/big_vision
Hardware  authors: TPU
Published CIFAR-10 98.55, CIFAR-100 91.35, Pets 93.78, Flowers 99.43, ImageNet 83.27 top-1
          (big_vision, configs of transfer, mean of five)
Ours      not yet run
"""

from ml_collections import ConfigDict

from configs import base

# Part to train on, steps, warm-up, learning rate, crop. The rest of a split chose the rate.
TASKS = {
    "cifar10": ("train[:98%]", 10_000, 500, 0.003, "resize_random"),
    "cifar100": ("train[:98%]", 10_000, 500, 0.01, "resize_random"),
    "imagenet2012": ("train[:99%]", 20_000, 500, 0.03, "random_resized"),
    "oxford_iiit_pet": ("train[:90%]", 500, 100, 0.003, "random_resized"),
    "oxford_flowers102": ("train[:90%]", 500, 100, 0.003, "random_resized"),
}


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe; `arg` is a data set, or "smoke" for a few steps on tiny data."""
    name, arg = base.variant(arg, TASKS)
    config = base.get_config()
    train, steps, warmup, rate, crop = TASKS[name]
    config.model.name = "vit_b_32"
    config.init.weights = "" if arg == "smoke" else "timm/vit_base_patch32_224.augreg_in21k"
    config.init.zeros = "^head/"
    config.data.name = name
    config.data.train_split = train
    if name != "imagenet2012":  # whose validation split is the test
        config.data.eval_split = "test"
    config.data.image_size = 384
    config.batch_size = 512
    config.duration = f"{steps} steps"

    config.augment.crop = crop
    if crop == "resize_random":
        config.augment.resize = (448, 448)
    else:
        config.augment.area = (0.05, 1.0)
    config.augment.flip = True
    config.eval.crop = 384 / 448

    config.optimizer.options = ConfigDict({"momentum": 0.9, "accumulator_dtype": "bfloat16"})
    config.optimizer.clip_norm = 1.0
    config.schedule.name = "cosine"
    config.schedule.learning_rate = rate
    config.schedule.warmup = f"{warmup} steps"
    return base.finish(config, arg)
