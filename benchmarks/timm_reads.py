"""Prints how far timm's logits are from ours, of models that `zoo.save` wrote and timm reads.

pip install timm==1.0.31
python benchmarks/timm_reads.py              one model of each family that timm has
python benchmarks/timm_reads.py "vit*"       those that match

The weights are random, with three classes. The difference is the largest one over the standard
deviation of the logits.
"""

import sys
import tempfile
from typing import Any

import jax
import numpy as np
import timm
import torch

import zoo
from zoo import registry
from zoo.weights import table

OPTIONS: dict[str, dict[str, Any]] = {"inception_v3": {"auxiliary": False}}


def random_variables(name: str) -> dict:
    """Variables for which signals neither vanish nor grow from layer to layer."""
    random = np.random.RandomState(0)

    def array(path, leaf) -> np.ndarray:
        kind = path[-1].key
        noise = random.standard_normal(leaf.shape).astype(np.float32)
        if kind in ("scale", "var"):
            return 1 + 0.1 * np.abs(noise)
        fan_in = np.prod(leaf.shape[:-1]) if kind == "kernel" else 100
        return noise / np.sqrt(fan_in, dtype=np.float32)

    shapes = registry.abstract_variables(name, **OPTIONS.get(name, {}), num_classes=3)
    return jax.tree_util.tree_map_with_path(array, shapes)


def difference(name: str, folder: str) -> float:
    """Writes the model, reads it with timm, and compares logits of two random images."""
    options = {**OPTIONS.get(name, {}), "num_classes": 3}
    zoo.save(folder, name, random_variables(name), class_names=["a", "b", "c"], **options)
    ours, info = zoo.load(f"local-dir:{folder}"), zoo.info(name)
    shape = (2, info.image_size, info.image_size, info.channels)
    images = np.random.RandomState(1).standard_normal(shape).astype(np.float32)
    logits = np.asarray(jax.jit(ours.model.apply)(ours.variables, images))
    theirs = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    assert list(theirs.pretrained_cfg["label_names"]) == ["a", "b", "c"]
    with torch.no_grad():
        expected = theirs(torch.from_numpy(images.transpose(0, 3, 1, 2).copy())).numpy()
    return float(np.abs(logits - expected).max() / expected.std())


if __name__ == "__main__":
    names = [name for name in zoo.list_models(*sys.argv[1:]) if name in table.timm_names()]
    if not sys.argv[1:]:
        smallest: dict[str, str] = {}
        for name in sorted(names, key=lambda name: zoo.info(name).gmacs):
            smallest.setdefault(zoo.info(name).family, name)
        names = list(smallest.values())
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            print(f"{name:28} {difference(name, folder):.1e}", flush=True)
