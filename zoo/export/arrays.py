"""Files of weights alone: safetensors, by our names or the reference's, and Flax's msgpack."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import serialization, traverse_util

from zoo.weights import convert, pretrained
from zoo.weights.files import write_bytes
from zoo.weights.fit import changed_attributes
from zoo.weights.pretrained import PretrainedModel


def write_safetensors(path: Path, loaded: PretrainedModel, names: str = "zoo") -> None:
    """Writes the variables of a model as safetensors.

    Args:
      path: Path of the file.
      loaded: Model with its weights.
      names: "zoo" for a file that `zoo.load` reads, with preprocessing and names of classes;
        "torch" for a state dict of the model's reference implementation.

    Raises:
      ValueError: The reference has no names for this model.
      OSError: The file cannot be written.
    """
    name = loaded.info.name
    overrides = changed_attributes(loaded.model, name)
    if names == "torch":
        tensors = convert.to_torch(name, loaded.variables, **overrides)
        pretrained.write_arrays(path, tensors, {"format": "pt"})
        return
    pretrained.save(
        path,
        name,
        overrides,
        loaded.variables,
        preprocessing=loaded.preprocessing,
        class_names=loaded.class_names,
        step=loaded.step,
        metrics=loaded.metrics,
    )


def write_msgpack(path: Path, loaded: PretrainedModel) -> None:
    """Writes the variables as `flax.serialization` does; `msgpack_restore` reads them.

    Raises:
      OSError: The file cannot be written.
    """
    arrays = jax.tree.map(np.asarray, dict(loaded.variables))
    write_bytes(path, serialization.msgpack_serialize(arrays))


def differences(path: Path, loaded: PretrainedModel, form: str, names: str = "zoo") -> list[str]:
    """Returns the paths of variables that a file written above does not give back bit for bit."""
    name, size = loaded.info.name, loaded.preprocessing.image_size
    found: Any
    if form == "saved_variables":
        found = serialization.msgpack_restore(path.read_bytes())
    elif names == "torch":
        found = convert.load_torch(
            name, path, image_size=size, **changed_attributes(loaded.model, name)
        )
    else:
        found = pretrained.load(path).variables
    theirs, ours = (
        traverse_util.flatten_dict(dict(tree), sep="/") for tree in (found, loaded.variables)
    )
    return sorted(
        key
        for key in {*theirs, *ours}
        if key not in theirs
        or key not in ours
        or not np.array_equal(np.asarray(theirs[key]), np.asarray(ours[key]))
    )
