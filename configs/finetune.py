"""Fine-tuning: any model of the zoo, from published weights, on a folder of images of your own.

AdamW with a cosine and one epoch of warm-up, batch 32, gradients clipped at norm 1; no weight decay
on biases and norms; crops of at least a third of the image, mirrored half of the time. The
classifier is new, and learns ten times as fast as the rest. These values are a start for a few
hundred to a few ten thousand images, not anybody's published recipe. For transformers append
":transformer" to the file name: the rate then falls from layer to layer.

The lecture's ways, from the least data to the most:

  features as they are        python -m train.probe
  a new classifier            --config.optimizer.freeze='^(?!head)'
  the last layers too         --config.optimizer.freeze='^(stem|stage[123]_)'
  all layers                  nothing to add

Command   python -m train --config=configs/finetune.py --config.model.name=resnet50
          --config.init.weights=torchvision/resnet50:IMAGENET1K_V2
          --config.data.name=folder:PATH --workdir=...
Paper     none: the lecture's "feature extraction" and "fine-tuning"
Hardware  anything; minutes on a laptop for some hundred images
Published none
          :transformer none
Ours      verified: EfficientNet-Lite0, 160 photographs of 4 classes, 6 epochs: 96.7 +- 1.4 % of
          40 held-out ones, three seeds (docs/pictures.md)
"""

from ml_collections import ConfigDict

from configs import base

VARIANTS = ("convnet", "transformer")


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe of a variant, see above; with "smoke" a few steps of it on tiny data."""
    variant, arg = base.variant(arg, VARIANTS)
    config = base.get_config()
    config.model.name = "resnet50"
    config.data.name = "folder:images"
    config.batch_size = 32
    config.duration = "20 epochs"

    config.augment.crop = "random_resized"
    config.augment.area = (0.35, 1.0)
    config.augment.flip = True

    config.optimizer.name = "adamw"
    config.optimizer.weight_decay = 0.01
    config.optimizer.weight_decay_exclude = r"(bias|scale)$"
    config.optimizer.clip_norm = 1.0
    config.schedule.name = "cosine"
    config.schedule.warmup = "1 epoch"
    if variant == "transformer":
        config.model.name = "vit_s_16"
        config.schedule.learning_rate = 0.0005
        config.optimizer.layer_decay = 0.75
        return base.finish(config, arg)
    config.schedule.learning_rate = 0.0003
    config.optimizer.multipliers = (("(^|_)head(/|$)", 10.0),)
    return base.finish(config, arg)
