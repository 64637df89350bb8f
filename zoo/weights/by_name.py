"""`zoo.load`: a model with weights, by the name of the weights or from a file."""

import dataclasses
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from zoo import labels, registry
from zoo.preprocess import Preprocessing
from zoo.weights import download, hub, own, pretrained, read_folder, table
from zoo.weights.convert import load_torch
from zoo.weights.pretrained import PretrainedModel

_FORMS = (
    '"timm/resnet50.a1_in1k", "torchvision/resnet50:IMAGENET1K_V2", "hf-hub:owner/name@revision", '
    '"local-dir:FOLDER", or a file'
)
_FILES = (".pth", ".pt", ".th", ".tar", ".bin", ".ckpt", ".npz", ".safetensors", ".json")


def load(
    source: str | os.PathLike,
    *,
    model: str | None = None,
    image_size: int | None = None,
    ema: bool | None = None,
    **overrides,
) -> PretrainedModel:
    """Loads a model with its weights, ready to use.

        loaded = zoo.load("timm/resnet50.a1_in1k")
        logits = loaded.model.apply(loaded.variables, images)

    Weights of others are downloaded once, checked, and kept; see docs/weights.md.

    Args:
      source: What to load, one of

        - "timm/resnet50.a1_in1k", "torchvision/resnet50:IMAGENET1K_V2" or
          "authors/pvt_tiny.whai362_in1k": published weights, which `zoo.list_weights` lists;
        - "zoo/lenet5.mnist": small weights that are in the package;
        - "hf-hub:owner/name" or "hf-hub:owner/name@revision": timm's layout on the hub;
        - "local-dir:FOLDER": the same layout in a folder, as `zoo.save` and timm write it;
        - the path of a run of `python -m train`, or of the model.safetensors in it;
        - the path of another file of weights; `model` says what it is for.

        A path that begins like a name is told apart by "./".
      model: Name of the model that a file of weights is for, see `zoo.list_models`.
      image_size: Side in pixels of the images that the model is for; by default that of the
        weights. Position embeddings are resampled to it.
      ema: Whether to take the moving average, where a checkpoint has both, see `zoo.load_torch`.
      **overrides: Attributes of the model, as for `zoo.create`: `num_classes=0` leaves the
        classifier out, `dtype="bfloat16"` computes in bfloat16.

    Returns:
      The model and its variables. Its `info` is that of these weights: their preprocessing, names
      of classes, licence and published accuracy.

    Raises:
      ValueError: There are no such weights (the message has the closest names), or they are
        damaged or do not fit the model; the message says what is wrong.
      FileNotFoundError: There is no such file.
      zoo.weights.download.DownloadError: The weights cannot be had; the message says what to fetch,
        from where, and where to put it. It is an OSError.

    Example:
      >>> trained = zoo.load("runs/lenet")
      >>> image = trained.preprocessing("digit.png")
      >>> logits = trained.model.apply(trained.variables, image[None])
      >>> trained.class_names[logits[0].argmax()]
      '7'
    """
    options = read_folder.Options(image_size, ema, overrides)
    name = source if isinstance(source, str) else ""
    kind, _, rest = name.partition(":")
    if kind in ("hf-hub", "local-dir"):
        place = _of_hub(rest, model) if kind == "hf-hub" else _of_folder(rest, model)
        if model:
            return _from_file(place[1], model, name, options)
        return _named(read_folder.load(*place, name, options))
    kind = name.partition("/")[0] if "/" in name else ""
    if model and kind in (*table.KINDS, "zoo"):
        raise TypeError(f"{name!r} is a name, which says the model: leave out model={model!r}.")
    if kind in table.KINDS:
        return _published(table.lookup(name), options)
    in_package = kind == "zoo"
    path = own.path(name.removeprefix("zoo/")) if in_package else Path(source).expanduser()
    if not path.exists():
        raise _unknown(name, path, model)
    if model:
        return _from_file(path, model, os.fspath(source), options)
    loaded = pretrained.load(path, options.image_size, **overrides)
    if in_package:
        ours = dict(weights=name, accuracy_source="flax-zoo, zoo/weights/own/README.md")
        loaded = dataclasses.replace(loaded, info=dataclasses.replace(loaded.info, **ours))
    return _named(loaded)


def _published(row: table.Weights, options: read_folder.Options) -> PretrainedModel:
    """Returns the model of a row of the table."""
    if row.address.startswith("hf-hub:"):
        file = hub.fetch_weights(row.address.removeprefix("hf-hub:"))
    else:
        file = download.fetch(row.address, row.digest)
    overrides = {"num_classes": row.classes} | dict(row.overrides) | dict(options.overrides)
    return _named(_read(file, row.model, row.info, options, overrides))


def _from_file(path: Path, model: str, name: str, options: read_folder.Options) -> PretrainedModel:
    """Returns the model called `model` with the weights of a file."""
    info = dataclasses.replace(
        registry.info(model),
        **registry.USUAL_PROTOCOL,
        weights=name,
        top1=None,
        top5=None,
        accuracy_source="",
    )
    for row in table.rows().values():  # a published file by its name and digits
        if row.model == model and row.digest and row.address.endswith(f"/{path.name}"):
            with path.open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest().startswith(row.digest):
                    info = row.info
    return _named(_read(path, model, info, options, dict(options.overrides)))


def _read(
    file: Path, model: str, info: registry.Info, options: read_folder.Options, overrides: Mapping
) -> PretrainedModel:
    """Returns the model with the weights in a file under the names of a reference."""
    size = options.image_size or info.image_size
    variables = load_torch(model, file, image_size=size, ema=options.ema, **overrides)
    module = registry.create(model, **overrides)
    info = read_folder.with_options(info, module, options)
    return PretrainedModel(module, variables, info, Preprocessing.from_info(info))


def _named(loaded: PretrainedModel) -> PretrainedModel:
    """Returns the model with the names of its classes, where their set is known."""
    info = loaded.info
    if not info.class_names and info.label_set:
        names = labels.names(info.label_set)
        if len(names) == info.num_classes:
            info = dataclasses.replace(info, class_names=names)
    return dataclasses.replace(loaded, info=info, class_names=info.class_names)


def _of_hub(rest: str, model: str | None) -> tuple[Path, Path]:
    """Returns the configuration and the weights of a repository; the former may be missing."""
    repository, _, revision = rest.partition("@")
    config = None if model else hub.fetch(repository, "config.json", revision or None)
    if not config and not model:
        raise ValueError(
            f"hf-hub:{rest} has no config.json, which says what model it is: "
            f"zoo.load('hf-hub:{rest}', model=...)."
        )
    weights = hub.fetch_weights(repository, revision or None)
    return config or weights.parent / "config.json", weights


def _of_folder(rest: str, model: str | None) -> tuple[Path, Path]:
    """Returns the configuration and the weights in a folder; the former may be missing."""
    place = Path(rest).expanduser()
    weights = next((place / name for name in hub.WEIGHTS if (place / name).is_file()), None)
    for name, found in (
        ("config.json", model or (place / "config.json").is_file()),
        (" or ".join(hub.WEIGHTS), weights),
    ):
        if not found:
            raise FileNotFoundError(f"There is no {name} in {place}, which timm's layout has.")
    assert weights
    return place / "config.json", weights


def _unknown(name: str, path: Path, model: str | None) -> Exception:
    """Returns the error for what is neither a name nor a path."""
    is_file = model or not name or "/" in name or name.lower().endswith(_FILES)
    if not is_file:
        close = table.closest(name)
        hint = f" The closest names are {', '.join(close)}." if close else ""
        return ValueError(f"{name!r} has no kind. A name is {_FORMS}.{hint}")
    missing = path if path.suffix or model else path / pretrained.FILE_NAME
    advice = f"A name of weights is {_FORMS}; a file is one, or the folder of a run."
    if name.count("/") == 1 and not path.suffix:
        advice = f"On the hub it would be 'hf-hub:{name}'. {advice}"
    return FileNotFoundError(f"There is no file {missing}. {advice}")
