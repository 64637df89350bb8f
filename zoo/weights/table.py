"""The table of published weights, which docs/tools/weights_table.py writes."""

import csv
import dataclasses
import difflib
import fnmatch
import functools
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zoo import registry

FILE = Path(__file__).parent / "table.csv"
# First parts of the names in the table.
KINDS = ("timm", "torchvision", "authors")
# Data of pre-training by the words for it in names.
PRETRAINING = {
    "laion2b": "LAION-2B",
    "laiona": "LAION-Aesthetic",
    "in12k_ft": "ImageNet-12k",
    "in21k_ft": "ImageNet-21k",
    "in22k_ft": "ImageNet-22k",
    "ig1b": "Instagram-1B",
    "yfcc100m": "YFCC100M",
    "swag": "Instagram-3.6B",
}
# Weights that learnt from another network's outputs: its logits, or LV-ViT's labels of tokens.
_DISTILLED = re.compile(r"_dist_|_distilled_|zihangjiang")


@dataclasses.dataclass(frozen=True)
class Weights:
    """One row of the table.

    Attributes:
      name: Name for `zoo.load`, such as "timm/resnet50.a1_in1k".
      model: Name of the model in the zoo.
      address: Where the file is, "https://..." or "hf-hub:owner/name".
      image_size: Side in pixels of the images that the weights are for.
      resize: Shorter side in pixels before the central crop, or None where the whole image is
        resized to a square.
      interpolation: Interpolation of the resize.
      mean, std: Per channel, of images scaled to [0, 1].
      classes: Number of classes; 0 where the weights have no classifier.
      label_set: Names of the classes, for `zoo.labels.names`; "" where they are not known.
      license: As the publisher states it, of authors that of their repository; "" if unknown.
      top1, top5: Published accuracy in %, or None.
      source: Where the accuracy is published.
      digest: First digits of the file's SHA-256, as far as they are known.
      overrides: Attributes of the model with which the file is read.
    """

    name: str
    model: str
    address: str
    image_size: int
    resize: int | None
    interpolation: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    classes: int
    label_set: str
    license: str
    top1: float | None
    top5: float | None
    source: str
    digest: str
    overrides: Mapping[str, Any]

    @property
    def info(self) -> registry.Info:
        """What is known about the model, as it is with these weights."""
        return dataclasses.replace(
            registry.info(self.model),
            image_size=self.image_size,
            mean=self.mean,
            std=self.std,
            channel_order="RGB",
            interpolation=self.interpolation,
            crop=self.image_size / self.resize if self.resize else None,
            top1=self.top1,
            top5=self.top5,
            accuracy_source=self.source,
            weights=self.name,
            license=self.license,
            num_classes=self.classes,
            label_set=self.label_set,
            **registry.USUAL_PROTOCOL
            | {"distilled": bool(_DISTILLED.search(self.name)), "pretraining": self.pretraining},
        )

    @property
    def pretraining(self) -> str:
        """Data beyond the data set's own that the weights have seen, by their name; "" for none."""
        name = self.name.lower()
        return next((data for word, data in PRETRAINING.items() if word in name), "")


@functools.cache
def rows() -> Mapping[str, Weights]:
    """Returns all rows of the table by their names."""
    with FILE.open(newline="") as file:
        return {line["name"]: _row(line) for line in csv.DictReader(file)}


def _row(line: dict[str, str]) -> Weights:
    def number(key: str) -> float | None:
        return float(line[key]) if line[key] else None

    values: dict[str, Any] = {
        **line,
        **{key: int(line[key]) for key in ("image_size", "classes")},
        **{key: number(key) for key in ("top1", "top5")},
        **{key: tuple(map(float, line[key].split())) for key in ("mean", "std")},
        "resize": int(line["resize"]) if line["resize"] else None,
        "overrides": json.loads(line["overrides"] or "{}"),
    }
    return Weights(**values)


def list_weights(pattern: str = "*") -> list[str]:
    """Returns the sorted names of published weights for `zoo.load`.

    Args:
      pattern: A shell wildcard for the name, with or without its kind, or for the name of the
        model: "torchvision/*", "resnet50*", "vit_s_16".
    """

    def matches(row: Weights) -> bool:
        names = (row.name, row.name.partition("/")[2], row.model)
        return any(fnmatch.fnmatchcase(name, pattern) for name in names)

    return sorted(name for name, row in rows().items() if matches(row))


def lookup(name: str) -> Weights:
    """Returns the row called `name`.

    Raises:
      ValueError: There is none; the message has the closest names.
    """
    if name not in rows():
        hint = f" The closest names are {', '.join(close)}." if (close := closest(name)) else ""
        raise ValueError(
            f"There are no weights {name!r}.{hint} zoo.list_weights() gives all names."
        )
    return rows()[name]


def closest(name: str) -> list[str]:
    """Returns up to four names that are closest to one with or without its kind, one of each first.

    The name may also be that of a model of the zoo.
    """
    bare = name.rpartition("/")[2]
    architecture = bare.partition(".")[0].partition(":")[0]
    fitting = list_weights(bare) or list_weights(architecture) or list_weights(f"{bare}*")
    if not fitting:
        names = {row.partition("/")[2]: row for row in rows()}
        fitting = [names[close] for close in difflib.get_close_matches(bare, names, n=20)]

    def likeness(row: str) -> float:
        ratio = difflib.SequenceMatcher(None, name, row if "/" in name else row.partition("/")[2])
        return -ratio.ratio()

    ordered = sorted(fitting, key=likeness)
    first = {row.partition("/")[0]: row for row in reversed(ordered)}  # the best of each kind
    return sorted(ordered, key=lambda row: row not in first.values())[:4]


@functools.cache
def timm_names() -> Mapping[str, Mapping[str, int]]:
    """Returns, by the zoo's model, timm's architectures that equal it and their image sizes."""
    known: dict[str, dict[str, int]] = {}
    for row in rows().values():
        if row.name.startswith("timm/"):
            architecture = row.name.removeprefix("timm/").partition(".")[0]
            known.setdefault(row.model, {}).setdefault(architecture, row.image_size)
    for name in registry.list_models():
        origin, _, architecture = registry.info(name).reference.partition(" ")
        if origin == "timm" and architecture.isidentifier():
            known.setdefault(name, {}).setdefault(architecture, registry.info(name).image_size)
    return known
