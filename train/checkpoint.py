"""Checkpoints that can be trusted: written by orbax in the background, verified when read.

    checkpoints/1200/            orbax's files for step 1200, in place only when complete
    checkpoints/1200/files.json  size and sha256 of each, and the state's tree, written after them
    checkpoints/damaged/         what failed its verification; nothing is deleted

A checkpoint without files.json was cut short.
"""

import hashlib
import json
import os
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import jax
import jax.numpy as jnp

from train.errors import TrainError

LIST = "files.json"
DAMAGED = "damaged"


class Checkpoints:
    """The checkpoints in one folder.

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

    def save(self, step: int, state) -> None:
        """Starts to write the state; a failure shows here, in the next `save`, or in `wait`.

        Raises:
          TrainError: something in the state is not finite (and nothing is written), or a
            checkpoint could not be written.
        """
        self.wait()
        if step == self.latest:
            return
        if not bool(_all_finite(state)):
            raise TrainError(
                f"The parameters or the optimizer's state are not finite after step {step}, so "
                f"they were not saved. {self.where_to_go_on()} Lower schedule.learning_rate, or "
                "set optimizer.clip_norm."
            )
        self._unless_disk_fails(
            step,
            lambda: self._manager.save(step, args=self._ocp.args.StandardSave(state), force=True),
        )
        self.latest = step
        leaves = _describe(state)
        self._writing = self._writer.submit(self._publish, step, leaves)

    def wait(self) -> None:
        """Returns when all is written. Raises TrainError if it could not be."""
        if self._writing:
            writing, self._writing = self._writing, None
            self._unless_disk_fails(self.latest, writing.result)

    def close(self) -> None:
        """Waits, and lets go of all threads. After a failure orbax would only raise it again."""
        self.wait()
        self._writer.shutdown()
        if not self._failed:
            self._manager.close()

    def restore(self, shapes):
        """The newest state that is whole, or None where there is none.

        Args:
          shapes: tree of jax.ShapeDtypeStruct with shardings: what the state must be.

        Raises:
          TrainError: it belongs to another model or optimizer.
        """
        damaged = []
        for step in sorted(self._manager.all_steps(), reverse=True):
            problem = _verify(self._directory / str(step))
            if problem is None:
                self._set_aside(damaged, self._directory / str(step))
                self._check_tree(step, shapes)
                self.latest = self._written = step
                return self._manager.restore(step, args=self._ocp.args.StandardRestore(shapes))
            damaged.append((step, problem))
        self._set_aside(damaged, None)
        return None

    def where_to_go_on(self) -> str:
        """A sentence that names the last good checkpoint."""
        if self._written is None:
            return "There is no checkpoint yet."
        return f"The last good checkpoint is {self._directory / str(self._written)}."

    def _publish(self, step: int, leaves: dict) -> None:
        """Writes the list of files when orbax has put them in place."""
        self._manager.wait_until_finished()
        if jax.process_index() == 0:
            folder = self._directory / str(step)
            listed = {"leaves": leaves, "files": {f: _stamp(folder / f) for f in _files(folder)}}
            write_whole(folder / LIST, json.dumps(listed, indent=1))
        self._written = step

    def _unless_disk_fails(self, step: int | None, write):
        try:
            return write()
        except Exception as error:  # orbax and tensorstore raise many kinds for a full disk
            self._failed, self.latest = True, self._written
            reason = str(error).strip().splitlines()
            raise TrainError(
                f"The checkpoint of step {step} could not be written to {self._directory}: "
                f"{reason[0] if reason else type(error).__name__}. {self.where_to_go_on()} Make "
                "room or mend the disk, and run the same command again to go on from there."
            ) from error

    def _set_aside(self, damaged: list[tuple[int, str]], good: Path | None) -> None:
        """Moves damaged checkpoints out of the way, with a warning that names both."""
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

                multihost_utils.sync_global_devices("damaged checkpoints are set aside")
            self._manager.reload()

    def _check_tree(self, step: int, shapes) -> None:
        found = json.loads((self._directory / str(step) / LIST).read_text())["leaves"]
        expected = _describe(shapes)
        for path in sorted(found | expected, key=lambda path: (path[:6] != "params", path)):
            if found.get(path) != expected.get(path):
                raise TrainError(
                    f"The checkpoint {self._directory / str(step)} is of another model or "
                    f"optimizer. The first difference is at {path}: the checkpoint has "
                    f"{found.get(path, 'nothing')}, this recipe has "
                    f"{expected.get(path, 'nothing')}. Use the recipe that wrote it, or another "
                    "--workdir."
                )


def write_whole(path: Path, text: str) -> None:
    """Writes a file so that it is never seen half written, even after a power cut."""
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


@jax.jit
def _all_finite(state) -> jax.Array:
    floats = [x for x in jax.tree.leaves(state) if jnp.issubdtype(x.dtype, jnp.floating)]
    return jnp.all(jnp.array([jnp.isfinite(x).all() for x in floats]))


def _describe(state) -> dict[str, str]:
    """{"params/conv1/kernel": "float32[5, 5, 1, 6]", ...}"""
    leaves, _ = jax.tree_util.tree_flatten_with_path(state)
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): f"{x.dtype}{list(x.shape)}"
        for path, x in leaves
    }


def _files(folder: Path) -> list[str]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    return sorted(str(p.relative_to(folder)) for p in paths if not p.name.startswith(LIST))


def _stamp(path: Path) -> list:
    with path.open("rb") as file:
        return [path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest()]


def _verify(folder: Path) -> str | None:
    """What is wrong with a checkpoint, or None."""
    try:
        listed = json.loads((folder / LIST).read_text())["files"]
    except FileNotFoundError:
        return f"it was cut short: {LIST} is missing"
    except (ValueError, KeyError):
        return f"{LIST} cannot be read"
    for name, (size, digest) in listed.items():
        path = folder / name
        if not path.exists():
            return f"{name} is missing"
        if path.stat().st_size != size:
            return f"{name} has {path.stat().st_size} bytes instead of {size}"
        if _stamp(path)[1] != digest:
            return f"the content of {name} has changed"
    return None


def _unused(path: Path) -> Path:
    number = 0
    while path.exists():
        number += 1
        path = path.with_name(f"{path.name.split('-')[0]}-{number}")
    return path
