"""Checkpoints that can be trusted: written by orbax in the background, verified when read.

    checkpoints/1200/            orbax's files for step 1200, in place only when complete
    checkpoints/1200/files.json  size and sha256 of each, and the state's tree, written after them
    checkpoints/damaged/         checkpoints that failed verification; nothing is deleted

A checkpoint without files.json was not completed.
"""

import hashlib
import json
import sys
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from train.errors import TrainError
from train.workspace import write_atomically

MANIFEST = "files.json"
DAMAGED = "damaged"


class Checkpoints:
    """Context manager for the checkpoints in one folder.

    Args:
      directory: the folder; created if it does not exist.
      keep: number of the newest checkpoints that are kept, at least 2.

    Attributes:
      latest: step of the newest checkpoint that is complete or being written, or None.
    """

    def __init__(self, directory: Path, keep: int):
        import orbax.checkpoint as ocp  # here, because it takes a second

        self._ocp, self._directory = ocp, directory
        directory.mkdir(parents=True, exist_ok=True)
        self._manager = ocp.CheckpointManager(
            directory,
            options=ocp.CheckpointManagerOptions(
                max_to_keep=max(2, keep), cleanup_tmp_directories=True
            ),
        )
        self._writer = ThreadPoolExecutor(1)
        self._writing: Future | None = None
        self._written: int | None = None
        self._failed = False
        self.latest: int | None = None

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def save(self, step: int, state: Any) -> None:
        """Starts writing the state; a failure is raised here, by the next `save` or by `wait`.

        Args:
          step: number of steps done.
          state: tree of arrays. It may be donated as soon as this returns.

        Raises:
          TrainError: the state is not finite (then nothing is written), or a checkpoint could not
            be written.
        """
        self.wait()
        if step == self.latest:
            return
        if not bool(_all_finite(state)):
            raise TrainError(
                f"The parameters or the optimizer's state are not finite after step {step}, so "
                f"they were not saved. {self.last_good()} Lower schedule.learning_rate, or set "
                "optimizer.clip_norm."
            )
        self._raising_train_errors(
            step,
            lambda: self._manager.save(step, args=self._ocp.args.StandardSave(state), force=True),
        )
        self.latest = step
        self._writing = self._writer.submit(self._finish, step, _leaf_types(state))

    def wait(self) -> None:
        """Waits until the last checkpoint is written.

        Raises:
          TrainError: it could not be written.
        """
        if self._writing:
            writing, self._writing = self._writing, None
            self._raising_train_errors(self.latest, writing.result)

    def close(self) -> None:
        """Waits as `wait` does, and shuts down all threads."""
        self.wait()
        self._writer.shutdown()
        if not self._failed:  # else orbax would raise the same error again
            self._manager.close()

    def restore(self, shapes: Any) -> Any:
        """Returns the newest state that passes verification, or None if there is none.

        Args:
          shapes: the expected state, a tree of jax.ShapeDtypeStruct with shardings.

        Raises:
          TrainError: the checkpoint belongs to another model or optimizer.
        """
        damaged = []
        for step in sorted(self._manager.all_steps(), reverse=True):
            problem = _verify(self._directory / str(step))
            if problem is None:
                self._quarantine(damaged, self._directory / str(step))
                self._check_tree(step, shapes)
                self.latest = self._written = step
                return self._manager.restore(step, args=self._ocp.args.StandardRestore(shapes))
            damaged.append((step, problem))
        self._quarantine(damaged, None)
        return None

    def last_good(self) -> str:
        """Returns a sentence that names the last complete checkpoint."""
        if self._written is None:
            return "There is no checkpoint yet."
        return f"The last good checkpoint is {self._directory / str(self._written)}."

    def _finish(self, step: int, leaf_types: dict[str, str]) -> None:
        """Writes the manifest as soon as orbax has put its files in place."""
        self._manager.wait_until_finished()
        if jax.process_index() == 0:
            folder = self._directory / str(step)
            files = {name: _size_and_digest(folder / name) for name in _files(folder)}
            manifest = {"leaves": leaf_types, "files": files}
            write_atomically(folder / MANIFEST, json.dumps(manifest, indent=1))
        self._written = step

    def _raising_train_errors(self, step: int | None, write: Callable[[], Any]) -> Any:
        try:
            return write()
        except Exception as error:  # orbax and tensorstore raise many kinds for a full disk
            self._failed, self.latest = True, self._written
            reason = str(error).strip().splitlines()
            raise TrainError(
                f"The checkpoint of step {step} could not be written to {self._directory}: "
                f"{reason[0] if reason else type(error).__name__}. {self.last_good()} Free some "
                "space or fix the disk; to resume, run the same command again."
            ) from error

    def _quarantine(self, damaged: list[tuple[int, str]], good: Path | None) -> None:
        """Moves damaged checkpoints to a folder of their own, with a warning that says so."""
        for step, problem in damaged if jax.process_index() == 0 else ():
            bad = self._directory / str(step)
            instead = f"the previous one, {good}, is used" if good else "training starts at step 0"
            target = _unused(self._directory / DAMAGED / str(step))
            print(
                f"Warning: the checkpoint {bad} is damaged ({problem}); {instead}. It was moved to "
                f"{target}.",
                file=sys.stderr,
                flush=True,
            )
            target.parent.mkdir(exist_ok=True)
            bad.rename(target)
        if damaged:
            if jax.process_count() > 1:
                from jax.experimental import multihost_utils

                multihost_utils.sync_global_devices("damaged checkpoints are moved")
            self._manager.reload()

    def _check_tree(self, step: int, shapes: Any) -> None:
        found = json.loads((self._directory / str(step) / MANIFEST).read_text())["leaves"]
        expected = _leaf_types(shapes)
        for path in sorted(found | expected, key=lambda path: (path[:6] != "params", path)):
            if found.get(path) != expected.get(path):
                raise TrainError(
                    f"The checkpoint {self._directory / str(step)} is of another model or "
                    f"optimizer. The first difference is at {path}: the checkpoint has "
                    f"{found.get(path, 'nothing')}, this recipe has "
                    f"{expected.get(path, 'nothing')}. Use the recipe that wrote it, or another "
                    "--workdir."
                )


@jax.jit
def _all_finite(state) -> jax.Array:
    floats = [x for x in jax.tree.leaves(state) if jnp.issubdtype(x.dtype, jnp.floating)]
    return jnp.all(jnp.array([jnp.isfinite(x).all() for x in floats]))


def _leaf_types(state) -> dict[str, str]:
    """{"params/conv1/kernel": "float32[5, 5, 1, 6]", ...}"""
    leaves, _ = jax.tree_util.tree_flatten_with_path(state)
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): f"{x.dtype}{list(x.shape)}"
        for path, x in leaves
    }


def _files(folder: Path) -> list[str]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    return sorted(str(p.relative_to(folder)) for p in paths if not p.name.startswith(MANIFEST))


def _size_and_digest(path: Path) -> list:
    with path.open("rb") as file:
        return [path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest()]


def _verify(folder: Path) -> str | None:
    """What is wrong with a checkpoint, or None."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        listed = _listed(manifest)
    except FileNotFoundError:
        return f"it was not completed: {MANIFEST} is missing"
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OSError):
        return f"{MANIFEST} cannot be read"
    present = set(_files(folder)) - {MANIFEST}
    if missing := sorted(set(listed) - present):
        return f"{missing[0][:100]} is missing"
    if strange := sorted(x for x in present - set(listed) if not Path(x).name.startswith(".")):
        return f"{strange[0]} is not in {MANIFEST}"
    for name, (size, digest) in listed.items():
        path = folder / name
        if path.stat().st_size != size:
            return f"{name} has {path.stat().st_size} bytes instead of {size}"
        if _size_and_digest(path)[1] != digest:
            return f"the content of {name} has changed"
    return None


def _listed(manifest: dict) -> dict[str, tuple[int, str]]:
    """Size and digest of each file of a manifest, whose list of files is never empty."""
    listed = {name: (size, digest) for name, (size, digest) in manifest["files"].items()}
    if not isinstance(manifest["leaves"], dict) or not listed:
        raise ValueError("the manifest lists nothing")
    if not all(isinstance(s, int) and isinstance(d, str) for s, d in listed.values()):
        raise TypeError("sizes are whole numbers, digests text")
    return listed


def _unused(path: Path) -> Path:
    number = 0
    while path.exists():
        number += 1
        path = path.with_name(f"{path.name.split('-')[0]}-{number}")
    return path
