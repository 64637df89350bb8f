"""LeNet-5, modern (ReLU, max-pooling), on MNIST."""

from ml_collections import ConfigDict

from configs import base


def get_config(arg: str = "") -> ConfigDict:
    config = base.get_config()
    config.model.name = "lenet5"
    config.data.name = "mnist"
    config.batch_size = 128
    config.duration = "8 epochs"
    config.augment.shift = 2
    config.optimizer.name = "sgd"
    config.optimizer.options = ConfigDict({"momentum": 0.9, "nesterov": True})
    config.optimizer.weight_decay = 1e-4
    config.schedule.name = "linear"
    config.schedule.learning_rate = 0.05
    config.schedule.warmup = "1 epoch"
    config.eval.batch_size = 500
    return base.finish(config, arg)
