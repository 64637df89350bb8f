"""The folders that a run writes to: its workdir and the compile cache."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax

from train.errors import TrainError


def claim_workdir(workdir: str | Path) -> Path:
    """Creates the folder, tries to write to it and returns its absolute path.

    Raises:
      TrainError: it cannot be created or written to.
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
            f"The workdir {path} cannot be written to: {error.strerror or error}. Fix its "
            "permissions, free some disk space, or name another folder with --workdir."
        ) from error
    return path


@contextlib.contextmanager
def disk_errors(workdir: Path) -> Iterator[None]:
    """Turns an OSError inside into a TrainError that says what to do."""
    try:
        yield
    except OSError as error:
        raise TrainError(
            f"A file of the run could not be written to {workdir}: {error}. The checkpoints there "
            "are intact. Free some space or fix the disk; to resume, run the same command again."
        ) from error


def write_atomically(path: Path, text: str) -> None:
    """Writes a file that other processes see either whole or not at all, even after a crash."""
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def check_disk_space(workdir: Path, shapes: Any) -> None:
    """Raises TrainError unless two checkpoints of a state of these shapes fit on the disk."""
    needed = 2 * sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(shapes))
    free = shutil.disk_usage(workdir).free
    if free < needed:
        raise TrainError(
            f"The disk of {workdir} has {free / 1e6:.0f} MB left, and two checkpoints of this "
            f"model need {needed / 1e6:.0f} MB. Free some space, or name another folder with "
            "--workdir."
        )


def use_compile_cache(folder: str) -> None:
    """Sets JAX's persistent compilation cache.

    Args:
      folder: "auto" for the user's cache folder, "" for no cache. JAX's own setting
        (JAX_COMPILATION_CACHE_DIR) takes precedence over "auto".
    """
    jaxs_own = jax.config.jax_compilation_cache_dir  # pyright: ignore[reportAttributeAccessIssue] (JAX makes it at run time)
    if folder == "auto" and jaxs_own is None:
        cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        folder = str(Path(cache) / "flax-zoo" / "xla")
    if folder != "auto":
        jax.config.update("jax_compilation_cache_dir", folder or None)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
