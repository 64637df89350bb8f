"""Reads data sets that tfds has prepared, as array_record or TFRecord, without TensorFlow."""

import json
import operator
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import tensorflow_datasets as tfds
from tensorflow_datasets.proto import tf_example_generated_pb2 as example_proto

from input_pipeline import decode, files, tfrecord
from input_pipeline.example import (
    MAX_PIXELS,
    DataError,
    Example,
    OnUnreadable,
    Source,
    UnreadableImage,
)

_MAX_DESCRIPTION = 2**26  # bytes of a .json file; that of 21,000 classes has one million


class Records(Protocol):
    """Random access to serialized tf.train.Example messages."""

    def __len__(self) -> int: ...

    def __getitems__(self, indices: Sequence[int]) -> list[bytes]: ...


def find(name: str, data_dir: Path) -> Path | None:
    """Returns the folder of the newest prepared version of a data set, or None.

    Args:
      name: NAME, NAME/CONFIG or NAME:VERSION. Without CONFIG, the default one is meant.
      data_dir: folder of tfds's data sets.

    Raises:
      DataError: the list of its configurations is damaged.
    """
    name, _, version = name.partition(":")
    folder = data_dir / name
    if not os.path.isdir(folder):  # False too for names that the system refuses
        return None
    default = folder / ".config" / "metadata.json"
    if default.exists():
        try:
            text = files.read_regular(default, _MAX_DESCRIPTION)
            folder = folder / json.loads(text)["default_config_name"]
        except Exception as error:  # of any type, as in `_info`
            raise _damaged(default, error) from error
    found = [p.parent for p in folder.glob(f"{version or '*'}/dataset_info.json")]
    versions = {p: numbers for p in found if (numbers := _version(p.name))}
    return max(versions, key=versions.__getitem__, default=None)


def open_prepared(
    name: str,
    folder: Path,
    split: str,
    on_unreadable: OnUnreadable,
    max_pixels: int = MAX_PIXELS,
) -> Source:
    """Opens the data set that is prepared in `folder`.

    Raises:
      DataError: there is no such split, it is not a data set of labelled images, or a file of it is
        missing or damaged.
    """
    info = _info(folder)
    features: Any = info.features
    image, label = _feature(info, tfds.features.Image), _feature(info, tfds.features.ClassLabel)
    shape = features[image].shape
    shape = None if None in shape else shape
    names = features[label].names
    if names is None:
        raise DataError(
            f"{folder} does not say the names of the classes: {label}.labels.txt is missing or "
            "damaged. Copy or prepare the data set again."
        )
    records = _records(info, folder, split, name)
    described = next((key for key in ("file_name", "id") if key in features), None)
    examples = TfdsExamples(records, f"{name}/{split}", image, label, described, shape, max_pixels)
    return Source(name, split, examples, tuple(names), shape, on_unreadable)


def split_names(folder: Path) -> list[str]:
    """Returns the names of the splits of the data set that is prepared in `folder`.

    Raises:
      DataError: its description is missing or damaged.
    """
    return list(_info(folder).splits)


def _info(folder: Path) -> tfds.core.DatasetInfo:
    """What tfds knows of the data set in `folder`.

    Raises:
      DataError: its description is missing or damaged, or asks for code of others.
    """
    path = folder / "features.json"
    try:
        _check_features(json.loads(files.read_regular(path, _MAX_DESCRIPTION)))
        path = folder / "dataset_info.json"
        files.read_regular(path, _MAX_DESCRIPTION)
        return tfds.builder_from_directory(folder).info
    except Exception as error:  # of any type: what is damaged makes json, protobuf and tfds raise
        raise _damaged(path, error) from error


def _check_features(description: Any) -> None:
    """Raises ValueError if tfds would import a module of others to read this description."""
    if isinstance(description, list):
        description = dict(enumerate(description))
    for key, value in description.items() if isinstance(description, dict) else ():
        names = ("pythonClassName", "python_class_name", "type")
        if key in names and isinstance(value, str) and not value.startswith("tensorflow_datasets."):
            raise ValueError(f"it asks for the module of {value!r}, which is not of tfds")
        _check_features(value)


def _damaged(path: Path, error: Exception) -> DataError:
    return DataError(
        f"{path.parent} does not hold a data set of tfds that can be read: {path.name} or a file "
        f"beside it is missing or damaged ({str(error) or type(error).__name__}). Copy or prepare "
        "the data set again."
    )


# protobuf makes it at run time
_Example: Any = example_proto.Example  # pyright: ignore[reportAttributeAccessIssue]


@dataclass(frozen=True)
class TfdsExamples:
    """Examples whose images are bytes, or arrays if all have the same shape.

    Attributes:
      records: the serialized examples.
      title: data set and split, for messages.
      image_key, label_key: names of the features.
      name_key: name of the feature that describes an example, or None.
      shape: (H, W, C) of all images, or None.
      max_pixels: an image of more pixels is refused before it is decoded.
    """

    records: Records
    title: str
    image_key: str
    label_key: str
    name_key: str | None
    shape: tuple[int, int, int] | None
    max_pixels: int = MAX_PIXELS

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Example:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Example]:
        indices = [operator.index(i) for i in indices]
        try:
            records = self.records.__getitems__(indices)
        except IndexError:  # by which Python ends a loop over the examples
            raise
        except Exception as error:  # array_record has no type of its own for damage
            if len(indices) > 1:
                return [self[i] for i in indices]  # which names the damaged one
            raise self._unreadable(self._name(indices[0]), error) from error
        return [self._example(i, record) for i, record in zip(indices, records, strict=True)]

    def _example(self, index: int, record: bytes) -> Example:
        name = self._name(index)
        try:
            feature = _Example.FromString(record).features.feature
            image = feature[self.image_key].bytes_list.value[0]
            label = feature[self.label_key].int64_list.value[0]
            if self.name_key is not None:
                name += f" ({feature[self.name_key].bytes_list.value[0].decode()})"
        except Exception as error:  # of protobuf or because something is not there
            raise self._unreadable(name, error) from error
        if self.shape is not None:
            image = decode.decode_to_shape(image, self.shape, name, self.max_pixels)
        return Example(image, label, name, self.max_pixels)

    def _name(self, index: int) -> str:
        return f"{self.title} example {index}"

    def _unreadable(self, name: str, error: Exception) -> UnreadableImage:
        return UnreadableImage(
            f"The record of {name} is damaged ({error}). Copy or prepare the data set again, or "
            "open it with on_unreadable='skip', which skips such images and counts them."
        )


def _records(info: tfds.core.DatasetInfo, folder: Path, split: str, name: str) -> Records:
    splits: Any = info.splits
    try:
        instructions = splits[split].file_instructions
    except Exception as error:  # of any type: there is no grammar that says what a split is
        raise DataError(
            f"{name} in {folder} has no split {split!r} ({error}). It has: "
            f"{', '.join(sorted(splits))}; slices are written as train[:10%]."
        ) from error
    if info.file_format == tfds.core.FileFormat.TFRECORD:
        return tfrecord.open_records(instructions)
    paths = [Path(i.filename) for i in instructions]
    files.states(paths)
    builder: Any = tfds.builder_from_directory(folder)
    raw = tfds.decode.DeserializeMethod.RAW_BYTES
    try:
        return builder.as_data_source(split, deserialize_method=raw)
    except Exception as error:  # array_record has no type of its own for damage
        raise DataError(
            f"The files of {name}/{split}, from {paths[0]} on, cannot be read: {error}. Copy or "
            "prepare the data set again."
        ) from error


def _feature(info: tfds.core.DatasetInfo, kind: type) -> str:
    """The name of the feature of this kind: a supervised one, or the only one."""
    features: Any = info.features
    supervised: Any = info.supervised_keys or ()  # names, as a data set of images has them
    keys = [key for key in supervised if isinstance(features[key], kind)]
    keys = keys or [key for key, feature in features.items() if isinstance(feature, kind)]
    if len(keys) != 1:
        raise DataError(
            f"{info.full_name} is not a data set of labelled images: it has {len(keys)} features "
            f"of type {kind.__name__} and must have one. Its features: {', '.join(features)}."
        )
    return keys[0]


def _version(name: str) -> tuple[int, ...] | None:
    parts = name.split(".")
    return tuple(map(int, parts)) if all(p.isdecimal() for p in parts) else None
