"""Opens the model that a program is to use."""

import importlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import zoo
from configs import functions
from train.errors import TrainError
from zoo import labels
from zoo.weights.pretrained import PretrainedModel


def read_classes(text: str) -> str | list[str] | None:
    """Returns what logits stand for, as `zoo.decode` takes it.

    Args:
      text: name of a label set, a file with the name of a class on each line, or "" for what the
        model says.

    Raises:
      TrainError: it is neither.
    """
    if not text:
        return None
    if text in labels.LABEL_SETS:
        return text
    try:
        return [line.strip() for line in Path(text).read_text().splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise TrainError(
            f"{text} is neither a label set ({', '.join(labels.LABEL_SETS)}) nor a file with the "
            f"name of a class on each line: {error}."
        ) from error


def register_models(place: str) -> None:
    """Runs a Python file, or imports a module, that registers models of one's own.

    Raises:
      TrainError: there is no such file or module.
    """
    if not place:
        return
    try:
        if place.endswith(".py"):
            functions.load_file(Path(place))
        else:
            importlib.import_module(place)
    except ImportError as error:
        raise TrainError(f"--import={place}: {error}") from error


def open_model(
    weights: str = "",
    workdir: str = "",
    model: str = "",
    classes: str | Sequence[str] | None = None,
    image_size: int | None = None,
) -> PretrainedModel:
    """Returns a model with its weights, preprocessing and class names.

    Args:
      weights: what `zoo.load` takes: the name of published weights, or a file.
      workdir: folder of a run, instead of `weights`.
      model: name of the model in a file that does not say it.
      classes: what its logits stand for, see `read_classes`; by default the model's own number of
        classes is expected in such a file.
      image_size: side in pixels of the images; None for that of the weights.

    Raises:
      TrainError: not exactly one of `weights` and `workdir` is given, or the weights cannot be
        loaded; the message says why.
    """
    if bool(weights) == bool(workdir):
        raise TrainError(
            "Name either weights, such as --weights=zoo/lenet5.mnist, or a run, such as "
            "--workdir=runs/lenet."
        )
    if workdir and model:
        raise TrainError(f"The run {workdir} knows its model; leave out --model={model}.")
    try:
        if workdir:
            return zoo.load(workdir, image_size=image_size)
        return _load(weights, model, classes, image_size)
    except (ValueError, TypeError, OSError) as error:  # the texts are for people
        raise TrainError(str(error)) from error


def _load(
    weights: str, model: str, classes: str | Sequence[str] | None, image_size: int | None
) -> PretrainedModel:
    if not model:
        return zoo.load(weights, image_size=image_size)
    classes = labels.names(classes) if isinstance(classes, str) else classes
    overrides: dict[str, Any] = {"num_classes": len(classes)} if classes else {}
    return zoo.load(weights, model=model, image_size=image_size, **overrides)


def shares(ensemble: str | None, count: int) -> list[float]:
    """Returns the weight of each model of an ensemble: "equal", or "0.3,0.7".

    Raises:
      TrainError: there is another number of weights, or they are no positive numbers.
    """
    if ensemble in (None, "equal"):
        return [1.0] * count
    try:
        found = [float(word) for word in ensemble.split(",")]
    except ValueError:
        found = []
    if len(found) != count or not all(0 < share < math.inf for share in found):
        raise TrainError(
            f"--ensemble={ensemble}: give a positive number for each of the {count} models, such "
            "as 0.3,0.7, or nothing for equal shares."
        )
    return found
