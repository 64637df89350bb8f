"""Functions of one's own that are called after each evaluation: `config.eval.callbacks`."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flax import linen as nn
from ml_collections import ConfigDict

from train.errors import TrainError
from train.functions import find_all
from train.model_file import ModelFile
from train.step import TrainState
from zoo.preprocess import Preprocessing


@dataclass(frozen=True)
class Evaluation:
    """What a callback is given.

    Attributes:
      step, epoch: how far the run is.
      metrics: figures of this evaluation: "loss", "top1", "top5", "examples" and others.
      model: the model, called as model.apply(variables, images, train=False).
      variables: {"params": ..., "batch_stats": ...} that were evaluated, on the devices. With
        several hosts each of them calls the callbacks, and may hold a part of the arrays only.
      preprocessing: from an image, or the path of one, to the model's input.
      class_names: one name per class, in the order of the logits.
      workdir: folder of the run, for what the callback writes.

    Example:
      >>> def sharpness(evaluation):  # config.eval.callbacks = (sharpness,)
      ...     kernel = evaluation.variables["params"]["conv1"]["kernel"]
      ...     return {"sharpness": float(abs(kernel).max())}
    """

    step: int
    epoch: float
    metrics: Mapping[str, Any]
    model: nn.Module
    variables: dict[str, Any]
    preprocessing: Preprocessing
    class_names: tuple[str, ...]
    workdir: Path


class Callbacks:
    """The callbacks of a recipe.

    Raises:
      TrainError: there is no function of such a name.
    """

    def __init__(self, config: ConfigDict, workdir: Path, model: nn.Module, model_file: ModelFile):
        self._functions = find_all("eval.callbacks", config.eval.callbacks)
        self._workdir, self._model, self._model_file = workdir, model, model_file

    def __call__(self, state: TrainState, line: dict[str, Any]) -> dict[str, float]:
        """Calls them in their order; returns the figures that they add to the evaluation.

        Args:
          state: the state that was evaluated.
          line: the line of metrics.jsonl that says how it did.

        Raises:
          TrainError: one returns something else than None or finite numbers by new names.
        """
        if not self._functions:
            return {}
        evaluation = Evaluation(
            step=line["step"],
            epoch=line["epoch"],
            metrics=dict(line),
            model=self._model,
            variables={"params": state.eval_params, "batch_stats": state.eval_batch_stats},
            preprocessing=self._model_file.preprocessing,
            class_names=self._model_file.class_names,
            workdir=self._workdir,
        )
        figures: dict[str, float] = {}
        for name, callback in self._functions.items():
            for key, value in (callback(evaluation) or {}).items():
                if key in line or key in figures:
                    raise TrainError(f"eval.callbacks: {name} returns {key!r}, which is there.")
                figures[key] = _number(f"eval.callbacks: {name} returns {key}", value)
        return figures


def _number(what: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise TrainError(f"{what}={value!r}, and figures are numbers.") from error
    if not math.isfinite(number):
        raise TrainError(f"{what}={number}, and figures are finite.")
    return number
