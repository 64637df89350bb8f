"""Prepares a data set once, in the format of tfds, so that training can read it."""

import contextlib
import difflib
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from input_pipeline.example import DataError


def default_data_dir() -> Path:
    """Returns the folder that tfds uses: $TFDS_DATA_DIR or ~/tensorflow_datasets."""
    return Path(os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets"))


def prepare(
    name: str, data_dir: str | Path | None = None, manual_dir: str | Path | None = None
) -> Path:
    """Prepares a data set unless it is prepared already, and returns its folder.

    Processes that prepare the same data set wait for each other. The folder appears whole or not at
    all, so a process that is killed leaves nothing that would be read.

    Args:
      name: a tfds name, such as "mnist" or "emnist/letters".
      data_dir: folder of tfds's data sets, by default `default_data_dir()`.
      manual_dir: folder of original files, which are then not downloaded.

    Raises:
      DataError: a file that is needed is missing or damaged, or there is no such data set.
    """
    from input_pipeline.prepare import builders

    data_dir = Path(data_dir or default_data_dir()).expanduser()
    if manual_dir is None:
        manual_dir = builders.EMBEDDED.get(
            name.partition(":")[0], data_dir / "downloads" / "manual"
        )
    elif not Path(manual_dir).expanduser().is_dir():
        raise DataError(
            f"The manual_dir {manual_dir} does not exist. Name the folder that holds the original "
            f"files of {name}."
        )
    manual_dir = Path(manual_dir).expanduser()
    builder = _builder(name, data_dir, manual_dir)
    folder = Path(builder.data_dir)
    try:
        with _lock(data_dir / f".{builder.name}.lock"):
            if not (folder / "dataset_info.json").exists():
                for incomplete in folder.parent.glob(f"*incomplete*{folder.name}"):
                    shutil.rmtree(incomplete)
                _generate(builder, data_dir / "downloads" / builder.name, manual_dir)
    except OSError as error:
        raise DataError(
            f"{name} cannot be prepared in {data_dir}: {error}. Choose a folder that is writable "
            "and has enough space as data_dir, or by the environment variable TFDS_DATA_DIR."
        ) from error
    return folder


def check_name(name: str) -> None:
    """Raises DataError, with similar names, if tfds has no data set of this name."""
    import tensorflow_datasets as tfds

    base = name.split("/")[0].split(":")[0]
    names = tfds.list_builders(with_community_datasets=False)
    if base not in names:
        raise _unknown(name, "there is none of that name", names)


def _unknown(name: str, reason: str, names: list[str]) -> DataError:
    close = difflib.get_close_matches(name.split("/")[0].split(":")[0], names)
    return DataError(
        f"tfds has no data set {name!r} ({reason}). Similar names: {', '.join(close) or 'none'}. "
        "Write NAME, NAME/CONFIG or NAME:VERSION; a folder of images needs no preparation: "
        "folder:PATH."
    )


def _builder(name: str, data_dir: Path, manual_dir: Path):
    import tensorflow_datasets as tfds

    from input_pipeline.prepare import builders

    try:
        return builders.builder(name, data_dir, manual_dir)
    except (ValueError, AssertionError) as error:  # no such name, configuration or version
        names = tfds.list_builders(with_community_datasets=False)
        raise _unknown(name, str(error).splitlines()[0], names) from error


def _generate(builder, download_dir: Path, manual_dir: Path) -> None:
    """Runs the builder.

    Each data set needs a download_dir of its own, because tfds stores extracted files by their base
    names, and those of mnist and fashion_mnist are the same.
    """
    import tensorflow_datasets as tfds

    from input_pipeline.prepare import builders

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
        # tfds and array_record wrap errors of the system and of Python in types of their own.
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
    """Holds an exclusive lock on the file, which the system releases when the process ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
