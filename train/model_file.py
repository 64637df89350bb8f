"""The models that a run leaves for use, which `zoo.load` reads: the last one and the best one."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from train.build import model_overrides
from train.console import say
from train.data import Data, pixels_of
from train.step import TrainState
from train.workspace import disk_errors
from zoo.preprocess import Preprocessing
from zoo.weights import pretrained

BEST = "best.safetensors"
_NOT_FIGURES = ("split", "step", "epoch", "seconds", "skipped")  # of the line of an evaluation


class ModelFile:
    """The files WORKDIR/model.safetensors and WORKDIR/best.safetensors.

    The first is the model as it was last evaluated, the second as it was when the figure that
    `checkpoint.best` names was best. They hold the parameters that were evaluated (the moving
    average if the recipe has one), and all that is needed to use them: the model's name and
    attributes, the preprocessing, the names of the classes, and the figures of that evaluation. If
    `model.options` has values that no file can hold, such as functions, a note says so and no file
    is written.

    Attributes:
      path: of the first file.
      preprocessing: from an image to the model's input.
      class_names: one name per class, in the order of the logits.
    """

    def __init__(self, workdir: Path, config: ConfigDict, data: Data):
        self.path = workdir / pretrained.FILE_NAME
        self._name = config.model.name
        self._overrides = model_overrides(config.model, data.num_classes)
        self.preprocessing = eval_preprocessing(data)
        self.class_names = data.train.class_names
        self._figure = config.checkpoint.best
        self._writable = True
        try:
            pretrained.encode_overrides(self._overrides)
        except ValueError as error:
            self._writable = False
            print(f"Note: this run does not write {self.path.name}: {error}.")

    def write(self, state: TrainState, evaluation: dict[str, Any]) -> None:
        """Replaces the files; with several hosts, all have to call this and the first one writes.

        Args:
          state: the state that was evaluated.
          evaluation: the line of metrics.jsonl that says how it did.

        Raises:
          TrainError: a file cannot be written.
        """
        if not self._writable:
            return
        best = self._is_best(evaluation)
        variables: dict[str, Any] = {"params": state.eval_params}
        if state.batch_stats:
            variables["batch_stats"] = state.eval_batch_stats
        if jax.process_count() > 1:
            from jax.experimental import multihost_utils

            variables = multihost_utils.process_allgather(variables, tiled=True)
        if jax.process_index() > 0:
            return
        metrics = {key: value for key, value in evaluation.items() if key not in _NOT_FIGURES}
        variables = jax.device_get(variables)
        with disk_errors(self.path.parent):
            for path in [self.path, self.path.with_name(BEST)][: 1 + best]:
                pretrained.save(
                    path,
                    self._name,
                    self._overrides,
                    variables,
                    preprocessing=self.preprocessing,
                    class_names=self.class_names,
                    step=evaluation["step"],
                    metrics=metrics,
                )

    def _is_best(self, evaluation: dict[str, Any]) -> bool:
        """Whether it is better than the evaluation whose model is in the file of the best one.

        That may have been a later step of a process that was killed, which will be reached again.
        """
        name = self._figure.removeprefix("-")
        if not name:
            return False
        if not isinstance(evaluation.get(name), (int, float)):
            figures = ", ".join(key for key in evaluation if key not in _NOT_FIGURES)
            say(f"Note: checkpoint.best={self._figure} is not kept: this evaluation has {figures}.")
            return False
        sign = -1 if self._figure.startswith("-") else 1
        try:
            before = pretrained.read_metadata(self.path.with_name(BEST))["metrics"][name]
            return sign * evaluation[name] > sign * float(before)
        except (OSError, ValueError, TypeError, KeyError):
            return True  # there is none so far, or it has no such figure


def eval_preprocessing(data: Data) -> Preprocessing:
    """Returns what `data.eval_transform` and `data.normalize` do, as `zoo` can repeat it."""
    start = data.preprocessing
    size, _, channels = data.eval_shape[-3:]
    channels = max(channels, len(start.mean))  # grey images are broadcast against the mean of RGB
    return dataclasses.replace(
        pixels_of(data.eval_transform, size, channels),
        channels=channels,
        mean=start.mean,
        std=start.std,
        channel_order=start.channel_order,
        representation=start.representation,
        exif_orientation=getattr(data.evaluation.examples, "exif_orientation", False),
    )
