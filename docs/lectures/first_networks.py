"""Computes the chapter on the networks from LeNet to VGG."""

import gzip
from itertools import zip_longest
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

import configs.alexnet
import input_pipeline
import zoo
from zoo import macs, summary
from zoo.layers.conv import Conv
from zoo.layers.dense import Dense
from zoo.layers.pool import flatten, global_average_pool, max_pool
from zoo.tables import Column, Group, render


def rows_of(name: str) -> dict[str, summary.Layer]:
    """The layers of a model by their paths."""
    return {layer.path: layer for layer in summary.layers(name)}


def total(name: str, **overrides: Any) -> int:
    return sum(layer.num_params for layer in summary.layers(name, **overrides))


def shapes_of(model: nn.Module, size: int, channels: int = 3) -> dict[str, tuple[int, ...]]:
    """The shapes of what a network sows for one image."""
    image = jax.ShapeDtypeStruct((1, size, size, channels), jnp.float32)

    def run(image):
        variables = model.init(jax.random.key(0), image)
        _, state = model.apply(variables, image, mutable=["intermediates"])
        return {name: value[0] for name, value in state["intermediates"].items()}

    return {name: value.shape[1:] for name, value in jax.eval_shape(run, image).items()}


def lenet() -> dict:
    layers = rows_of("lenet5")
    weights = {f"{path}_weights": layer.num_weights for path, layer in layers.items()}
    whole = sum(weights.values())
    pool = next(x for x in summary.layers("lenet5", steps=True) if x.kind == "max_pool")
    return {
        **weights,
        **{name: layers[name].shape[0] for name in ("fc1", "fc2", "head")},
        "strides": layers["conv1"].strides[0],
        "pool_strides": pool.strides[0],
        "weights": whole,
        "parameters": total("lenet5"),
        "share": 100 * weights["fc1_weights"] / whole,
        "conv1": layers["conv1"].kernel_size,
        "pool": pool.kernel_size,
    }


def mnist() -> dict:
    """The digits in the package, and what LeNet-5 with the weights in the package makes of them."""
    loaded = zoo.load("zoo/lenet5.mnist")
    images, labels = (_idx(f"t10k-{kind}") for kind in ("images-idx3", "labels-idx1"))
    frame, apply, right = loaded.preprocessing.padding, jax.jit(loaded.model.apply), 0
    pixels = np.pad(images, ((0, 0), (frame, frame), (frame, frame)))[..., None]
    for start in range(0, len(images), 1000):
        batch = loaded.preprocessing.normalize(pixels[start : start + 1000])
        logits: Any = apply(loaded.variables, batch)
        right += int((logits.argmax(-1) == labels[start : start + 1000]).sum())
    return {
        "training": len(_idx("train-labels-idx1")),
        "test": len(labels),
        "side": images.shape[1:],
        "classes": len(set(labels.tolist())),
        "accuracy": 100 * right / len(labels),
    }


def _idx(name: str) -> np.ndarray:
    """A file of MNIST."""
    file = Path(input_pipeline.__file__).parent / f"data/mnist/{name}-ubyte.gz"
    content = gzip.decompress(file.read_bytes())
    axes = content[3]
    shape = np.frombuffer(content[4 : 4 + 4 * axes], ">i4")
    return np.frombuffer(content[4 + 4 * axes :], np.uint8).reshape(shape)


def alexnet() -> dict:
    one, two = rows_of("alexnet_one_gpu"), rows_of("alexnet")
    steps = summary.layers("alexnet", steps=True)
    pools = [layer.shape for layer in steps if layer.kind == "max_pool"]
    groups = zoo.create("alexnet").gpus
    height, width, channels = two["conv1"].shape
    return {
        "image": steps[0].shape,
        **{name: layer.shape for name, layer in two.items() if name.startswith("conv")},
        **{f"pool{number}": shape for number, shape in enumerate(pools, 1)},
        "pool_weights": sum(layer.num_params for layer in steps if layer.kind == "max_pool"),
        "conv1_weights": one["conv1"].num_weights,
        "tower": (height, width, channels // groups),
        "towers": groups,
        "fc6_inputs": two["fc6"].num_weights // two["fc6"].shape[0],
        "fc6": two["fc6"].shape[0],
        "fc7": two["fc7"].shape[0],
        "classes": two["head"].shape[0],
        "parameters": total("alexnet"),
    }


def alexnet_recipe() -> dict:
    """The settings of configs/alexnet.py."""
    config = configs.alexnet.get_config()
    return {
        "batch": config.batch_size,
        "momentum": config.optimizer.options.momentum,
        "learning_rate": config.schedule.learning_rate,
        "factor": config.schedule.factors[0],
        "weight_decay": config.optimizer.weight_decay,
        "dropout": zoo.create("alexnet").dropout,
    }


class OneTower(nn.Module):
    """The AlexNet of d2l.ai: one tower, no padding in the first layer. Images of 224 pixels."""

    @nn.compact
    def __call__(self, x):
        x = max_pool(nn.relu(Conv(96, (11, 11), 4, padding=0, name="conv1")(x)), 3, 2)
        x = max_pool(nn.relu(Conv(256, (5, 5), padding=2, name="conv2")(x)), 3, 2)
        for name, features in (("conv3", 384), ("conv4", 384), ("conv5", 256)):
            x = nn.relu(Conv(features, (3, 3), padding=1, name=name)(x))
        x = flatten(max_pool(x, 3, 2))
        for name in ("fc6", "fc7"):
            x = nn.relu(Dense(4096, name=name)(x))
        return Dense(10, name="head")(x)


def alexnet_and_lenet() -> dict:
    """Weights and multiply-adds of d2l.ai's AlexNet and of LeNet-5, which is ours."""
    image = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
    variables = jax.eval_shape(OneTower().init, jax.random.key(0), image)
    counts = macs.count_by_scope(OneTower().apply, variables, image)
    weights = {name: layer["kernel"].size for name, layer in variables["params"].items()}
    products = {name: sum(n for scope, n in counts.items() if name in scope) for name in weights}
    lenet = rows_of("lenet5")
    rest = ("conv3", "conv4", "conv5")
    body = [name for name in weights if name != "head"]
    found = {
        **{f"a_{name}_weights": weights[name] for name in body},
        **{f"a_{name}_macs": products[name] for name in body},
        "a_rest_weights": sum(weights[name] for name in rest),
        "a_rest_macs": sum(products[name] for name in rest),
        "a_weights": sum(weights[name] for name in body),
        "a_macs": sum(products[name] for name in body),
        **{f"l_{name}_weights": layer.num_weights for name, layer in lenet.items()},
        **{f"l_{name}_macs": layer.macs for name, layer in lenet.items()},
        "l_weights": sum(layer.num_weights for layer in lenet.values()),
        "l_macs": sum(layer.macs for layer in lenet.values()),
    }
    return found | {
        "weights_ratio": found["a_weights"] / found["l_weights"],
        "macs_ratio": found["a_macs"] / found["l_macs"],
    }


def zfnet() -> dict:
    small, big = (rows_of(name) for name in ("zfnet", "zfnet_big"))
    return {
        "kernel": small["conv1"].kernel_size,
        "stride": small["conv1"].strides[0],
        "widths": str([big[f"conv{number}"].shape[-1] for number in (3, 4, 5)]),
    }


def vgg16() -> dict:
    layers = summary.layers("vgg16", steps=True)
    # The lecture has no rows for the 7x7 average, which changes nothing at 224 pixels.
    counted = [x for x in layers if x.kind not in ("adaptive_average_pool", "flatten")]
    values = sum(layer.activation_bytes for layer in counted) // 4
    return {
        **{f"{layer.path}_weights": layer.num_weights for layer in counted if layer.path},
        "values": values,
        "memory": 4 * values,
        "parameters": total("vgg16"),
        "features": rows_of("vgg16")["fc7"].shape[0],
    }


def vgg16_memory(compare) -> str:
    """Size, memory and weights of every layer."""
    columns = [Column("layer"), Column("output", lambda shape: "x".join(map(str, shape)))]
    columns += [Column(name, "{:,}".format, number=True) for name in ("values", "weights")]
    rows = [
        (x.path or x.kind.replace("_", " "), x.shape, x.activation_bytes // 4, x.num_weights)
        for x in summary.layers("vgg16", steps=True)
        if x.kind not in ("adaptive_average_pool", "flatten")
    ]
    return render(columns, [Group("", rows)], "markdown")


def vgg() -> dict:
    names = ("vgg11", "vgg11_lrn", "vgg13", "vgg16_c", "vgg16", "vgg19")
    return {name: total(name) for name in names}


class NiN(nn.Module):
    """The Network in Network of d2l.ai, for ten classes. Images of 224 pixels."""

    @nn.compact
    def __call__(self, x):
        layers = ((96, 11, 4, 0), (256, 5, 1, 2), (384, 3, 1, 1), (10, 3, 1, 1))
        for number, (features, side, strides, padding) in enumerate(layers, 1):
            x = nn.relu(Conv(features, (side, side), strides, padding=padding)(x))
            for _ in range(2):
                x = nn.relu(Conv(features, (1, 1))(x))
            self.sow("intermediates", f"block{number}", x)
            if number < len(layers):
                x = max_pool(x, 3, 2)
                self.sow("intermediates", f"pool{number}", x)
        pooled = global_average_pool(x)
        self.sow("intermediates", "mean", pooled[:, None, None])
        return pooled


def first(shape: tuple[int, ...]) -> str:
    """A shape with channels first, as the lecture has them."""
    return f"({shape[2]}, {shape[0]}, {shape[1]})"


def nin() -> dict:
    return {name: first(shape) for name, shape in shapes_of(NiN(), 224).items()}


def nin_and_vgg(compare) -> str:
    """The stages of our NiN and of VGG beside it."""
    rows = [
        [
            first(shape)
            for name, shape in shapes_of(zoo.create(model), size).items()
            if "stage" in name
        ]
        for model, size in (
            ("nin", zoo.info("nin").image_size),
            ("vgg11", zoo.info("vgg11").image_size),
        )
    ]
    columns = [Column(name) for name in ("stage", "`nin`", "`vgg11`")]
    numbered = [(f"{n}", *pair) for n, pair in enumerate(zip_longest(*rows, fillvalue=""), 1)]
    return render(columns, [Group("", numbered)], "markdown")
