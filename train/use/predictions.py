"""Pictures to the names of their classes: files are decoded in threads while the model runs."""

import dataclasses
import glob
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import jax
import numpy as np

from input_pipeline.example import DataError
from input_pipeline.folder import ENDINGS, images_below
from train.use.decoding import decoded
from zoo import labels
from zoo.preprocess import Preprocessing
from zoo.weights.pretrained import PretrainedModel


@dataclasses.dataclass(frozen=True)
class Result:
    """What a model says of one picture.

    Attributes:
      file: path of the picture.
      best: (id, name, probability) of the most probable classes, the most probable first; empty if
        the picture cannot be read.
      error: why it cannot be read, or "".
    """

    file: str
    best: Sequence[labels.Prediction]
    error: str = ""


def find_images(patterns: Iterable[str]) -> list[str]:
    """Returns the files that the arguments of a command line stand for, each once.

    Args:
      patterns: files, which are taken whatever their names end in; folders, of which all images
        are taken, also those in folders below; and patterns such as "photos/**/*.jpg", of which
        files are taken that are images by the endings of their names.

    Raises:
      DataError: one of them leads to no file.
    """
    found: dict[str, None] = {}  # ordered
    for pattern in patterns:
        if os.path.isdir(pattern):
            files = list(images_below(pattern))
        elif os.path.lexists(pattern):
            files = [pattern]
        else:
            matches = sorted(glob.glob(os.path.expanduser(pattern), recursive=True))
            files = [path for path in matches if path.lower().endswith(ENDINGS)]
        if not files:
            kind = "image in the folder" if os.path.isdir(pattern) else "file, folder or image"
            raise DataError(
                f"There is no {kind} {pattern}. Name files, folders or patterns; images are files "
                f"whose names end in {', '.join(ENDINGS)}."
            )
        found |= dict.fromkeys(files)
    return list(found)


def predict(
    trained: PretrainedModel,
    files: Sequence[str],
    *,
    top: int = 5,
    classes: Any = None,
    batch_size: int = 32,
    threads: int | None = None,
) -> Iterator[Result]:
    """Returns an iterator over the results of all files, in their order.

    One program is compiled: the last batch is filled up with empty images.

    Args:
      trained: the model, see `zoo.load`.
      files: paths of images.
      top: number of classes to give for each.
      classes: what the logits stand for, instead of what the model says; see `zoo.decode`.
      batch_size: images that are computed at once.
      threads: threads that decode; one for each processor by default.

    Raises:
      ValueError: it is not known what the logits stand for, see `zoo.decode`.
    """
    run = _program(trained)
    images = jax.ShapeDtypeStruct((1, *_shape(trained.preprocessing)), np.uint8)
    logits = jax.eval_shape(run, trained.variables, images)
    classes = trained if classes is None else classes
    labels.classes_of(classes, logits.shape[-1])  # raises, before anything is computed
    batches = [files[i : i + batch_size] for i in range(0, len(files), batch_size)]
    return _results(trained, run, batches, threads or os.cpu_count() or 1, top, classes)


def _program(trained: PretrainedModel) -> Callable:
    """(variables, uint8 [B, S, S, C]) -> logits, compiled."""

    def logits(variables, pixels):
        return trained.model.apply(variables, trained.preprocessing.normalize(pixels))

    return jax.jit(logits)


def _shape(preprocessing: Preprocessing) -> tuple[int, int, int]:
    return preprocessing.image_size, preprocessing.image_size, preprocessing.channels


def _results(
    trained: PretrainedModel,
    run: Callable,
    batches: Sequence[Sequence[str]],
    threads: int,
    top: int,
    classes: Any,
) -> Iterator[Result]:
    variables = jax.device_put(trained.variables)

    def decode(file: str) -> np.ndarray | Exception:
        try:
            return trained.preprocessing.resize(file)
        except (OSError, ValueError) as error:
            return error

    for files, images in decoded(batches, decode, threads):
        empty = np.zeros(_shape(trained.preprocessing), np.uint8)
        pixels = [empty if isinstance(image, Exception) else image for image in images]
        pixels += [empty] * (len(batches[0]) - len(pixels))
        logits = np.asarray(run(variables, np.stack(pixels)))
        for file, image, row in zip(files, images, logits, strict=False):
            if isinstance(image, Exception):
                yield Result(file, (), str(image))
            else:
                yield Result(file, labels.decode(row, top, classes))
