"""The places outside of the program that a run writes to: its workdir and the compile cache."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import jax

from train.errors import TrainError


def claim_workdir(workdir: str | Path) -> Path:
    """Makes the folder and tries to write into it; returns its absolute path.

    Raises:
      TrainError: that is not possible.
    """
    path = Path(workdir).expanduser().absolute()
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path) as file:
            file.write(bytes(2**16))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise TrainError(
            f"The workdir {path} cannot be written to: {error.strerror or error}. Mend its "
            "permissions or make room, or name another folder with --workdir."
        ) from error
    return path


@contextlib.contextmanager
def disk_errors(workdir: Path) -> Iterator[None]:
    """An OSError inside becomes a TrainError for the person who owns the disk."""
    try:
        yield
    except OSError as error:
        raise TrainError(
            f"The report could not be written to {workdir}: {error}. Checkpoints already there are "
            "whole. Make room or mend the disk, and run the same command again to go on."
        ) from error


def check_room(workdir: Path, shapes) -> None:
    """Raises TrainError unless the disk has room for two checkpoints of a state of these shapes."""
    needed = 2 * sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(shapes))
    free = shutil.disk_usage(workdir).free
    if free < needed:
        raise TrainError(
            f"The disk of {workdir} has {free / 1e6:.0f} MB left, and two checkpoints of this "
            f"model need {needed / 1e6:.0f} MB. Make room, or name another folder with --workdir."
        )


def use_compile_cache(folder: str) -> None:
    """Keeps compiled programs in a folder: "auto" for the user's cache folder, "" for none.

    JAX's own setting (JAX_COMPILATION_CACHE_DIR) comes before "auto".
    """
    if folder == "auto" and jax.config.jax_compilation_cache_dir is None:
        cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        folder = str(Path(cache) / "flax-zoo" / "xla")
    if folder != "auto":
        jax.config.update("jax_compilation_cache_dir", folder or None)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
