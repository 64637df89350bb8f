"""Features of the images of a data set, computed once."""

from collections.abc import Callable, Iterable, Sequence

import jax
import numpy as np

import zoo
from input_pipeline.example import Source, UnreadableImage, known_label
from input_pipeline.folder import FolderExamples
from train.errors import TrainError
from train.use.decoding import decoded
from zoo.weights.pretrained import PretrainedModel

PIXELS = "pixels"  # in place of an output of the model: the images themselves
Progress = Callable[[Iterable, int], Iterable]


def labels_of(source: Source) -> np.ndarray:
    """Returns the label of every example, int64 [N]; images in folders are not read for it.

    Raises:
      DataError: an example has none.
    """
    if isinstance(source.examples, FolderExamples):
        return np.array([label for _, label in source.examples.files])
    chunks = (range(i, min(i + 1000, len(source))) for i in range(0, len(source), 1000))
    examples = (example for chunk in chunks for example in source.__getitems__(chunk))
    return np.array([known_label(example) for example in examples], np.int64)


def features_of(
    trained: PretrainedModel,
    source: Source,
    indices: Sequence[int],
    *,
    at: str = "embedding",
    batch_size: int = 32,
    threads: int = 1,
    progress: Progress = lambda batches, _: batches,
) -> np.ndarray:
    """Returns the features of some examples, float32 [N, D].

    Args:
      trained: the model, see `zoo.load`.
      source: a split of a data set.
      indices: of the examples.
      at: an output of the model, see `zoo.features`; maps [B, H, W, D] are averaged over H and W.
        "pixels" are the normalised pixels of the images, of which the model then knows nothing.
      batch_size: images that are computed at once.
      threads: threads that decode.
      progress: wraps the batches, to draw a bar.

    Raises:
      TrainError: the model has no such output.
      UnreadableImage: an image cannot be read.
    """
    preprocessing, model = trained.preprocessing, trained.model

    def run(variables, pixels):
        images = preprocessing.normalize(pixels)
        if at == PIXELS:
            return images.reshape(len(images), -1)
        output = zoo.features(model, variables, images, at=at)
        if isinstance(output, dict):
            raise ValueError("these are several arrays and no features of the image")
        return output.mean((1, 2)) if output.ndim == 4 else output.reshape(len(output), -1)

    def decode(index: int) -> np.ndarray:
        example = source[index]
        try:
            return preprocessing.resize(example.image)
        except (ValueError, OSError) as error:
            raise UnreadableImage(f"{example.name}: {error}") from error

    compiled, variables = jax.jit(run), jax.device_put(trained.variables)
    batches = [indices[i : i + batch_size] for i in range(0, len(indices), batch_size)]
    found = []
    for batch, made in progress(decoded(batches, decode, threads), len(batches)):
        pixels = np.stack(made)
        pixels = np.pad(pixels, ((0, batch_size - len(batch)), *[(0, 0)] * 3))
        try:
            found.append(np.asarray(compiled(variables, pixels), np.float32)[: len(batch)])
        except ValueError as error:  # there is no such output: the text lists those there are
            raise TrainError(f"--at={at}: {error}") from error
    return np.concatenate(found)
