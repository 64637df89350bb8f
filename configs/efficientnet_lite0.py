"""EfficientNet-Lite on ImageNet, by the recipe of EfficientNet (tensorflow/tpu, lite).

The same values as efficientnet_b0.py on 224 to 300 pixels, resized bilinearly; the networks have
ReLU6 and no squeeze-and-excitation. Whether with AutoAugment is not said. Differs as
efficientnet_b0.py does.

Command   python -m train --config=configs/efficientnet_lite0.py --config.data.dir=... --workdir=...
Paper     tensorflow/tpu, models/official/efficientnet/lite
Hardware  authors: TPU v3
Published 75.1 top-1
          :lite1 76.7 top-1
          :lite2 77.6 top-1
          :lite3 79.8 top-1
          :lite4 81.5 top-1
Ours      not yet run
"""

from ml_collections import ConfigDict

from configs import base, efficientnet_b0

VARIANTS = {  # pixels, dropout
    "lite0": (224, 0.2),
    "lite1": (240, 0.2),
    "lite2": (260, 0.3),
    "lite3": (280, 0.3),
    "lite4": (300, 0.3),
}


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe of a variant, see above; with "smoke" a few steps of it on tiny data."""
    variant, arg = base.variant(arg, VARIANTS)
    image_size, dropout = VARIANTS[variant]
    config = efficientnet_b0.get_config()
    config.model.name = f"efficientnet_{variant}"
    config.model.options = ConfigDict({"dropout": dropout, "drop_path": 0.2, "momentum": 0.99})
    config.data.image_size = image_size
    config.augment.interpolation = "bilinear"
    config.augment.policy = "tf_autoaugment"  # ?
    config.eval.crop = image_size / (image_size + 32)
    config.eval.interpolation = "bilinear"
    return base.finish(config, arg)
