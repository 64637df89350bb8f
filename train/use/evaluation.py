"""How good a model is on a data set: each image once, in one or several views."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from input_pipeline.example import DataError, Source, UnreadableImage
from train.errors import TrainError
from train.use.decoding import decoded
from train.use.views import AVERAGES, VIEWS, average, shown
from zoo import labels
from zoo.weights.pretrained import PretrainedModel


@dataclasses.dataclass(frozen=True)
class Protocol:
    """How images are shown to a model.

    Attributes:
      views: one of `views.VIEWS`.
      scales: lengths in pixels to which the shorter side is resized, all of which are used; () for
        that of the model's preprocessing.
      average: what of the views is averaged, one of `views.AVERAGES`. AlexNet, VGG and ResNet
        average "probabilities".
      positions: what of the positions of a network that slides over a whole image ("dense") is
        averaged, likewise; "logits" as by Simonyan and Zisserman.
    """

    views: str = "center"
    scales: tuple[int, ...] = ()
    average: str = "probabilities"
    positions: str = "logits"


@dataclasses.dataclass(frozen=True)
class Scores:
    """The result of an evaluation.

    Attributes:
      examples: number of images that were evaluated.
      skipped: number of images that could not be read, where the data set skips them, or that have
        no label.
      top1, top5: fractions of the images in [0, 1] whose label is the first, or among the first
        five, of the classes.
      loss: mean cross-entropy of the labels, in nats.
      confusion: int [K, K]; row i counts what images of the model's class i were taken for.
    """

    examples: int
    skipped: int
    top1: float
    top5: float
    loss: float
    confusion: np.ndarray = dataclasses.field(compare=False, repr=False)


class Classifier:
    """A model that gives the probabilities of classes, by a protocol.

    Raises:
      TrainError: the protocol does not fit the model.
    """

    def __init__(self, trained: PretrainedModel, protocol: Protocol):
        self.trained, self.protocol = trained, protocol
        self.preprocessing = trained.preprocessing
        self._check()
        preprocessing, model = self.preprocessing, trained.model
        if protocol.views == "dense" and _slides(model):
            model = model.clone(fully_convolutional=True)

        def logits(variables, pixels):
            return model.apply(variables, preprocessing.normalize(pixels))

        self._variables, self._run = jax.device_put(trained.variables), jax.jit(logits)

    def _check(self) -> None:
        """Raises TrainError if the protocol is not known, or does not fit the model."""
        protocol, size = self.protocol, self.preprocessing.image_size
        for key, known in (("views", VIEWS), ("average", AVERAGES), ("positions", AVERAGES)):
            if getattr(protocol, key) not in known:
                raise TrainError(
                    f"{key}={getattr(protocol, key)!r} is not known: choose {', '.join(known)}."
                )
        dense_layers = [x for x in self.trained.variables["params"] if x.startswith("fc")]
        if protocol.views == "dense" and dense_layers and not _slides(self.trained.model):
            raise TrainError(
                f"views=dense shows whole images, and {self.trained.info.name} takes maps of one "
                f"size: {dense_layers[0]} follows without global pooling. Use views=ten_crop."
            )
        if protocol.views != "dense" and min(protocol.scales, default=size) < size:
            raise TrainError(
                f"scales={min(protocol.scales)}: crops have {size} pixels, and so must the shorter "
                "side of the image, at least; views=dense shows smaller images whole."
            )

    def decode(self, image: Any) -> list[np.ndarray]:
        """Returns the views of an image: uint8 [H, W, C] each, of one size but for "dense".

        Raises:
          ValueError: it is not an image.
        """
        return shown(image, self.preprocessing, self.protocol.views, self.protocol.scales)

    def scores(self, batch: Sequence[list[np.ndarray]], batch_size: int = 1) -> np.ndarray:
        """Returns the average of the views, float64 [N, K]: logits, or logarithms of probabilities.

        Args:
          batch: the views of each image.
          batch_size: images to which the batch is filled up, so that one program serves all.
        """
        count, views = len(batch), len(batch[0])
        if self.protocol.views == "dense":  # a program for each size of image
            logits = np.stack([self._of_image(view) for shown_ in batch for view in shown_])
        else:
            pixels = np.stack([view for shown_ in batch for view in shown_])
            missing = max(0, batch_size - count) * views
            pixels = np.pad(pixels, ((0, missing), *[(0, 0)] * 3))
            logits = self._logits(pixels)[: count * views]
        return average(logits.reshape(count, views, -1), self.protocol.average)

    def probabilities(self, batch: Sequence[list[np.ndarray]], batch_size: int = 1) -> np.ndarray:
        """Returns float64 [N, K] for the views of N images, see `scores`."""
        return softmax(self.scores(batch, batch_size))

    def _of_image(self, view: np.ndarray) -> np.ndarray:
        """The logits of a whole image, [K]: the average over the positions of a sliding network."""
        logits = self._logits(view[None])
        if logits.ndim == 2:
            return logits[0]
        return average(logits.reshape(-1, logits.shape[-1]), self.protocol.positions)

    def _logits(self, pixels: np.ndarray) -> np.ndarray:
        return np.asarray(self._run(self._variables, pixels)).astype(np.float64)


def _slides(model: Any) -> bool:
    """Whether the layers of a network's head can slide over maps of any size."""
    return hasattr(model, "fully_convolutional")


def probabilities(
    members: Sequence[tuple[Classifier, float]],
    batch: Sequence[Sequence[list[np.ndarray]]],
    batch_size: int = 1,
) -> np.ndarray:
    """Returns the weighted mean of the probabilities of several models, float64 [N, K].

    Args:
      members: classifiers and their weights, of any sum; one for a single model.
      batch: for each image and each member, the views that `Classifier.decode` gives.
      batch_size: images to which the batch is filled up, so that one program serves all.
    """
    total = sum(weight for _, weight in members)
    return sum(
        weight / total * member.probabilities([views[i] for views in batch], batch_size)
        for i, (member, weight) in enumerate(members)
    )  # type: ignore[return-value] # there is one member, at least


def softmax(logits: np.ndarray) -> np.ndarray:
    """Returns the probabilities of logits along the last axis."""
    exponentials = np.exp(logits - logits.max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)


def evaluate(
    members: Sequence[tuple[Classifier, float]],
    source: Source,
    *,
    batch_size: int = 32,
    threads: int = 1,
    restrict: bool = False,
    real_labels: Mapping[str, Sequence[int]] | None = None,
    progress: Callable[[Iterable, int], Iterable] = lambda batches, _: batches,
) -> Scores:
    """Evaluates a model, or the weighted mean of the probabilities of several.

    Args:
      members: classifiers and their weights; one for a single model.
      source: a split of a data set, each image of which is shown once.
      batch_size: images that are computed at once.
      threads: threads that decode.
      restrict: whether the model chooses among the classes that occur in the data set only, as is
        usual for ImageNet-A and -R.
      real_labels: for names of images, the labels of which any is right; images without a label are
        left out (ReaL, Beyer et al. 2020). Top-1 only is defined.
      progress: wraps the batches, to draw a bar.

    Raises:
      UnreadableImage: an image cannot be read, and the source is opened to stop at one.
      DataError: the classes of the data set, or the real labels, are not those of the model.
    """
    num_classes = _num_classes(members)
    to_model = class_map(source, members[0][0].trained, num_classes)
    if not all(0 <= x < num_classes for several in (real_labels or {}).values() for x in several):
        raise DataError(f"The real labels have others than 0 to {num_classes - 1}, the model's.")
    allowed = _occurring(source, to_model, num_classes) if restrict else np.ones(num_classes, bool)
    indices = range(len(source))
    batches = [indices[i : i + batch_size] for i in range(0, len(source), batch_size)]

    def decode(index: int) -> tuple[list[int], list[list[np.ndarray]]] | None:
        name = f"image {index}"
        try:
            example = source[index]
            name = example.name
            right = [int(to_model[example.label])] if example.label >= 0 else []
            if real_labels is not None:
                right = list(real_labels.get(_stem(example.name), ()))
            views = [member.decode(example.image) for member, _ in members] if right else []
        except (UnreadableImage, ValueError, OSError) as error:
            if source.on_unreadable == "stop":
                raise UnreadableImage(f"{name}: {error}") from error
            return None
        return (right, views) if right else None

    sums = np.zeros(4)
    confusion = np.zeros((num_classes, num_classes), np.int64)
    for _, made in progress(decoded(batches, decode, threads), len(batches)):
        found = [item for item in made if item is not None]
        if not found:
            continue
        mean = probabilities(members, [views for _, views in found], batch_size)
        mean, right = np.where(allowed, mean, 0), [right for right, _ in found]
        sums += _sums(mean, right)
        np.add.at(confusion, ([of_image[0] for of_image in right], mean.argmax(-1)), 1)
    examples = int(sums[0])
    if not examples:
        raise DataError(f"No image of {source.dataset} (split {source.split}) could be evaluated.")
    top1, top5, loss = (float(value) / examples for value in sums[1:])
    return Scores(examples, len(source) - examples, top1, top5, loss, confusion)


def class_map(source: Source, trained: PretrainedModel, num_classes: int) -> np.ndarray:
    """Returns the model's class for each class of a data set, [number of its classes].

    The classes are told apart by their names or ids (synsets), where both have the same; the same
    number of classes without common names is taken as it stands.

    Raises:
      DataError: the data set has classes that the model does not know.
    """
    names = source.class_names
    if not any(names):
        return np.arange(source.num_classes)
    try:
        known = labels.classes_of(trained, num_classes)
    except ValueError:  # nothing is known of the classes but their number
        known = ((), ())
    for of_model in known:
        index = {name: i for i, name in enumerate(of_model)}
        if all(name in index for name in names):
            return np.array([index[name] for name in names])
    if source.num_classes == num_classes:
        return np.arange(num_classes)
    missing = [name for name in names if name not in known[0] and name not in known[1]]
    raise DataError(
        f"{source.dataset} has {source.num_classes} classes, such as {', '.join(names[:3])}, and "
        f"{trained.info.name} has {num_classes:,}; {len(missing)} of the names are none of the "
        "model's. Name folders as the model's classes, by synset or name, or evaluate a model that "
        "was trained on these classes."
    )


def _num_classes(members: Sequence[tuple[Classifier, float]]) -> int:
    counts = set()
    for member, _ in members:
        shape = (1, *[member.preprocessing.image_size] * 2, member.preprocessing.input_channels)
        images = jax.ShapeDtypeStruct(shape, np.float32)
        counts.add(
            jax.eval_shape(member.trained.model.apply, member.trained.variables, images).shape[-1]
        )
    if len(counts) > 1:
        raise DataError(f"Models of an ensemble must have the same classes, and have {counts}.")
    return counts.pop()


def _occurring(source: Source, to_model: np.ndarray, num_classes: int) -> np.ndarray:
    """Whether each of the model's classes is in the data set, [K]."""
    found = np.zeros(num_classes, bool)
    if source.num_classes < num_classes:
        found[to_model] = True
    else:  # all labels have names there, and only some occur
        found[[to_model[source[i].label] for i in range(len(source))]] = True
    return found


def _sums(probabilities: np.ndarray, right: Sequence[Sequence[int]]) -> np.ndarray:
    """Sums over images: 1, right at the first, among the first five, cross-entropy."""
    order = np.argsort(-probabilities, axis=-1, kind="stable")[:, :5]
    hits = np.array([np.isin(row, of_image) for row, of_image in zip(order, right, strict=True)])
    first = np.array([of_image[0] for of_image in right])
    likelihood = probabilities[np.arange(len(first)), first] / probabilities.sum(-1)
    loss = -np.log(np.maximum(likelihood, np.finfo(float).tiny))
    return np.array([len(first), hits[:, 0].sum(), hits.any(-1).sum(), loss.sum()])


def _stem(name: str) -> str:
    """The name of an image file without its folder and ending."""
    return name.rsplit("/", 1)[-1].split(".", 1)[0]
