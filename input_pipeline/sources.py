"""Data sets by name."""

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from input_pipeline import arrays, own
from input_pipeline.example import MAX_PIXELS, DataError, OnUnreadable, Source
from input_pipeline.folder import HELD_OUT, ClassOrder, open_folder, splits
from input_pipeline.parts import join
from input_pipeline.synthetic import open_synthetic

# Small enough to be prepared when they are first opened.
_PREPARED_ON_FIRST_USE = ("mnist", "fashion_mnist", "kmnist", "cifar10", "cifar100")
_EVALUATION_SPLITS = ("validation", "val", "test")


def open(
    name: str | Callable[[str], Any],
    split: str,
    data_dir: str | Path | None = None,
    manual_dir: str | Path | None = None,
    on_unreadable: OnUnreadable = "stop",
    *,
    max_pixels: int = MAX_PIXELS,
    class_order: ClassOrder = "sorted",
    exif_orientation: bool = False,
    held_out: float = HELD_OUT,
    split_seed: int = 0,
) -> Source:
    """Opens one split of a data set for random access.

    Args:
      name: "mnist" (embedded), "fashion_mnist", "kmnist", "cifar10", "cifar100", "imagenet2012" or
        any other image-classification data set of tfds ("NAME", "NAME/CONFIG", "NAME:VERSION");
        "folder:PATH", a folder of images; "npz:PATH", arrays x_train, y_train, x_test, y_test in a
        file; "synthetic" or "synthetic:classes=1000,..."; a data set of one's own: the name with
        which it was registered, or the function itself, see `register`.
      split: "train", "test", "validation", ..., or a part of one: "train[:10%]". Of a folder it is
        taken of each class. Several are joined by "+": "train[:800]+validation[:200]".
      data_dir: folder of tfds's data sets, by default $TFDS_DATA_DIR or ~/tensorflow_datasets.
      manual_dir: folder of original files, from which the data set is prepared if necessary.
      on_unreadable: what the loaders do if an image cannot be read: "stop", or "skip" and count.
      max_pixels: an image of more pixels is unreadable: it is refused before it is decoded.
      class_order: order of the classes of a folder: "sorted" as strings, as in torchvision
        (1, 10, 2), or "natural" (1, 2, 10).
      exif_orientation: whether images of a folder are turned as their EXIF tags say. PyTorch's
        ImageFolder, with which published weights were trained, does not turn them.
      held_out: share of each class, in (0, 1), that a folder of classes without splits keeps for
        evaluation: its splits are "train" and "held_out".
      split_seed: which images these are.

    Raises:
      DataError: there is no such data set or split; the message says what to do.

    Example:
      >>> len(input_pipeline.open("mnist", "train[:10%]"))
      6000
    """
    if "+" in split:
        part = functools.partial(
            open,
            name,
            data_dir=data_dir,
            manual_dir=manual_dir,
            on_unreadable=on_unreadable,
            max_pixels=max_pixels,
            class_order=class_order,
            exif_orientation=exif_orientation,
            held_out=held_out,
            split_seed=split_seed,
        )
        return join([part(split=each) for each in split.split("+")])
    if make := _own(name):
        return own.open_own(
            make,
            name_of(name),
            split,
            on_unreadable,
            max_pixels=max_pixels,
            exif_orientation=exif_orientation,
        )
    assert isinstance(name, str)  # what is no function
    kind, _, rest = name.partition(":")
    if kind == "synthetic":
        return open_synthetic(rest, split, on_unreadable)
    if kind == "npz":
        return arrays.open_npz(Path(os.path.expanduser(rest)), split, on_unreadable)
    if kind == "folder":
        root = Path(os.path.expanduser(rest))
        return open_folder(
            root,
            split,
            on_unreadable,
            class_order=class_order,
            max_pixels=max_pixels,
            exif_orientation=exif_orientation,
            held_out=held_out,
            split_seed=split_seed,
        )
    from input_pipeline import tfds_source

    folder = _prepared(name, data_dir, manual_dir)
    return tfds_source.open_prepared(name, folder, split, on_unreadable, max_pixels)


def name_of(name: str | Callable[[str], Any]) -> str:
    """Returns the name of a data set that is opened by its name or its function."""
    return name if isinstance(name, str) else getattr(name, "__name__", type(name).__name__)


def _own(name: str | Callable[[str], Any]) -> Callable[[str], Any] | None:
    return own.registered(name) if isinstance(name, str) else name


def eval_split(name: str | Callable[[str], Any], data_dir: str | Path | None = None) -> str:
    """Returns the name of the evaluation split: validation if the data set has it, else test.

    Of a data set of one's own it is "test".

    Raises:
      DataError: the data set has neither, or is not prepared.
    """
    if _own(name):
        return "test"
    assert isinstance(name, str)
    kind, _, rest = name.partition(":")
    if kind == "synthetic" or kind in _PREPARED_ON_FIRST_USE:
        return "test"
    if kind == "imagenet2012":
        return "validation"
    if kind == "npz":
        names = arrays.split_names(Path(os.path.expanduser(rest)))
    elif kind == "folder":
        names = splits(Path(os.path.expanduser(rest)))
        if "held_out" in names:
            return "held_out"
    else:
        from input_pipeline import tfds_source

        names = tfds_source.split_names(_prepared(name, data_dir, None))
    found = [split for split in _EVALUATION_SPLITS if split in names]
    if not found:
        raise DataError(
            f"{name} has none of the evaluation splits {', '.join(_EVALUATION_SPLITS)}; it has: "
            f"{', '.join(names) or 'none'}. Name the split to evaluate on, such as train[90%:], "
            "and train on the rest, train[:90%]."
        )
    return found[0]


def _prepared(name: str, data_dir: str | Path | None, manual_dir: str | Path | None) -> Path:
    from input_pipeline import tfds_source
    from input_pipeline.prepare import check_name, default_data_dir, prepare

    data_dir = Path(data_dir or default_data_dir()).expanduser()
    folder = tfds_source.find(name, data_dir)
    if folder is None and (
        manual_dir is not None or name.partition(":")[0] in _PREPARED_ON_FIRST_USE
    ):
        folder = prepare(name, data_dir, manual_dir)
    if folder is None:
        check_name(name)
        raise DataError(
            f"The data set {name} is not in {data_dir}. Prepare it once with: "
            f"python -m input_pipeline.prepare {name} --data_dir={data_dir}"
            + (" --manual_dir=FOLDER_OF_THE_TARS" if name.startswith("imagenet2012") else "")
            + ". If it is in another folder, name that as data_dir or in TFDS_DATA_DIR."
        )
    return folder
