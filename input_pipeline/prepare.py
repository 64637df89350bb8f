"""Prepares a data set once, in tfds's own format, so that training can read it.

    python -m input_pipeline.prepare NAME [--manual_dir=DIR] [--data_dir=DIR]

mnist is embedded and needs no download. fashion_mnist, kmnist, cifar10 and cifar100 are made from
the files that tfds downloads, or from the same files in --manual_dir. imagenet2012 is made from
ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar in --manual_dir. Every other name is prepared
by tfds; where its builder needs TensorFlow, `pip install 'flax-zoo[tensorflow]'`.
"""

import argparse
import contextlib
import difflib
import fcntl
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from input_pipeline.example import DataError


def default_data_dir() -> Path:
    """tfds's own: $TFDS_DATA_DIR or ~/tensorflow_datasets."""
    return Path(os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets"))


def prepare(
    name: str, data_dir: str | Path | None = None, manual_dir: str | Path | None = None
) -> Path:
    """Prepares the data set if it is not there and returns its folder.

    Processes that prepare the same data set wait for one another. The folder appears whole or not
    at all, so a process that is killed leaves nothing that would be read.

    Args:
      name: a tfds name, such as "mnist" or "emnist/letters".
      data_dir: where data sets are kept, by default `default_data_dir()`.
      manual_dir: folder of original files, which are then not downloaded.

    Raises:
      DataError: something needed is missing or broken.
    """
    from input_pipeline import builders

    data_dir = Path(data_dir or default_data_dir()).expanduser()
    if manual_dir is None:
        manual_dir = builders.EMBEDDED.get(
            name.partition(":")[0], data_dir / "downloads" / "manual"
        )
    elif not Path(manual_dir).expanduser().is_dir():
        raise DataError(
            f"The folder {manual_dir} given as manual_dir does not exist. Name the folder that "
            f"holds the original files of {name}."
        )
    manual_dir = Path(manual_dir).expanduser()
    builder = _builder(name, data_dir, manual_dir)
    folder = Path(builder.data_dir)
    try:
        with _lock(data_dir / f".{builder.name}.lock"):
            if not (folder / "dataset_info.json").exists():
                for left_over in folder.parent.glob(f"*incomplete*{folder.name}"):
                    shutil.rmtree(left_over)
                _generate(builder, data_dir / "downloads" / builder.name, manual_dir)
    except OSError as error:
        raise DataError(
            f"{name} cannot be prepared in {data_dir}: {error}. Choose a folder that can be "
            "written and has room with --data_dir or the environment variable TFDS_DATA_DIR."
        ) from error
    return folder


def _builder(name: str, data_dir: Path, manual_dir: Path):
    import tensorflow_datasets as tfds

    from input_pipeline import builders

    try:
        return builders.builder(name, data_dir, manual_dir)
    except (ValueError, AssertionError) as error:  # no such name, configuration or version
        names = tfds.list_builders(with_community_datasets=False)
        close = difflib.get_close_matches(name.split("/")[0].split(":")[0], names)
        raise DataError(
            f"tfds has no data set {name!r} ({str(error).splitlines()[0]}). Similar names: "
            f"{', '.join(close) or 'none'}. Write NAME, NAME/CONFIG or NAME:VERSION; a folder of "
            "images needs no preparation: folder:PATH."
        ) from error


def _generate(builder, download_dir: Path, manual_dir: Path) -> None:
    """tfds's preparation.

    download_dir is the data set's own: tfds keeps extracted files by their base name, and mnist
    and fashion_mnist share theirs.
    """
    import tensorflow_datasets as tfds

    from input_pipeline import builders

    if not (hasattr(builder, "originals_dir") or any(manual_dir.glob("*"))):
        builders.require_network(builder)
    try:
        builder.download_and_prepare(
            download_dir=download_dir,
            download_config=tfds.download.DownloadConfig(
                manual_dir=manual_dir, try_download_gcs=False
            ),
            file_format="array_record",
        )
    except Exception as error:
        # tfds and array_record wrap the system's and Python's errors in types of their own.
        if "No space left on device" in str(error):
            raise OSError(str(error).splitlines()[0]) from error
        if "No module named" not in str(error):
            raise
        raise DataError(
            f"tfds's builder of {builder.name} needs a package that is not installed ({error}). "
            "Most need TensorFlow, once, for the preparation: pip install 'flax-zoo[tensorflow]', "
            "then run the command again."
        ) from error


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Holds an exclusive lock on the file; the system lifts it when the process ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m input_pipeline.prepare",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", help="a tfds name: mnist, cifar10, imagenet2012, ...")
    parser.add_argument("--manual_dir", help="folder of original files")
    parser.add_argument("--data_dir", help="where data sets are kept")
    arguments = parser.parse_args()
    try:
        folder = prepare(arguments.name, arguments.data_dir, arguments.manual_dir)
    except DataError as error:
        sys.exit(f"error: {error}")
    print(f"{arguments.name} is ready in {folder}")


if __name__ == "__main__":
    main()
