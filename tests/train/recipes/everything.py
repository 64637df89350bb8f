"""A recipe in which everything is one's own, as a user may write it in any folder."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

import zoo
from configs import base


class SmallNet(nn.Module):
    width: int = 8
    num_classes: int = 10

    @nn.compact
    def __call__(self, images, *, train=False):
        x = nn.relu(nn.Conv(self.width, (3, 3), 2, name="stem")(images))
        return nn.Dense(self.num_classes, name="head")(x.mean((1, 2)))


@zoo.register(image_size=12, channels=1, mean=(0.5,), std=(0.5,))
def small_net(**attributes):
    return SmallNet(**attributes)


def squares(split):
    rng = np.random.default_rng(len(split))
    labels = np.arange(200 if split == "train" else 60) % 2
    images = rng.integers(0, 100, (len(labels), 12, 12, 1)) + 100 * labels[:, None, None, None]
    return images.astype(np.uint8), labels, ("dark", "bright")


class Items:
    class_names = ("dark", "bright")

    def __init__(self, split):
        self.images, self.labels, _ = squares(split)

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return {"image": self.images[index], "label": self.labels[index]}


def hinge(logits, labels, margin=1.0):
    own = jnp.take_along_axis(logits, labels[:, None], 1)
    return jnp.maximum(0, margin + logits - own).sum(1) - margin


def confidence(logits, labels):
    return jax.nn.softmax(logits).max(1)


def chain(learning_rate, momentum=0.5):
    return optax.chain(optax.clip(1.0), optax.sgd(learning_rate, momentum))


def triangle(learning_rate, steps, low=0.1):
    return lambda step: learning_rate * (low + (1 - low) * abs(2 * step / steps - 1))


def noise(key, images):
    return images + 3 * jax.random.normal(key, images.shape)


def stripes(image, rng):
    image = image.copy()
    image[rng.integers(len(image))] = 0
    return image


def write_norm(evaluation):
    leaves = jax.tree.leaves(evaluation.variables["params"])
    norm = sum(float(jnp.vdot(leaf, leaf)) for leaf in leaves) ** 0.5
    (evaluation.workdir / f"norm-{evaluation.step}.txt").write_text(f"{norm}")
    return {"norm": norm}


def get_config(arg=""):
    config = base.get_config()
    config.model.name = "small_net"
    config.data.name = Items if arg == "items" else squares
    config.batch_size = 20
    config.duration = "3 epochs"
    config.loss.name = hinge
    config.loss.options = {"margin": 0.5}
    config.eval.metrics = (confidence,)
    config.eval.callbacks = (write_norm,)
    config.optimizer.name = chain
    config.schedule.name = triangle
    config.schedule.options = {"low": 0.2}
    config.augment.operations = (noise,)
    if arg == "items":
        config.augment.host_operations = (stripes,)
        config.data.workers = 2
    config.ema.decay = 0.9
    config.checkpoint.best = "-norm"
    return config
