"""Reads data sets that tfds has prepared, as array_record or TFRecord, without TensorFlow."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import tensorflow_datasets as tfds
from google.protobuf.message import DecodeError
from tensorflow_datasets.proto import tf_example_generated_pb2 as example_proto

from input_pipeline import decode, tfrecord
from input_pipeline.example import DataError, Example, OnUnreadable, Source, UnreadableImage


class Records(Protocol):
    """Random access to serialized tf.train.Example messages."""

    def __len__(self) -> int: ...

    def __getitems__(self, indices: Sequence[int]) -> list[bytes]: ...


def find(name: str, data_dir: Path) -> Path | None:
    """Returns the folder of the newest prepared version of a data set, or None.

    Args:
      name: NAME, NAME/CONFIG or NAME:VERSION. Without CONFIG, the default one is meant.
      data_dir: folder of tfds's data sets.
    """
    name, _, version = name.partition(":")
    folder = data_dir / name
    default = folder / ".config" / "metadata.json"
    if default.exists():
        folder = folder / json.loads(default.read_text())["default_config_name"]
    found = [p.parent for p in folder.glob(f"{version or '*'}/dataset_info.json")]
    versions = {p: numbers for p in found if (numbers := _version(p.name))}
    return max(versions, key=versions.__getitem__, default=None)


def open_prepared(name: str, folder: Path, split: str, on_unreadable: OnUnreadable) -> Source:
    """Opens the data set that is prepared in `folder`.

    Raises:
      DataError: there is no such split, or it is not a data set of labelled images.
    """
    info = tfds.builder_from_directory(folder).info
    features: Any = info.features
    image, label = _feature(info, tfds.features.Image), _feature(info, tfds.features.ClassLabel)
    shape = features[image].shape
    shape = None if None in shape else shape
    try:
        records = _records(info, folder, split)
    except (ValueError, KeyError, AssertionError) as error:
        raise DataError(
            f"{name} in {folder} has no split {split!r} ({error}). It has: "
            f"{', '.join(sorted(info.splits))}; slices are written as train[:10%]."
        ) from error
    described = next((key for key in ("file_name", "id") if key in features), None)
    examples = TfdsExamples(records, f"{name}/{split}", image, label, described, shape)
    names = tuple(features[label].names)
    return Source(name, split, examples, names, shape, on_unreadable)


def split_names(folder: Path) -> list[str]:
    """Returns the names of the splits of the data set that is prepared in `folder`."""
    return list(tfds.builder_from_directory(folder).info.splits)


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
    """

    records: Records
    title: str
    image_key: str
    label_key: str
    name_key: str | None
    shape: tuple[int, int, int] | None

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Example:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Example]:
        indices = [int(i) for i in indices]
        try:
            records = self.records.__getitems__(indices)
        except RuntimeError as error:  # raised by array_record if a checksum is wrong
            which = f"example {indices[0]}" if len(indices) == 1 else "one of several examples"
            raise UnreadableImage(
                f"{self.title} {which} cannot be read: {error}. Prepare the data set again."
            ) from error
        return [self._example(i, record) for i, record in zip(indices, records, strict=True)]

    def _example(self, index: int, record: bytes) -> Example:
        name = f"{self.title} example {index}"
        try:
            feature = _Example.FromString(record).features.feature
            image = feature[self.image_key].bytes_list.value[0]
            label = feature[self.label_key].int64_list.value[0]
            if self.name_key is not None:
                name += f" ({feature[self.name_key].bytes_list.value[0].decode()})"
        except (DecodeError, IndexError, UnicodeDecodeError) as error:
            raise UnreadableImage(
                f"The record of {name} is damaged ({error}). Prepare the data set again."
            ) from error
        if self.shape is not None:
            image = decode.decode_to_shape(image, self.shape, name)
        return Example(image, label, name)


def _records(info: tfds.core.DatasetInfo, folder: Path, split: str) -> Records:
    if info.file_format == tfds.core.FileFormat.TFRECORD:
        splits: Any = info.splits
        return tfrecord.open_records(splits[split].file_instructions)
    builder: Any = tfds.builder_from_directory(folder)
    return builder.as_data_source(split, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES)


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
