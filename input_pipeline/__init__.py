"""Data: from the name of a data set to batches of uint8 images.

Example:
  >>> source = input_pipeline.open("mnist", "train")
  >>> images, labels = in_memory.load(source)  # a small data set, whole
  >>> batches = loader.train_batches(source, transforms.RandomResizedCrop(224), batch_size=256, ...)

Modules: `sources` (data sets by name), `own` (those of users), `prepare` (the program that prepares
one), `transforms` and `decode` (on the host), `order` and `loader` (batches), `in_memory`,
`augment` (on the device).
Nothing here depends on a model or imports TensorFlow.
"""

from input_pipeline.example import DataError, Example, Source, UnreadableImage
from input_pipeline.own import register
from input_pipeline.sources import eval_split, open

__all__ = ["DataError", "Example", "Source", "UnreadableImage", "eval_split", "open", "register"]


def __getattr__(name: str) -> object:
    if name != "builders":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib  # where a module of version 0.1 is now
    import warnings

    moved = "input_pipeline.prepare.builders"
    warnings.warn(f"input_pipeline.builders is {moved} now.", DeprecationWarning, stacklevel=2)
    return importlib.import_module(moved)
