"""Opens the model that a program is to use."""

from pathlib import Path

import zoo
from train.errors import TrainError
from zoo.weights import own
from zoo.weights.pretrained import PretrainedModel


def open_model(weights: str = "", workdir: str = "", model: str = "") -> PretrainedModel:
    """Returns a model with its weights, preprocessing and class names.

    Args:
      weights: what `zoo.load` takes: the name of published weights, or a file.
      workdir: folder of a run, instead of `weights`.
      model: name of the model in a file that does not say it.

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
            return zoo.load(workdir)
        return _load(weights, model)
    except (ValueError, OSError) as error:  # the texts are for people
        raise TrainError(str(error)) from error


def _load(weights: str, model: str) -> PretrainedModel:
    if weights.startswith("zoo/"):
        return zoo.load(own.path(weights.removeprefix("zoo/")))
    if not model:
        return zoo.load(weights)
    variables = zoo.load_torch(model, Path(weights))
    info = zoo.info(model)
    return PretrainedModel(zoo.create(model), variables, info, zoo.preprocess(info))
