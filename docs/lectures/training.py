"""Computes the chapter on training, data, and what came after."""

import gzip
from pathlib import Path

import numpy as np

import input_pipeline
from train.plan import roofline


def data_sets() -> dict:
    """MNIST is read; of ImageNet the project knows what a run on it counts."""
    folder = Path(input_pipeline.__file__).parent / "data/mnist"
    labels = np.frombuffer(
        gzip.decompress((folder / "train-labels-idx1-ubyte.gz").read_bytes())[8:], np.uint8
    )
    header = gzip.decompress((folder / "train-images-idx3-ubyte.gz").read_bytes())[8:16]
    training, validation, classes, _ = roofline.DATA_SETS["imagenet2012"]
    return {
        "mnist_side": tuple(np.frombuffer(header, ">i4").tolist()),
        "mnist_classes": len(set(labels.tolist())),
        "training": training,
        "validation": validation,
        "classes": classes,
    }


def ilsvrc() -> dict:
    return {}


def super_resolution() -> dict:
    return {}
