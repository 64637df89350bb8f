"""Writes a model in timm's layout, config.json, model.safetensors and README.md: `zoo.save`."""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flax import traverse_util

from zoo import registry
from zoo.preprocess import Preprocessing
from zoo.weights import fit, pretrained, table
from zoo.weights.convert import to_torch
from zoo.weights.files import write_bytes
from zoo.weights.fit import changed_attributes
from zoo.weights.pretrained import PretrainedModel
from zoo.weights.read_folder import FIGURES

# Attributes of models that change neither weights nor logits of an evaluation.
_OF_PROGRAM = {"dtype", "dropout", "drop_path", "drop_block", "drop_block_size", "scan", "remat"}


def save(
    folder: str | Path,
    model: str | PretrainedModel,
    variables: Mapping[str, Any] | None = None,
    *,
    info: registry.Info | None = None,
    class_names: Sequence[str] = (),
    **overrides,
) -> None:
    """Writes a model into a folder in timm's layout: config.json, model.safetensors, README.md.

    timm reads it as "local-dir:FOLDER", and from the hub as "hf-hub:owner/name"; so does
    `zoo.load`, bit for bit. A model that timm has not is written under the zoo's own names, which
    only `zoo.load` reads; config.json and the card say so.

        zoo.save("flowers", "resnet50", variables, class_names=["daisy", "rose"], num_classes=2)
        zoo.save("digits", zoo.load("runs/lenet"))

    Args:
      folder: Path of the folder, which is made. What it has of these three files is replaced.
      model: Name of a registered model, or what `zoo.load` returned.
      variables: Variables of the model; by default those that were loaded.
      info: What is known about the weights: preprocessing, licence, accuracy. By default that of
        the model.
      class_names: One name per class, in the order of the logits; by default those of `info`.
      **overrides: Attributes with which the model was created, if `model` is a name.

    Raises:
      ValueError: The variables are not those of the model for images of `info.image_size`, there is
        another number of names than of classes, or an override cannot be written.
      OSError: The files cannot be written.
    """
    if isinstance(model, PretrainedModel):
        if overrides:
            raise TypeError(f"The model is loaded already, so leave out {', '.join(overrides)}.")
        preprocessing = None if info else model.preprocessing
        variables, info = variables or model.variables, info or model.info
        module, model = model.model, model.info.name
    else:
        module, preprocessing = registry.create(model, **overrides), None
    if variables is None:
        raise TypeError("zoo.save needs the variables of the model.")
    overrides = changed_attributes(module, model)
    known = info or dataclasses.replace(registry.info(model), top1=None, top5=None, weights="")
    classes = getattr(module, "num_classes", 0)
    names = list(class_names or known.class_names)
    if len(names) not in (0, classes):
        raise ValueError(f"There are {len(names)} names for {classes} classes.")
    fit.check_variables(model, variables, known.image_size, known.channels, overrides)
    timm = _timm_architecture(module, model, known, overrides)
    if timm:
        sources = registry.lookup(model).family.sources
        tensors = to_torch(
            model, variables, source="timm" if "timm" in sources else None, **overrides
        )
        metadata = {"format": "pt"}
    else:
        tensors = traverse_util.flatten_dict(variables, sep="/")
        metadata = {"format": pretrained.FORMAT + "-variables"}
    if preprocessing is None:
        preprocessing = Preprocessing.from_info(known)
    encoded = pretrained.encode_overrides(overrides)
    config = _config(model, known, preprocessing, classes, names, timm, encoded)
    place = Path(folder).expanduser()
    place.mkdir(parents=True, exist_ok=True)
    pretrained.write_arrays(place / pretrained.FILE_NAME, tensors, metadata)
    write_bytes(place / "config.json", f"{json.dumps(config, indent=2)}\n".encode())
    write_bytes(place / "README.md", _card(model, known, preprocessing.crop, names, timm).encode())


def _config(model, known, preprocessing, classes, names, timm, overrides) -> dict[str, Any]:
    """Returns config.json: what timm reads, and what only the zoo knows as "flax_zoo"."""
    size, crop = known.image_size, preprocessing.crop
    pretrained_cfg = {
        "input_size": [known.channels, size, size],
        "num_classes": classes,
        "mean": list(known.mean),
        "std": list(known.std),
        "interpolation": known.interpolation,
        "crop_pct": 1.0 if crop is None else _crop_pct(size, round(size / crop)),
        "crop_mode": "squash" if crop is None else "center",
        **({"license": known.license} if known.license else {}),
    }
    arguments = {}
    if timm and registry.lookup(model).family.resampling:
        arguments["img_size"] = size
    if timm and known.channels != 3:
        arguments["in_chans"] = known.channels
    ours = {
        "model": model,
        "overrides": overrides,
        "names": "timm" if timm else pretrained.FORMAT,
        "preprocessing": dataclasses.asdict(preprocessing),
    }
    ours |= {key: getattr(known, key) for key in FIGURES}
    ours["protocol"] = {key: getattr(known, key) for key in registry.USUAL_PROTOCOL}
    return {
        "architecture": timm or model,
        "num_classes": classes,
        **({"label_names": names} if names else {}),
        **({"model_args": arguments} if arguments else {}),
        "pretrained_cfg": pretrained_cfg,
        "flax_zoo": ours,
    }


def _timm_architecture(module, model, known, overrides) -> str:
    """Returns what timm calls the model, "" where it has none that equals it."""
    changed = set(overrides) - _OF_PROGRAM - {"num_classes"}
    if model == "inception_v3" and overrides.get("auxiliary") is False:
        changed -= {"auxiliary"}
    if changed or getattr(module, "auxiliary", False):
        return ""
    names = table.timm_names().get(model, {})
    fitting = [name for name, size in names.items() if size == known.image_size]
    return next(iter(fitting or names), "")


def _crop_pct(size: int, resize: int) -> float:
    """Returns the shortest number from which timm, which rounds down, gets `resize` pixels."""
    for digits in range(3, 7):
        if math.floor(size / round(size / resize, digits)) == resize:
            return round(size / resize, digits)
    return size / (resize + 0.5)


def _card(
    model: str, known: registry.Info, crop: float | None, names: Sequence[str], timm: str
) -> str:
    """Returns README.md, the card that the hub shows."""
    license = [f"license: {known.license}"] if known.license else []
    library = "timm" if timm else "flax-zoo"
    shown = "resized whole" if crop is None else f"central crop of {crop:.4g}"
    lines = [
        "---",
        f"library_name: {library}",
        "pipeline_tag: image-classification",
        *license,
        "---",
        f"# {model}",
        "",
        f"{known.paper} ({known.year}).",
        "",
        f"- Images: {known.image_size} pixels, {shown}, {known.interpolation}, mean "
        f"{list(known.mean)}, std {list(known.std)}.",
        *([f"- Classes: {', '.join(names)}."] if names else []),
        "",
        "```python",
        "import zoo",
        "",
        'loaded = zoo.load("local-dir:FOLDER")',
        "```",
        "",
        f'In timm: `timm.create_model("local-dir:FOLDER", pretrained=True)`, which is `{timm}`.'
        if timm
        else "timm has no such model: the weights have flax-zoo's own names.",
    ]
    return "\n".join(lines) + "\n"
