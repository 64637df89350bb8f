"""Data sets by name."""

from pathlib import Path
from typing import Literal

from input_pipeline.example import DataError, Source
from input_pipeline.folder import open_folder, splits
from input_pipeline.synthetic import open_synthetic

# Small enough to be prepared when they are first opened.
_PREPARED_ON_FIRST_USE = ("mnist", "fashion_mnist", "kmnist", "cifar10", "cifar100")
_EVALUATION_SPLITS = ("validation", "val", "test")


def open(
    name: str,
    split: str,
    data_dir: str | Path | None = None,
    manual_dir: str | Path | None = None,
    on_unreadable: Literal["stop", "skip"] = "stop",
) -> Source:
    """Opens one split of a data set for random access.

    Args:
      name: "mnist" (embedded), "fashion_mnist", "kmnist", "cifar10", "cifar100", "imagenet2012" or
        any other image-classification data set of tfds ("NAME", "NAME/CONFIG", "NAME:VERSION");
        "folder:PATH", a folder of images; "synthetic" or "synthetic:classes=1000,...".
      split: "train", "test", "validation", ... For tfds's also parts: "train[:10%]".
      data_dir: where tfds keeps data, by default $TFDS_DATA_DIR or ~/tensorflow_datasets.
      manual_dir: a folder of original files, from which the data set is prepared if need be.
      on_unreadable: what the loaders do about an unreadable image: "stop", or "skip" and count.

    Raises:
      DataError: the data set or the split is not there; the message says what to do.
    """
    kind, _, rest = name.partition(":")
    if kind == "synthetic":
        return open_synthetic(rest, split, on_unreadable)
    if kind == "folder":
        return open_folder(Path(rest).expanduser(), split, on_unreadable)
    from input_pipeline import tfds_source

    folder = _prepared(name, data_dir, manual_dir)
    return tfds_source.open_prepared(name, folder, split, on_unreadable)


def eval_split(name: str, data_dir: str | Path | None = None) -> str:
    """The split on which a data set is evaluated: validation where there is one, else test."""
    kind, _, rest = name.partition(":")
    if kind == "synthetic" or kind in _PREPARED_ON_FIRST_USE:
        return "test"
    if kind == "imagenet2012":
        return "validation"
    if kind == "folder":
        names = splits(Path(rest).expanduser())
    else:
        from input_pipeline import tfds_source

        names = tfds_source.split_names(_prepared(name, data_dir, None))
    found = [split for split in _EVALUATION_SPLITS if split in names]
    if not found:
        raise DataError(
            f"{name} has no split named {', '.join(_EVALUATION_SPLITS)} to evaluate on; it has: "
            f"{', '.join(names) or 'none'}. Name one yourself, for instance train[90%:]."
        )
    return found[0]


def _prepared(name: str, data_dir: str | Path | None, manual_dir: str | Path | None) -> Path:
    from input_pipeline import tfds_source
    from input_pipeline.prepare import default_data_dir, prepare

    data_dir = Path(data_dir or default_data_dir()).expanduser()
    folder = tfds_source.find(name, data_dir)
    if folder is None and (
        manual_dir is not None or name.partition(":")[0] in _PREPARED_ON_FIRST_USE
    ):
        folder = prepare(name, data_dir, manual_dir)
    if folder is None:
        raise DataError(
            f"The data set {name} is not in {data_dir}. Prepare it once with: "
            f"python -m input_pipeline.prepare {name} --data_dir={data_dir}"
            + (" --manual_dir=FOLDER_OF_THE_TARS" if name.startswith("imagenet2012") else "")
            + ". If it lies elsewhere, name that folder (config.data.dir, or TFDS_DATA_DIR)."
        )
    return folder
