"""The data set that a program is to use: by name, or that of a run."""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import input_pipeline
from configs import base
from configs.keys import current_keys, flat
from input_pipeline.example import Source
from train.data import own_data
from train.errors import TrainError
from train.settings import CONFIG


def open_for(options: argparse.Namespace) -> Source:
    """Returns the split that --data and --split name, or that the run of --workdir evaluates on.

    Raises:
      TrainError: no data set is named, and there is no run that says one.
      DataError: there is no such data set or split.
    """
    settings: dict[str, Any] = {}
    name, split, data_dir = options.data, options.split, options.data_dir
    if not name:
        if not options.workdir:
            raise TrainError("Name a data set with --data, such as --data=folder:PATH.")
        of_run = settings_of(Path(options.workdir[0]))
        name, data_dir = of_run["data.name"], data_dir or of_run["data.dir"]
        split = split or of_run["data.eval_split"]
        keys = ("max_pixels", "class_order", "exif_orientation", "held_out", "split_seed")
        settings = {key: of_run[f"data.{key}"] for key in keys}
    split = split or input_pipeline.eval_split(own_data(name), data_dir or None)
    settings |= {"data_dir": data_dir or None, "on_unreadable": options.unreadable}
    return open_split(name, split, **settings)


def open_split(name: str, split: str, **settings: Any) -> Source:
    """Returns a split of a data set that has images, see `input_pipeline.open`.

    Raises:
      TrainError: it has none.
      DataError: there is no such data set or split.
    """
    source = input_pipeline.open(own_data(name), split, **settings)
    if not len(source):
        raise TrainError(f"The split {split} of the data set {name} has no images.")
    return source


def settings_of(workdir: Path) -> dict[str, Any]:
    """Returns the settings of a run by their dotted names; keys that are younger have defaults.

    Raises:
      TrainError: the folder has no config.json that can be read.
    """
    path = workdir.expanduser() / CONFIG
    try:
        found = current_keys(flat(json.loads(path.read_text())))
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise TrainError(
            f"{path} cannot be read, so name a data set with --data: {error}"
        ) from error
    return flat(base.get_config().to_dict()) | found


def real_labels(path: str) -> Mapping[str, Sequence[int]] | None:
    """Returns the labels of real.json by the names of ImageNet's validation images.

    Source: google-research/reassessed-imagenet: a list with the labels of image
    ILSVRC2012_val_00000001, ..., each a list.

    Raises:
      TrainError: the file is not such a list.
    """
    if not path:
        return None
    try:
        lists = json.loads(Path(path).read_text())
        return {
            f"ILSVRC2012_val_{number:08}": [int(label) for label in labels]
            for number, labels in enumerate(lists, 1)
        }
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise TrainError(f"{path} is not real.json of reassessed-imagenet: {error}.") from error
