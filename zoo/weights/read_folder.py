"""Reads timm's layout of a model in a folder or on the hub: config.json and model.safetensors."""

import contextlib
import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flax import linen as nn

from zoo import registry
from zoo.preprocess import Preprocessing
from zoo.weights import fit, pretrained, shards, table, torch_file
from zoo.weights.convert import load_torch
from zoo.weights.pretrained import PretrainedModel

_MAX_BYTES = 2**24  # of config.json
_MAX_SIZE = 2048  # of images in pixels
_MAX_CLASSES = 10**6
# Fields of config.json that only the zoo knows, beside model, attributes and preprocessing.
FIGURES = ("top1", "top5", "accuracy_source", "label_set", "license")


@dataclasses.dataclass(frozen=True)
class Options:
    """What `zoo.load` is asked for beside the weights."""

    image_size: int | None = None
    ema: bool | None = None
    overrides: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def with_options(info: registry.Info, module: nn.Module, options: Options) -> registry.Info:
    """Returns what is known about weights, for the module and image size that were asked for."""
    size = options.image_size or info.image_size
    classes = getattr(module, "num_classes", None)
    if info.num_classes not in (None, classes):
        info = dataclasses.replace(info, label_set="", class_names=())
    return dataclasses.replace(info, image_size=size, num_classes=classes)


def load(config: Path, weights: Path, name: str, options: Options) -> PretrainedModel:
    """Returns the model that a config.json describes, with the weights of a file.

    Args:
      config: Path of config.json.
      weights: Path of the weights, or of their index.
      name: What `info.weights` is.
      options: What `zoo.load` was asked for.

    Raises:
      ValueError: config.json is damaged, its architecture is none of the zoo's, or the weights do
        not fit it.
    """
    with config.open("rb") as file:
        content = file.read(_MAX_BYTES + 1)
    try:
        if len(content) > _MAX_BYTES:
            raise ValueError(f"it is larger than {_MAX_BYTES >> 20} MiB")
        values = shards.strict_json(content)
        ours = values.get("flax_zoo")
        info, overrides, preprocessing = _of_ours(values, ours) if ours else _of_timm(values)
        info = dataclasses.replace(info, weights=name)
        if not all(isinstance(number, int | float) for number in (*info.mean, *info.std)):
            raise ValueError("its mean and std are no numbers")
        if not 0 < info.image_size <= _MAX_SIZE:
            raise ValueError(f"its images have {info.image_size} pixels")
        if type(info.num_classes) is not int or not 0 <= info.num_classes <= _MAX_CLASSES:
            raise ValueError(f"it has {info.num_classes!r} classes")
        own = bool(ours) and {"timm": False, pretrained.FORMAT: True}[ours["names"]]
    except Exception as error:  # what a stranger wrote may be of any type
        reason = f"it has no {error}" if isinstance(error, KeyError) else error
        raise ValueError(f"{config} does not describe a model: {reason}.") from error
    size, changes = options.image_size or info.image_size, options.overrides
    arrays = torch_file.read(weights)
    try:
        if own:
            fitted = fit.fit(info.name, arrays, size, info.channels, overrides, changes)
            model, variables = fitted
        else:
            overrides = {**overrides, **changes}
            with fit.bounded(overrides, arrays) if ours else contextlib.nullcontext():
                model = registry.create(info.name, **overrides)
                variables = load_torch(
                    info.name, arrays, image_size=size, ema=options.ema, **overrides
                )
    except Exception as error:  # a forged file can make a model raise any kind
        raise ValueError(f"{weights} does not fit its {config.name}: {error}") from error
    info = with_options(info, model, options)
    preprocessing = dataclasses.replace(preprocessing, image_size=size)
    return PretrainedModel(model, variables, info, preprocessing, info.class_names)


def _of_ours(values: Mapping, ours: Mapping) -> tuple[registry.Info, dict, Preprocessing]:
    """Returns what `save` wrote."""
    preprocessing = Preprocessing(**pretrained.to_tuples(ours["preprocessing"]))
    info = dataclasses.replace(
        registry.info(ours["model"]),
        **{key: getattr(preprocessing, key) for key in pretrained.PREPROCESSING},
        **{key: ours[key] for key in FIGURES},
        **_protocol(ours.get("protocol", {})),
        class_names=_class_names(values),
        num_classes=values["num_classes"],
    )
    return info, pretrained.to_tuples(ours["overrides"]), preprocessing


def _protocol(values: Mapping) -> dict[str, Any]:
    """Returns how the accuracy was measured; folders of before it was written have the usual."""
    kinds = {"crops": int, "accuracy_size": int | None, "distilled": bool, "pretraining": str}
    protocol = {**registry.USUAL_PROTOCOL, **values}
    if protocol.keys() != kinds.keys() or not all(
        isinstance(value, kinds[key]) for key, value in protocol.items()
    ):
        raise ValueError(f"its accuracy was measured in a way that is not known: {dict(values)}")
    return protocol


def _of_timm(values: Mapping) -> tuple[registry.Info, dict, Preprocessing]:
    """Returns what timm wrote."""
    config = values.get("pretrained_cfg", values)
    architecture, arguments = values["architecture"], dict(values.get("model_args") or {})
    models = [model for model, names in table.timm_names().items() if architecture in names]
    if not models:
        raise ValueError(f"its architecture {architecture!r} is none of the zoo's that timm has")
    if (pool := values.get("global_pool")) not in (None, "", "avg", "token"):
        raise ValueError(f"its pooling {pool!r} before the classifier is not the zoo's")
    channels, height, width = config["input_size"]
    size = arguments.pop("img_size", height)
    if height != width or not isinstance(size, int) or arguments:
        raise ValueError(f"model_args {arguments} and images {width}x{height} are not known here")
    mode = config.get("crop_mode", "center")
    if mode not in ("center", "squash"):
        raise ValueError(f"the crop mode {mode!r} is not known here")
    resize = math.floor(size / config.get("crop_pct", 0.875))
    if mode == "squash" and resize != size:
        raise ValueError("images are squashed and then cropped, which is not known here")
    classes = values.get("num_classes", config.get("num_classes"))
    info = dataclasses.replace(
        registry.info(models[0]),
        image_size=size,
        channels=channels,
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        channel_order="RGB",
        interpolation=config["interpolation"],
        crop=None if mode == "squash" else size / resize,
        padding=0,
        top1=None,
        top5=None,
        accuracy_source="",
        **registry.USUAL_PROTOCOL,
        license=str(config.get("license") or ""),
        class_names=_class_names(values),
        num_classes=classes,
    )
    return info, {"num_classes": classes}, Preprocessing.from_info(info)


def _class_names(values: Mapping) -> tuple[str, ...]:
    config = values.get("pretrained_cfg", {})
    names = values.get("label_names") or config.get("label_names") or ()
    if not isinstance(names, Sequence) or not all(isinstance(name, str) for name in names):
        raise ValueError("its label_names are not a list of text")
    if len(names) not in (0, values.get("num_classes", config.get("num_classes"))):
        raise ValueError(f"it has {len(names)} label_names, and another number of classes")
    return tuple(names)
