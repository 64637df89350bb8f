"""Computes the chapter on convolution."""

import gzip
import itertools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

import input_pipeline
import zoo
from zoo.layers.conv import Conv
from zoo.layers.pool import average_pool, max_pool
from zoo.look import receptive_fields
from zoo.look.pictures import figure_of, svg_bytes
from zoo.preprocess import Preprocessing

NINE = np.arange(9, dtype=np.float32).reshape(3, 3)
FOUR = np.arange(4, dtype=np.float32).reshape(2, 2)
BINARY = [[1, 1, 1, 0, 0], [0, 1, 1, 1, 0], [0, 0, 1, 1, 1], [0, 0, 1, 1, 0], [0, 1, 1, 0, 0]]
CROSS = [[1, 0, 1], [0, 1, 0], [1, 0, 1]]
# Dumoulin and Visin, A guide to convolution arithmetic, arXiv:1603.07285, Figure 1.1.
GUIDE = [[3, 3, 2, 1, 0], [0, 0, 1, 3, 1], [3, 1, 2, 2, 3], [2, 0, 0, 2, 2], [2, 0, 0, 0, 1]]
GUIDE_KERNEL = [[0, 1, 2], [2, 2, 0], [0, 1, 2]]
KERNELS = {
    "Laplacian": [[-1, -1, -1], [-1, 8, -1], [-1, -1, -1]],
    "motion blur": np.eye(3) / 3,
    "average": np.ones((3, 3)) / 9,
    "Sobel": [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]],
    "blur": np.outer([1, 2, 1], [1, 2, 1]) / 16,
}


def convolved(image: Any, kernel: Any, strides: int = 1, padding: int = 0) -> jax.Array:
    """One channel [H, W] by one kernel [h, w], as every network here does it."""
    kernel = jnp.asarray(kernel, jnp.float32)
    layer = Conv(1, kernel.shape, strides, padding=padding, use_bias=False)
    image = jnp.asarray(image, jnp.float32)[None, :, :, None]
    result: Any = layer.apply({"params": {"kernel": kernel[:, :, None, None]}}, image)
    return result[0, :, :, 0]


def mlp() -> dict:
    network = zoo.create("mlp", widths=(20, 10), num_classes=2)
    image = jax.ShapeDtypeStruct((1, 480, 640, 3), jnp.float32)
    layers = jax.eval_shape(network.init, jax.random.key(0), image)["params"]
    kernel, bias = layers["fc1"]["kernel"], layers["fc1"]["bias"]
    return {
        "inputs": kernel.shape[0],
        "first": kernel.size + bias.size,
        "weights": kernel.size,
        "biases": bias.size,
    }


def by_hand() -> dict:
    maxima = max_pool(jnp.asarray(NINE)[None, :, :, None], 2, 1)[0, :, :, 0]
    return {
        "small": convolved(NINE, FOUR),
        "large": convolved(np.zeros((64, 64)), np.zeros((3, 3))).shape,
        "binary": convolved(BINARY, CROSS)[0, 0],
        "guide": convolved(GUIDE, GUIDE_KERNEL),
        "guide_with_strides": str(convolved(GUIDE, GUIDE_KERNEL, 2, 1).astype(int).tolist()),
        "maxima": maxima.ravel(),
    }


def sizes() -> dict:
    layer = Conv(10, (3, 3), padding="VALID")
    image = jax.ShapeDtypeStruct((1, 256, 256, 3), jnp.float32)
    output, variables = jax.eval_shape(layer.init_with_output, jax.random.key(0), image)
    kernel, bias = (variables["params"][key] for key in ("kernel", "bias"))
    pointwise = Conv(32, (1, 1), use_bias=False)
    image = jax.ShapeDtypeStruct((1, 56, 56, 64), jnp.float32)
    mixed, weights = jax.eval_shape(pointwise.init_with_output, jax.random.key(0), image)
    formula = "(W - K + 2P)/S + 1"
    cases = list(itertools.product((7, 28, 32), (1, 3, 5), (0, 1, 2), (1, 2)))
    holds = all(_side(w, k, p, s) == (w - k + 2 * p) // s + 1 for w, k, p, s in cases)
    keeps = all(_side(28, k, (k - 1) // 2, 1) == 28 for k in (1, 3, 5, 7))
    return {
        "formula": formula if holds else "does not hold",
        "same": "(K - 1)/2" if keeps else "does not hold",
        "output": output.shape[1:],
        "weights": kernel.size,
        "biases": bias.size,
        "pointwise": mixed.shape[1:],
        "inner": weights["params"]["kernel"].shape[2],
        **_three_small_kernels(),
    }


def _side(width: int, kernel: int, padding: int, stride: int) -> int:
    return convolved(np.zeros((width, width)), np.zeros((kernel, kernel)), stride, padding).shape[0]


class Stack(nn.Module):
    """Convolutions of C channels one after the other."""

    channels: int
    sides: tuple[int, ...]

    @nn.compact
    def __call__(self, x, *, train=False):
        for number, side in enumerate(self.sides):
            x = Conv(self.channels, (side, side), use_bias=False, name=f"conv{number}")(x)
        self.sow("intermediates", "stage1", x)
        return x


def _three_small_kernels() -> dict:
    channels, image = 16, jax.ShapeDtypeStruct((1, 32, 32, 16), jnp.float32)
    counts = {}
    for name, sides in (("small", (3, 3, 3)), ("large", (7,))):
        variables = jax.eval_shape(Stack(channels, sides).init, jax.random.key(0), image)
        weights = sum(leaf.size for leaf in jax.tree.leaves(variables))
        counts[f"{name}_weights"] = f"{weights // channels**2}C²"
    field = receptive_fields(Stack(channels, (3, 3, 3)), 32, channels)["stage1"]
    return {"field": (field.size, field.size), **counts}


def inputs() -> dict:
    info = zoo.info("resnet50")
    pixel = np.array([[[250, 214, 38]]], np.uint8)
    plain = Preprocessing(1, mean=(0, 0, 0), std=(1, 1, 1))
    return {
        "scaled": plain.normalize(pixel).ravel(),
        "standardised": zoo.preprocess(info).normalize(pixel).ravel(),
        "mean": info.mean,
        "std": info.std,
        "one_hot": jax.nn.one_hot(2, 4),
        "softmax": round(float(jax.nn.softmax(jnp.arange(4.0)).sum()), 6),
    }


def backward() -> dict:
    """The gradients by JAX, and what the lecture says that they are."""
    x, kernel = jnp.asarray(NINE), jnp.asarray(FOUR)
    output, gradients = jax.vjp(convolved, x, kernel)
    cotangent = jnp.asarray(FOUR) + 1  # dL/dO, any numbers
    of_image, of_kernel = gradients(cotangent)
    by_image = np.allclose(of_kernel, convolved(x, cotangent))
    by_kernel = np.allclose(of_image, convolved(jnp.pad(cotangent, 1), kernel[::-1, ::-1]))
    pooled = jax.grad(lambda x: max_pool(x[None, :, :, None], 2, 2).sum())(jnp.asarray(FOUR))
    shared = jax.grad(lambda x: average_pool(x[None, :, :, None], 2, 2).sum())(jnp.asarray(FOUR))
    largest = np.array_equal(pooled, np.asarray(FOUR == FOUR.max(), np.float32))
    return {
        "of_kernel": "conv(X, dL/dO)" if by_image else "another",
        "of_image": "full conv of F rotated by 180 degrees with dL/dO" if by_kernel else "another",
        "of_maximum": "to the largest place" if largest else "to several places",
        "of_mean": "shared by all" if len(set(np.ravel(shared))) == 1 else "not shared",
        "numbers": f"dL/dF = {of_kernel.astype(int).tolist()} for "
        f"X = {NINE.astype(int).tolist()}, dL/dO = {cotangent.astype(int).tolist()}",
    }


def fourier() -> dict:
    """Cross-correlation by a product of spectra, of which one is conjugated."""
    random = np.random.RandomState(0)
    image, kernel = random.standard_normal((16, 16)), random.standard_normal((3, 3))
    spectra = np.fft.fft2(image), np.fft.fft2(kernel, (16, 16))
    product = np.fft.ifft2(spectra[0] * spectra[1].conj()).real[:14, :14]
    equal = np.allclose(product, convolved(image, kernel), atol=1e-4)
    return {
        "product": "the same" if equal else "another",
    }


def kernels() -> bytes:
    """A digit of MNIST, and what five kernels make of it."""
    file = Path(input_pipeline.__file__).parent / "data/mnist/t10k-images-idx3-ubyte.gz"
    digit = np.frombuffer(gzip.decompress(file.read_bytes())[16 : 16 + 784], np.uint8)
    digit = digit.reshape(28, 28).astype(np.float32)
    figure, axes = figure_of(1, 6, (12, 2.4))
    for axis, (name, kernel) in zip(axes, {"": [[1.0]], **KERNELS}.items(), strict=True):
        axis.imshow(convolved(digit, kernel, padding=len(kernel) // 2), cmap="gray")
        axis.set_title(name or "digit")
        axis.axis("off")
    return svg_bytes(figure)
