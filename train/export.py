"""model.safetensors: the model of a run as it was last evaluated, which `zoo.load` reads."""

from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from input_pipeline import transforms
from train.build import model_overrides
from train.data import Data
from train.step import TrainState
from train.workspace import disk_errors
from zoo.preprocess import Preprocessing
from zoo.weights import pretrained


class ModelFile:
    """The file WORKDIR/model.safetensors.

    It holds the parameters that were evaluated (the moving average if the recipe has one), and all
    that is needed to use them: the model's name and attributes, the preprocessing, the names of
    the classes, and the figures of that evaluation. If `model.options` has values that no file can
    hold, such as functions, a note says so and no file is written.
    """

    def __init__(self, workdir: Path, config: ConfigDict, data: Data):
        self.path = workdir / pretrained.FILE_NAME
        self._name = config.model.name
        self._overrides = model_overrides(config.model, data.num_classes)
        self._preprocessing = eval_preprocessing(data)
        self._class_names = data.train.class_names
        self._writable = True
        try:
            pretrained.encode_overrides(self._overrides)
        except ValueError as error:
            self._writable = False
            print(f"Note: this run does not write {self.path.name}: {error}.")

    def write(self, state: TrainState, evaluation: dict[str, Any]) -> None:
        """Replaces the file; with several hosts, all have to call this and the first one writes it.

        Args:
          state: the state that was evaluated.
          evaluation: the line of metrics.jsonl that says how it did.

        Raises:
          TrainError: the file cannot be written.
        """
        if not self._writable:
            return
        variables: dict[str, Any] = {"params": state.eval_params}
        if state.batch_stats:
            variables["batch_stats"] = state.batch_stats
        if jax.process_count() > 1:
            from jax.experimental import multihost_utils

            variables = multihost_utils.process_allgather(variables, tiled=True)
        if jax.process_index() > 0:
            return
        figures = ("loss", "top1", "top5", "examples")
        with disk_errors(self.path.parent):
            pretrained.save(
                self.path,
                self._name,
                self._overrides,
                jax.device_get(variables),
                preprocessing=self._preprocessing,
                class_names=self._class_names,
                step=evaluation["step"],
                metrics={name: evaluation[name] for name in figures},
            )


def eval_preprocessing(data: Data) -> Preprocessing:
    """Returns what `data.eval_transform` and `data.normalize` do, as `zoo` can repeat it."""
    start = data.preprocessing
    size, _, channels = data.image_shape
    channels = max(channels, len(start.mean))  # grey images are broadcast against the mean of RGB
    settings: dict[str, Any] = {
        "mean": start.mean,
        "std": start.std,
        "channel_order": start.channel_order,
        "exif_orientation": getattr(data.evaluation.examples, "exif_orientation", False),
    }
    match data.eval_transform:
        case transforms.CenterCrop(fraction=fraction, interpolation=interpolation):
            settings |= {"crop": fraction, "interpolation": interpolation, "reduced": True}
        case transforms.Resize(interpolation=interpolation):
            settings |= {"crop": None, "interpolation": interpolation, "reduced": True}
        case transforms.Pad(padding=padding):
            settings |= {"crop": None, "padding": padding}
    return Preprocessing(image_size=size, channels=channels, **settings)
