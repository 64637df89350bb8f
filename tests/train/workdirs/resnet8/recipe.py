"""A ResNet-8 with BatchNorm, drop path and AdamW, as somebody's own recipe of version 0.1."""

from ml_collections import ConfigDict

from configs import lenet


def get_config(arg: str = "") -> ConfigDict:
    config = lenet.get_config(arg)
    config.model.name = "plain20_cifar"
    config.model.options = ConfigDict({"depth": 8, "drop_path": 0.2})
    config.optimizer.name = "adamw"
    config.optimizer.options = ConfigDict({"b2": 0.99})
    config.optimizer.weight_decay_exclude = "(bias|scale)$"
    config.schedule.learning_rate = 0.002
    return config
