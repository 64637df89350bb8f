"""Writes a trained model into one file, of which `zoo.load` makes it again: `write_file`."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from flax import traverse_util

from zoo import registry
from zoo.weights import pretrained
from zoo.weights.convert import to_torch
from zoo.weights.fit import changed_attributes
from zoo.weights.pretrained import PretrainedModel
from zoo.weights.write_torch import write_torch

ENDINGS = (".safetensors", ".npz", ".pth")


def write_file(path: str | os.PathLike, trained: PretrainedModel) -> None:
    """Writes a model with its preprocessing, the names of its classes and its figures.

    - ".safetensors": arrays by our names, "params/conv1/kernel".
    - ".npz": the same for numpy: `numpy.load(path)["params/conv1/kernel"]`.
    - ".pth": for PyTorch: `torch.load(path)["state_dict"]`, by the names and in the layout of the
      model's reference, torchvision's or timm's for instance.

    Args:
      path: Path of the file, which appears whole or not at all.
      trained: What `zoo.load` returned.

    Raises:
      ValueError: The ending is another, an attribute of the model cannot be written, or the model
        has no reference whose names a ".pth" could have.
      OSError: The file cannot be written.
    """
    path = Path(path).expanduser()
    if path.suffix not in ENDINGS:
        raise ValueError(f"{path} has to end in one of {', '.join(ENDINGS)}, which say its format.")
    name = trained.info.name
    overrides = changed_attributes(trained.model, name)
    metadata = pretrained.metadata_of(
        name,
        overrides,
        preprocessing=trained.preprocessing,
        class_names=trained.class_names,
        step=trained.step,
        metrics=trained.metrics,
    )
    if path.suffix == ".pth":
        if not registry.lookup(name).family.sources:
            raise ValueError(
                f"{name} has no reference in PyTorch whose names a .pth could have: write "
                ".safetensors or .npz."
            )
        state_dict = to_torch(name, trained.variables, **overrides)
        arrays = {key: np.asarray(array) for key, array in state_dict.items()}
        write_torch(path, {"state_dict": arrays, pretrained.FORMAT: json.dumps(metadata)})
        return
    arrays = traverse_util.flatten_dict(trained.variables, sep="/")
    if path.suffix == ".safetensors":
        pretrained.write_arrays(path, arrays, metadata)
        return
    temporary = path.with_name(path.name + ".tmp.npz")
    try:
        text = np.frombuffer(json.dumps(metadata).encode(), np.uint8)
        everything: dict[str, Any] = {**arrays, pretrained.FORMAT: text}
        np.savez(temporary, **everything)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
