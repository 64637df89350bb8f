"""A trained model in one file: weights, model name, preprocessing and class names.

The file is in the format safetensors, which holds arrays and text but no code. Its arrays are the
model's variables by path, "params/conv1/kernel"; all else is JSON in its metadata.
"""

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax import traverse_util

from zoo import registry
from zoo.preprocess import Preprocessing

FILE_NAME = "model.safetensors"
FORMAT = "flax-zoo"
VERSION = 1


@dataclasses.dataclass(frozen=True)
class PretrainedModel:
    """A model with its weights and all that is needed to use them; see `load`.

    Attributes:
      model: Linen module.
      variables: Variables of the module, nested dictionaries of numpy arrays.
      info: What the zoo knows about the model, see `zoo.info`. The attributes below are those of
        these weights, which may differ.
      preprocessing: Preprocessing that turns an image into the model's input.
      class_names: One name per class, in the order of the logits; () if unknown.
      step: Number of training steps, or None if unknown.
      metrics: Figures of the last evaluation: "loss", "top1" and "top5" in [0, 1], "examples".
    """

    model: nn.Module
    variables: dict[str, Any]
    info: registry.Info
    preprocessing: Preprocessing
    class_names: tuple[str, ...] = ()
    step: int | None = None
    metrics: dict[str, float] = dataclasses.field(default_factory=dict)


def load(source: str | os.PathLike) -> PretrainedModel:
    """Loads a model that `python -m train` has trained.

    Args:
      source: Path of WORKDIR/model.safetensors, or of the workdir.

    Raises:
      FileNotFoundError: There is no such file.
      ValueError: The file is damaged, was written by something else, or does not fit the model that
        it names; the message says what is wrong.

    Example:
      >>> trained = zoo.load("runs/lenet")
      >>> image = trained.preprocessing("digit.png")
      >>> logits = trained.model.apply(trained.variables, image[None])
      >>> trained.class_names[logits[0].argmax()]
      '7'
    """
    path = Path(source).expanduser()
    path = path / FILE_NAME if path.is_dir() else path
    if not path.exists():
        raise FileNotFoundError(
            f"There is no file {path}. zoo.load reads a {FILE_NAME} that `python -m train` wrote, "
            "or the workdir that holds one."
        )
    metadata, arrays = _read(path)
    try:
        if metadata.get("format") != FORMAT:
            raise ValueError("it was not written by flax-zoo; for others' see zoo.load_torch")
        version = json.loads(metadata["format_version"])
        if version != VERSION:
            raise ValueError(
                f"it has version {version} of the format, and this zoo reads {VERSION}"
            )
        return _assemble(metadata, arrays)
    except Exception as error:  # a forged file can make a model raise any kind
        reason = f"it has no {error}" if isinstance(error, KeyError) else error
        raise ValueError(f"{path} is not a model that zoo.load can read: {reason}.") from error


def save(
    path: str | os.PathLike,
    name: str,
    overrides: Mapping[str, Any],
    variables: Mapping[str, Any],
    *,
    preprocessing: Preprocessing,
    class_names: Sequence[str] = (),
    step: int | None = None,
    metrics: Mapping[str, float] | None = None,
) -> None:
    """Writes a file that `load` reads, atomically: it appears whole or not at all.

    Args:
      path: Path of the file, which is replaced if it exists.
      name: Name of a registered model.
      overrides: Arguments with which `zoo.create` made the model.
      variables: Variables of the model, nested dictionaries of arrays.
      preprocessing: Preprocessing that turns an image into the model's input.
      class_names: One name per class, in the order of the logits; () if unknown.
      step: Number of training steps, or None if unknown.
      metrics: Figures of the last evaluation, see `PretrainedModel`.

    Raises:
      ValueError: An override cannot be written, see `encode_overrides`.
      OSError: The file cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    metadata = {
        "format_version": VERSION,
        "model": name,
        "overrides": encode_overrides(overrides),
        "preprocessing": dataclasses.asdict(preprocessing),
        "class_names": list(class_names),
        "step": step,
        "metrics": dict(metrics or {}),
    }
    encoded = {key: json.dumps(value) for key, value in metadata.items()}
    flat = traverse_util.flatten_dict(variables, sep="/")
    arrays = {key: np.ascontiguousarray(array) for key, array in flat.items()}
    path = Path(path)
    temporary = path.with_name(path.name + ".tmp")
    try:
        save_file(arrays, temporary, {"format": FORMAT} | encoded)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except SafetensorError as error:
        raise OSError(str(error)) from error
    finally:
        temporary.unlink(missing_ok=True)


def encode_overrides(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Returns arguments of `zoo.create` as JSON can hold them: dtypes become their names.

    Raises:
      ValueError: One is not a number, text, dtype, None, or a tuple, list or mapping of these.
    """
    return {key: _to_json(key, value) for key, value in overrides.items()}


def _read(path: Path) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    """Returns the metadata and the arrays of a safetensors file."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            return file.metadata() or {}, arrays
    except (SafetensorError, OSError, ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path} is not a safetensors file, or is damaged: {error}.") from error


def _assemble(metadata: dict[str, str], arrays: dict[str, np.ndarray]) -> PretrainedModel:
    """Builds the model that the metadata describe, and checks that the arrays fit it."""
    values = {key: json.loads(text) for key, text in metadata.items() if key != "format"}
    before_reduced = {"reduced": True}  # what files did that do not have the field
    preprocessing = Preprocessing(**before_reduced | _to_tuples(values["preprocessing"]))
    overrides = _to_tuples(values["overrides"])
    model = registry.create(values["model"], **overrides)
    size, channels = preprocessing.image_size, preprocessing.channels
    image = jax.ShapeDtypeStruct((1, size, size, channels), jnp.float32)
    _check_variables(jax.eval_shape(model.init, jax.random.key(0), image), arrays)
    if not all(isinstance(name, str) for name in values["class_names"]):
        raise ValueError("its class names are not text")
    return PretrainedModel(
        model=model,
        variables=traverse_util.unflatten_dict(arrays, sep="/"),
        info=registry.info(values["model"]),
        preprocessing=preprocessing,
        class_names=tuple(values["class_names"]),
        step=values["step"],
        metrics=dict(values["metrics"]),
    )


def _check_variables(shapes: Mapping[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """Raises ValueError unless the arrays have the model's paths, shapes and dtypes."""

    def describe(array) -> str:
        return f"{array.dtype}{list(array.shape)}"

    flat = traverse_util.flatten_dict(shapes, sep="/")
    expected = {path: describe(shape) for path, shape in flat.items()}
    found = {path: describe(array) for path, array in arrays.items()}
    different = [path for path in expected | found if expected.get(path) != found.get(path)]
    if different:
        path = sorted(different)[0]
        raise ValueError(
            f"{len(different)} of its arrays do not fit the model, first {path}: the model has "
            f"{expected.get(path, 'nothing')}, the file has {found.get(path, 'nothing')}"
        )


def _to_json(key: str, value: Any) -> Any:
    """Returns the override `key` as JSON can hold it, see `encode_overrides`."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Mapping):
        return {name: _to_json(key, item) for name, item in value.items()}
    if type(value) in (list, tuple):  # named tuples would lose their names
        return [_to_json(key, item) for item in value]
    try:
        dtype = jnp.dtype(value)
    except TypeError:
        dtype = None
    if dtype is None or dtype.kind == "O":  # numpy takes every class for "object"
        raise ValueError(f"the override {key}={value!r} cannot be written to a file")
    return dtype.name


def _to_tuples(value: Any) -> Any:
    """Turns JSON's lists into tuples, because attributes of modules have to be hashable."""
    if isinstance(value, dict):
        return {key: _to_tuples(item) for key, item in value.items()}
    return tuple(map(_to_tuples, value)) if isinstance(value, list) else value
