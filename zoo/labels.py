"""Names of classes, and logits as names with probabilities.

The names of ImageNet's classes are WordNet's, see data/labels/WORDNET.txt; the files are made by
docs/tools/labels.py.
"""

import functools
import lzma
import re
from pathlib import Path
from typing import Any

import numpy as np
from jax.typing import ArrayLike

_FOLDER = Path(__file__).parent / "data" / "labels"
_LISTS = ("cifar10", "cifar100", "fashion_mnist", "mnist")
# The larger sets of ImageNet: their letters in imagenet.tsv.xz.
_LETTERS = {
    "imagenet-12k": "a",
    "imagenet-21k": "b",
    "imagenet-22k": "c",
    "imagenet-21k-miil": "d",
}
_NUM_CLASSES = {
    "imagenet-1k": 1000,
    "imagenet-12k": 11821,
    "imagenet-21k": 21843,
    "imagenet-22k": 21841,
    "imagenet-21k-miil": 11221,
    "imagenet-22k-ms": 21842,
    "cifar10": 10,
    "cifar100": 100,
    "fashion_mnist": 10,
    "mnist": 10,
}
LABEL_SETS = tuple(_NUM_CLASSES)

Prediction = tuple[str, str, float]  # id, name, probability


def names(label_set: str) -> tuple[str, ...]:
    """Returns the name of each class, in the order of the logits; all of a set are different.

    Those of ImageNet-1k are torchvision's, where synsets that share a word are told apart by
    another: "crane" lifts loads and "crane bird" flies, "maillot" is tights and "maillot tank suit"
    is for swimming. In the larger sets a name is the first lemma of WordNet, followed by the
    beginning of its definition where synsets share it: "crane (lifts and moves heavy objects)".

    Args:
      label_set: One of `LABEL_SETS`. Of ImageNet there are "imagenet-1k", timm's "imagenet-12k",
        "imagenet-21k" (Google's, 21,843 classes), "imagenet-22k" (21,841), "imagenet-21k-miil"
        (11,221) and "imagenet-22k-ms" (Microsoft's, 21,842, those of ImageNet-1k first).

    Raises:
      ValueError: There is no such set.

    Example:
      >>> names("imagenet-1k")[134], names("imagenet-1k")[517]
      ('crane bird', 'crane')
    """
    return _classes(label_set)[1]


def ids(label_set: str) -> tuple[str, ...]:
    """Returns the id of each class, in the order of the logits: the synset for ImageNet's.

    The classes of the other sets have numbers only: "0", "1", ...

    Args:
      label_set: One of `LABEL_SETS`, see `names`.

    Raises:
      ValueError: There is no such set.
    """
    return _classes(label_set)[0]


def label_set_of(num_classes: int) -> str | None:
    """Returns the only label set with that number of classes, or None if there is none or more.

    >>> label_set_of(1000), label_set_of(10)
    ('imagenet-1k', None)
    """
    found = _sets_of(num_classes)
    return found[0] if len(found) == 1 else None


def decode(logits: ArrayLike, top: int = 5, classes: Any = None) -> list[Any]:
    """Returns the most probable classes, as (id, name, probability), the most probable first.

    Args:
      logits: [classes] of one image, or [B, classes]; an array of JAX or numpy, of any float dtype.
        The softmax is taken here, in float64.
      top: Number of classes to give; all of them if there are fewer.
      classes: What the logits stand for: the name of a label set, see `names`; a name for each
        class; a model that `zoo.load` returned; or a `zoo.Info`. By default it is the label set
        with that number of classes. Names that are synsets of ImageNet, as folders often have, are
        translated.

    Returns:
      A list of tuples for one image, a list of such lists for a batch.

    Raises:
      ValueError: No label set has that number of classes or several have it, `classes` has another
        number of them, the logits are not finite, or they have not one or two dimensions.

    Example:
      >>> decode([1.0, 3.0, 2.0], top=2, classes=["cat", "dog", "fox"])
      [('1', 'dog', 0.6652409557748218), ('2', 'fox', 0.24472847105479764)]
    """
    array = np.asarray(logits).astype(np.float64)  # bfloat16 is no float of numpy's
    if array.ndim not in (1, 2):
        raise ValueError(f"logits must be [classes] or [B, classes], and are {list(array.shape)}.")
    if top < 1:
        raise ValueError(f"top must be at least 1, and is {top}.")
    class_ids, class_names = classes_of(classes, array.shape[-1])
    largest = array.max(-1, keepdims=True)
    if not np.isfinite(largest).all():
        raise ValueError("The logits are not finite: there is no most probable class.")
    powers = np.exp(array - largest)
    probabilities = powers / powers.sum(-1, keepdims=True)
    order = np.argsort(-array, axis=-1, kind="stable")[..., :top]

    def describe(row: np.ndarray, best: np.ndarray) -> list[Prediction]:
        return [(class_ids[i], class_names[i], float(row[i])) for i in best]

    if array.ndim == 1:
        return describe(probabilities, order)
    return [describe(row, best) for row, best in zip(probabilities, order, strict=True)]


def classes_of(classes: Any, num_classes: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Returns the ids and the names of the classes that logits stand for.

    Args:
      classes: See `decode`.
      num_classes: Number of the logits.

    Raises:
      ValueError: See `decode`.
    """
    if hasattr(classes, "class_names") or hasattr(classes, "family"):  # a loaded model, an Info
        classes = _of_model(classes, num_classes)
    if classes is None:
        classes = _only_set(num_classes)
    what = repr(classes) if isinstance(classes, str) else "`classes`"
    found = _classes(classes) if isinstance(classes, str) else _named(tuple(classes))
    if len(found[1]) != num_classes:
        raise ValueError(
            f"There are {num_classes:,} logits, and {what} has {len(found[1]):,} classes. Pass as "
            "`classes` what this model was trained on."
        )
    return found


def _of_model(model: Any, num_classes: int) -> Any:
    """What a loaded model or an Info says of its classes; None to go by their number."""
    info = getattr(model, "info", model)
    for owner, name in ((model, "class_names"), (info, "label_set"), (info, "class_names")):
        if found := getattr(owner, name, None):
            return found
    if num_classes != 10:
        return None
    return "mnist" if info.channels == 1 else "cifar10"  # what the networks of the zoo are for


def _sets_of(num_classes: int) -> list[str]:
    return [name for name, count in _NUM_CLASSES.items() if count == num_classes]


def _only_set(num_classes: int) -> str:
    found = _sets_of(num_classes)
    if len(found) == 1:
        return found[0]
    which = f"{', '.join(found)} have" if found else "no label set has"
    advice = 'Pass `classes`: the name of a label set, such as "cifar10", or a name for each class.'
    if num_classes == 1001:
        advice = "Of TensorFlow's 1,001 the first is the background: pass logits[..., 1:]."
    raise ValueError(f"There are {num_classes:,} logits, and {which} so many classes. {advice}")


def _named(class_names: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The ids and names of a run's own classes: numbers, unless the names are synsets or a set's.

    A folder for each synset is how ImageNet, and what was cut from it, is kept.
    """
    if class_names and all(re.fullmatch(r"n\d{8}", name) for name in class_names):
        known = {synset: name for synset, _, name in _wordnet()}
        known |= dict(zip(*_classes("imagenet-1k"), strict=True))
        if all(synset in known for synset in class_names):
            return class_names, tuple(known[synset] for synset in class_names)
    for label_set in _sets_of(len(class_names)):
        if class_names == names(label_set):
            return _classes(label_set)
    return tuple(map(str, range(len(class_names)))), class_names


@functools.cache
def _classes(label_set: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The ids and the names of a label set."""
    if label_set in _LISTS:
        lines = tuple((_FOLDER / f"{label_set}.txt").read_text().splitlines())
        return tuple(map(str, range(len(lines)))), lines
    if label_set == "imagenet-1k":
        lines = (_FOLDER / "imagenet-1k.tsv").read_text().splitlines()
        pairs = [line.split("\t") for line in lines]
    elif label_set in _LETTERS:
        letter = _LETTERS[label_set]
        pairs = [(synset, name) for synset, letters, name in _wordnet() if letter in letters]
    elif label_set == "imagenet-22k-ms":
        first = ids("imagenet-1k")
        every = {synset: name for synset, _, name in _wordnet()}
        rest = [synset for synset in ids("imagenet-22k") if synset not in set(first)]
        pairs = [(synset, every[synset]) for synset in (*first, *rest)]
    else:
        raise ValueError(f"There is no label set {label_set!r}. There are {', '.join(LABEL_SETS)}.")
    synsets, class_names = zip(*pairs, strict=True)
    return synsets, class_names


@functools.cache
def _wordnet() -> list[list[str]]:
    """Synset, letters of its sets and name of every class of the larger sets of ImageNet."""
    content = lzma.decompress((_FOLDER / "imagenet.tsv.xz").read_bytes()).decode()
    return [line.split("\t") for line in content.splitlines()]
