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

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax import traverse_util

from zoo import registry
from zoo.layers.blocks import stack_blocks
from zoo.preprocess import Preprocessing
from zoo.weights import torch_file
from zoo.weights.convert import from_torch
from zoo.weights.fit import bounded, fit, shapes_of

FILE_NAME = "model.safetensors"
FORMAT = "flax-zoo"
VERSION = 1
OF_A_RUN = "the last evaluation of the run"  # source of an accuracy that nobody published
# Fields that preprocessing and `zoo.Info` share.
PREPROCESSING = tuple(
    {field.name for field in dataclasses.fields(Preprocessing)}
    & {field.name for field in dataclasses.fields(registry.Info)}
)


@dataclasses.dataclass(frozen=True)
class PretrainedModel:
    """A model with its weights and all that is needed to use them; see `zoo.load`.

    Attributes:
      model: Linen module.
      variables: Variables of the module, nested dictionaries of numpy arrays.
      info: What is known about the model with these weights, see `zoo.Info`: their preprocessing,
        names of classes, licence and accuracy.
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


def load(path: Path, image_size: int | None = None, **changes) -> PretrainedModel:
    """Loads a model that `python -m train` has trained, or `write_file` has written.

    Args:
      path: Path of WORKDIR/model.safetensors, of the workdir, or of another such file.
      image_size: Side of the images in pixels, by default that of the training.
      **changes: Attributes of the model in place of those that it was trained with.

    Raises:
      FileNotFoundError: There is no such file.
      ValueError: The file is damaged, was written by something else, or does not fit the model that
        it names; the message says what is wrong.
    """
    path = path / FILE_NAME if path.is_dir() else path
    if not path.exists():
        raise FileNotFoundError(
            f"There is no file {path}. zoo.load reads a {FILE_NAME} that `python -m train` wrote, "
            "or the workdir that holds one."
        )
    own_format = path.suffix not in (".npz", ".pth", ".pt")
    try:
        metadata, arrays = _read(path) if own_format else _read_other(path)
        if metadata.get("format") != FORMAT:
            raise ValueError(
                "it was not written by flax-zoo; for others' see zoo.load(..., model=...), "
                "zoo.load('local-dir:FOLDER') and zoo.load_torch"
            )
        version = json.loads(metadata["format_version"])
        if version != VERSION:
            raise ValueError(
                f"it has version {version} of the format, and this zoo reads {VERSION}"
            )
        return _assemble(metadata, arrays, os.fspath(path), image_size, changes)
    except Exception as error:  # a forged file can make a model raise any kind
        reason = f"it has no {error}" if isinstance(error, KeyError) else str(error).rstrip(".")
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
    metadata = metadata_of(
        name,
        overrides,
        preprocessing=preprocessing,
        class_names=class_names,
        step=step,
        metrics=metrics or {},
    )
    write_arrays(Path(path), traverse_util.flatten_dict(variables, sep="/"), metadata)


def metadata_of(
    name: str,
    overrides: Mapping[str, Any],
    *,
    preprocessing: Preprocessing,
    class_names: Sequence[str],
    step: int | None,
    metrics: Mapping[str, float],
) -> dict[str, str]:
    """Returns what a file says of a model besides its arrays; see `save` for the arguments."""
    metadata = {
        "format_version": VERSION,
        "model": name,
        "overrides": encode_overrides(overrides),
        "preprocessing": dataclasses.asdict(preprocessing),
        "class_names": list(class_names),
        "step": step,
        "metrics": dict(metrics),
    }
    return {"format": FORMAT} | {key: json.dumps(value) for key, value in metadata.items()}


def is_own(path: Path) -> bool:
    """Returns whether a file is one that `save` has written."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            return (file.metadata() or {}).get("format") == FORMAT
    except (SafetensorError, OSError, ValueError):
        return False


def read_metadata(path: Path) -> dict[str, Any]:
    """Returns what a file that `save` has written says besides its arrays, which are not read.

    Raises:
      FileNotFoundError: There is no such file.
      ValueError: It is damaged, or was written by something else.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, ValueError) as error:
        raise ValueError(f"{path} is not a safetensors file, or is damaged: {error}.") from error
    if metadata.get("format") != FORMAT:
        raise ValueError(f"{path} was not written by flax-zoo.")
    return {key: json.loads(text) for key, text in metadata.items() if key != "format"}


def write_arrays(path: Path, arrays: Mapping[str, Any], metadata: dict[str, str]) -> None:
    """Writes a safetensors file, which appears whole or not at all.

    Raises:
      OSError: The file cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    temporary = path.with_name(path.name + ".tmp")
    try:
        contiguous = {key: np.ascontiguousarray(array) for key, array in arrays.items()}
        save_file(contiguous, temporary, metadata)
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
        raise ValueError(f"it is not a safetensors file, or is damaged: {error}") from error


def _read_other(path: Path) -> tuple[dict[str, str], dict[str, Any]]:
    """Returns the metadata and the arrays of a .npz or .pth; of the latter by PyTorch's names."""
    content = torch_file.read(path)
    text = content.pop(FORMAT, "{}")
    if isinstance(text, np.ndarray):
        text = text.tobytes().decode(errors="replace")
    try:
        metadata = json.loads(text)
        whole = isinstance(metadata, dict) and all(isinstance(x, str) for x in metadata.values())
    except (ValueError, TypeError, RecursionError):
        whole = False
    if not whole:
        raise ValueError("it is damaged: what it says of its model is no JSON")
    state_dict = content.get("state_dict")
    if metadata.get("format") != FORMAT or not isinstance(state_dict, Mapping):
        return metadata, content
    return metadata, _from_state_dict(metadata, state_dict)


def _from_state_dict(metadata: Mapping[str, str], state_dict: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a model's arrays by our paths from those by PyTorch's names."""
    name, overrides = json.loads(metadata["model"]), to_tuples(json.loads(metadata["overrides"]))
    images = _preprocessing(json.loads(metadata["preprocessing"]))  # which no forged size passes
    size, channels = images.image_size, images.input_channels
    flat = {key: value for key, value in overrides.items() if key != "scan"}
    with bounded(overrides, state_dict):
        shapes = traverse_util.unflatten_dict(shapes_of(name, size, channels, flat), sep="/")
        stacked = shapes_of(name, size, channels, overrides)
    variables = from_torch(name, state_dict, shapes, **flat)
    if overrides.get("scan"):
        variables = stack_blocks(variables, traverse_util.unflatten_dict(stacked, sep="/"))
    return traverse_util.flatten_dict(variables, sep="/")


def _assemble(
    metadata: dict[str, str],
    arrays: dict[str, np.ndarray],
    name: str,
    image_size: int | None,
    changes: Mapping[str, Any],
) -> PretrainedModel:
    """Builds the model that the metadata describe, and checks that the arrays fit it."""
    values = {key: json.loads(text) for key, text in metadata.items() if key != "format"}
    preprocessing = _preprocessing(values["preprocessing"])
    preprocessing = dataclasses.replace(
        preprocessing, image_size=image_size or preprocessing.image_size
    )
    if not all(isinstance(name, str) for name in values["class_names"]):
        raise ValueError("its class names are not text")
    model, variables = fit(
        values["model"],
        arrays,
        preprocessing.image_size,
        preprocessing.input_channels,
        to_tuples(values["overrides"]),
        changes,
    )
    names, metrics = tuple(values["class_names"]), dict(values["metrics"])
    if changes.get("num_classes") == 0:
        names = ()
    percent = {
        key: 100 * metrics[key] if isinstance(metrics.get(key), float) else None
        for key in ("top1", "top5")
    }
    info = dataclasses.replace(
        registry.info(values["model"]),
        **{field: getattr(preprocessing, field) for field in PREPROCESSING},
        **percent,
        **registry.USUAL_PROTOCOL,
        accuracy_source=OF_A_RUN if percent["top1"] is not None else "",
        weights=name,
        class_names=names,
        num_classes=getattr(model, "num_classes", None),
    )
    step = values["step"]
    return PretrainedModel(model, variables, info, preprocessing, names, step, metrics)


def _preprocessing(values: Mapping[str, Any]) -> Preprocessing:
    """Returns the preprocessing that a file says.

    Raises:
      ValueError, TypeError: It cannot be.
    """
    before_reduced = {"reduced": True}  # what files did that do not have the field
    return Preprocessing(**before_reduced | to_tuples(values))


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


def to_tuples(value: Any) -> Any:
    """Turns JSON's lists into tuples, because attributes of modules have to be hashable."""
    if isinstance(value, dict):
        return {key: to_tuples(item) for key, item in value.items()}
    return tuple(map(to_tuples, value)) if isinstance(value, list) else value
