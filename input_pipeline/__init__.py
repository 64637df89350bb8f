"""Data: from the name of a data set to batches of uint8 images.

    source = input_pipeline.open("mnist", "train")
    images, labels = in_memory.load(source)                      # small data sets: on the device
    batches = loader.train_batches(source, transforms.RandomResizedCrop(224), batch_size=256, ...)

Modules: `sources` (data sets by name), `prepare` (the command that prepares one), `transforms` and
`decode` (host), `order` and `loader` (batches), `in_memory`, `augment` (device). Nothing here
knows a model or imports TensorFlow.
"""

from input_pipeline.example import DataError, Example, Source, UnreadableImage
from input_pipeline.sources import eval_split, open

__all__ = ["DataError", "Example", "Source", "UnreadableImage", "eval_split", "open"]
