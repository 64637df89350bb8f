"""A recipe in which every part is one's own: docs/yours.md explains it piece by piece.

python -m train --config=own_parts.py --seeds=0,1,2
python -m train --config=own_parts.py:objects       # the data as an object, changed on the host
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

import zoo
from configs import base


class SmallNet(nn.Module):
    """Images [B, H, W, C] -> logits [B, num_classes]."""

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
    """Dark and bright squares of noise: images, labels, names of the classes."""
    rng = np.random.default_rng(len(split))
    labels = np.arange(200 if split == "train" else 60) % 2
    images = rng.integers(0, 100, (len(labels), 12, 12, 1)) + 100 * labels[:, None, None, None]
    return images.astype(np.uint8), labels, ("dark", "bright")


class Squares:
    """The same as an object with a length and items."""

    class_names = ("dark", "bright")

    def __init__(self, split):
        self.images, self.labels, _ = squares(split)

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return {"image": self.images[index], "label": self.labels[index]}


def hinge(logits, labels, margin=1.0):
    """[B, K], int [B] -> [B]: how far the other logits come within a margin of the right one."""
    own = jnp.take_along_axis(logits, labels[:, None], axis=1)
    return jnp.maximum(0, margin + logits - own).sum(1) - margin


def confidence(logits, labels):
    """[B, K], int [B] -> [B]: the largest probability."""
    return jax.nn.softmax(logits).max(1)


def clipped(learning_rate, momentum=0.9):
    """SGD on gradients whose elements are at most 1."""
    return optax.chain(optax.clip(1.0), optax.sgd(learning_rate, momentum))


def triangle(learning_rate, steps, low=0.1):
    """A rate that falls to `low` times its peak in the middle, and rises again."""
    return lambda step: learning_rate * (low + (1 - low) * abs(2 * step / steps - 1))


def noise(key, images):
    """[B, H, W, C] in [0, 255] -> the same."""
    return images + 3 * jax.random.normal(key, images.shape)


def stripe(image, rng):
    """uint8 [H, W, C] -> the same, a random row of it black."""
    image = image.copy()
    image[rng.integers(len(image))] = 0
    return image


def write_norm(evaluation):
    """Writes the norm of the parameters to a file, and adds it to the figures."""
    leaves = jax.tree.leaves(evaluation.variables["params"])
    norm = sum(float(jnp.vdot(leaf, leaf)) for leaf in leaves) ** 0.5
    (evaluation.workdir / f"norm-{evaluation.step}.txt").write_text(f"{norm}")
    return {"norm": norm}


def get_config(arg=""):
    config = base.get_config()
    config.model.name = "small_net"
    config.data.name = Squares if arg == "objects" else squares
    config.batch_size = 20
    config.duration = "3 epochs"
    config.loss.name = hinge
    config.loss.options = {"margin": 0.5}
    config.eval.metrics = (confidence,)
    config.eval.callbacks = (write_norm,)
    config.optimizer.name = clipped
    config.optimizer.options = {"momentum": 0.5}
    config.schedule.name = triangle
    config.schedule.options = {"low": 0.2}
    config.augment.operations = (noise,)
    if arg == "objects":
        config.augment.host_operations = (stripe,)
        config.data.workers = 2
    config.ema.decay = 0.9
    config.checkpoint.best = "-norm"
    return config
