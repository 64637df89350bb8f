"""The folders that a run writes to: its workdir and the compile cache."""

import contextlib
import errno
import fcntl
import json
import os
import re
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import jax

from train.console import say
from train.errors import TrainError

OWNER = "owner.json"
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)  # some network file systems have none


def open_workdir(workdir: str | Path) -> Path:
    """Creates the folder, tries to write to it and returns its absolute path.

    Raises:
      TrainError: it cannot be created or written to, or is in a bucket.
    """
    if re.match(r"[a-z0-9+]{2,}:/", str(workdir)):
        raise TrainError(
            f"The workdir {workdir} is no folder of this machine, and runs are written to folders "
            "only. Mount the bucket (gcsfuse, mountpoint-s3), or name a local folder with "
            "--workdir and copy it when the run is over."
        )
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
def claimed(workdir: Path) -> Iterator[None]:
    """Keeps other processes from training in the folder; of several hosts the first one does.

    The claim is a lock on `owner.json`, which names host and process. The system releases it when
    the process ends, however it ends, so the claim of a dead process is taken over.

    Raises:
      TrainError: another process trains there; the message names it.
    """
    if jax.process_index() > 0:
        yield
        return
    path = workdir / OWNER
    with disk_errors(workdir):
        file = _open_and_lock(path)
    with file:
        try:
            with disk_errors(workdir):
                file.truncate(0)
                file.write(json.dumps({"host": socket.gethostname(), "pid": os.getpid()}) + "\n")
                file.flush()
            yield
        finally:
            path.unlink(missing_ok=True)


def _open_and_lock(path: Path) -> IO[str]:
    while True:
        file = path.open("a+")
        try:
            _lock(file, path.parent)
            if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        except BaseException:
            file.close()
            raise
        file.close()  # its owner removed it before we had the lock


def _lock(file: IO[str], workdir: Path) -> None:
    try:
        # Not flock, which children that outlive this process would keep.
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):
            raise _in_use(workdir) from error
        if error.errno not in _NO_LOCKS:
            raise
        say(f"Note: {workdir} cannot be locked. See that no other run uses it.")


def _in_use(workdir: Path) -> TrainError:
    try:
        owner = json.loads((workdir / OWNER).read_text())
        name = f"process {owner['pid']} on {owner['host']}"
    except (OSError, ValueError, KeyError, TypeError):  # it is just being written
        name = "another process"
    return TrainError(
        f"The workdir {workdir} is in use: {name} trains there. Wait for its end, stop it, or name "
        "another folder with --workdir."
    )


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
        folder = str(_user_cache() / "flax-zoo" / "xla")
    if folder != "auto":
        jax.config.update("jax_compilation_cache_dir", folder or None)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def _user_cache() -> Path:
    """The user's cache folder; a temporary one where there is none, as in many containers."""
    named = os.environ.get("XDG_CACHE_HOME")
    try:
        cache = Path(named) if named else Path.home() / ".cache"
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=cache):
            return cache
    except (RuntimeError, OSError) as error:  # RuntimeError: no HOME, and no name for the user
        cache = _own_folder(Path(tempfile.gettempdir()) / f"cache-{os.getuid()}")
        say(f"Note: compiled programs are kept in {cache}: the user has no cache folder ({error}).")
        return cache


def _own_folder(path: Path) -> Path:
    """Creates a folder that nobody else can write to: programs that are found there are run."""
    with contextlib.suppress(OSError):
        path.mkdir(mode=0o700, exist_ok=True)
    if path.is_symlink() or not path.is_dir() or path.stat().st_uid != os.getuid():
        return Path(tempfile.mkdtemp(prefix="cache-"))  # somebody was there first
    path.chmod(0o700)
    return path
