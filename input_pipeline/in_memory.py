"""Loads a whole data set, for training on data in device memory."""

import numpy as np

from input_pipeline.example import DataError, Source, known_label

_CHUNK = 4096


def load(source: Source) -> tuple[np.ndarray, np.ndarray]:
    """Loads all examples, in the order of the source.

    Returns:
      images uint8 [N, H, W, C], labels int32 [N].

    Raises:
      DataError: the images differ in size (`source.image_shape` is None), or have no labels.
      UnreadableImage: an image cannot be read, whatever `source.on_unreadable` says, because these
        data sets are small and were checked when they were prepared.
    """
    if source.image_shape is None:
        raise DataError(
            f"The images of {source.dataset} differ in size, so they cannot be loaded as one "
            "array. Read them in batches, with input_pipeline.loader."
        )
    images = np.empty((len(source), *source.image_shape), np.uint8)
    labels = np.empty(len(source), np.int32)
    for start in range(0, len(source), _CHUNK):
        stop = min(start + _CHUNK, len(source))
        for index, example in enumerate(source.__getitems__(range(start, stop)), start):
            images[index], labels[index] = example.image, known_label(example)
    return images, labels
