"""Weights from which a run starts instead of random ones: `config.init`."""

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import traverse_util
from ml_collections import ConfigDict

import zoo
from train.console import say
from train.errors import TrainError
from train.freeze import some_names
from train.step import TrainState
from train.workspace import disk_errors, write_atomically
from zoo.preprocess import Preprocessing
from zoo.weights import pretrained
from zoo.weights.adapt import adapt, restack
from zoo.weights.pretrained import PretrainedModel

FILE = "init.json"
_LISTED = 5  # names in a message


class InitialWeights:
    """The weights that `config.init.weights` names, for a run whose settings are `config`.

    What the run needs to know of them is written to WORKDIR/init.json, so that it can be resumed
    without them.

    Attributes:
      preprocessing: preprocessing with which the weights were trained; None if the run starts with
        random weights.

    Raises:
      TrainError: there are no such weights, or they are not of the recipe's model.
    """

    def __init__(self, workdir: Path, config: ConfigDict):
        self._config, self._path = config, workdir / FILE
        self._pretrained: PretrainedModel | None = None
        self.preprocessing: Preprocessing | None = None
        if config.init.weights:
            goes_on = any((workdir / "checkpoints").glob("[0-9]*"))
            self.preprocessing = (goes_on and self._written()) or self._load().preprocessing

    def variables(self, shapes: TrainState) -> dict[str, dict]:
        """Returns {"params": ..., "batch_stats": ...}: what does not start with random values.

        That is the weights, and zeros for what `init.zeros` matches.

        Args:
          shapes: the state of the run.

        Raises:
          TrainError: the weights do not fit the model, apart from those that `init.skip` matches.
        """
        collections = {"params": shapes.params, "batch_stats": shapes.batch_stats}
        wanted: dict[str, Any] = traverse_util.flatten_dict(collections, sep="/")
        pattern = self._config.init.zeros
        at_zero = {path: leaf for path, leaf in wanted.items() if _matches(pattern, path)}
        if pattern and not at_zero:
            names = some_names(shapes.params)
            raise TrainError(f"init.zeros={pattern!r} matches no parameter. {names}")
        kept = {path: np.zeros(leaf.shape, leaf.dtype) for path, leaf in at_zero.items()}
        if self._config.init.weights:
            kept = self._of_weights(wanted) | kept
            fresh = sorted({path.rpartition("/")[0] for path in wanted.keys() - kept.keys()})
            names = ", ".join(path.partition("/")[2] for path in fresh[:_LISTED]) or "nothing"
            say(f"Starting with {self._config.init.weights}; random: {names}.")
        return traverse_util.unflatten_dict(kept, sep="/")

    def _of_weights(self, wanted: dict[str, Any]) -> dict[str, np.ndarray]:
        """The weights by path, for a model of these shapes."""
        name, skip = self._config.model.name, self._config.init.skip
        given = self._given({path: s for path, s in wanted.items() if not _matches(skip, path)})
        kept, problems = {}, []
        for path in sorted(given.keys() | wanted.keys()):
            if _matches(skip, path):
                continue
            if path not in given or path not in wanted:
                problems.append(f"{path} is only in the {'model' if path in wanted else 'weights'}")
                continue
            value = adapt(name, path, np.asarray(given[path]), wanted[path].shape)
            if value.shape != wanted[path].shape:
                problems.append(f"{path} is {value.shape} and the model has {wanted[path].shape}")
            kept[path] = value.astype(wanted[path].dtype)
        if problems:
            more = f" and {len(problems) - _LISTED} more" if problems[_LISTED:] else ""
            raise TrainError(
                f"The weights {self._config.init.weights} do not fit {name}: "
                f"{'; '.join(problems[:_LISTED])}{more}. Parameters whose path matches init.skip "
                f"(now {skip!r}) start with random values instead."
            )
        return kept

    def write(self) -> None:
        """Writes init.json, if the weights were read."""
        if self._pretrained and jax.process_index() == 0:
            note = {
                "weights": self._config.init.weights,
                "preprocessing": dataclasses.asdict(self._pretrained.preprocessing),
            }
            with disk_errors(self._path.parent):
                write_atomically(self._path, json.dumps(note, indent=2) + "\n")

    def _given(self, wanted: dict[str, Any]) -> dict[str, Any]:
        """The weights by path; blocks are stacked where the model's are."""
        variables = self._load().variables
        given = traverse_util.flatten_dict(variables, sep="/")
        if given.keys() >= wanted.keys():
            return given
        try:
            stacked = restack(variables, traverse_util.unflatten_dict(wanted, sep="/"))
        except KeyError:  # they lack something, which is told
            return given
        return traverse_util.flatten_dict(stacked, sep="/")

    def _written(self) -> Preprocessing | None:
        try:
            note = json.loads(self._path.read_text())
            if note["weights"] != self._config.init.weights:
                return None
            values: Any = note["preprocessing"]
            tuples: Any = {key: tuple(v) for key, v in values.items() if isinstance(v, list)}
            return Preprocessing(**values | tuples)
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return None

    def _load(self) -> PretrainedModel:
        if self._pretrained is None:
            name, weights = self._config.model.name, self._config.init.weights
            try:
                self._pretrained = self._file() or zoo.load(weights)
            except (OSError, ValueError, TypeError, ImportError) as error:
                raise TrainError(f"init.weights: {error}") from error
            found = self._pretrained.info.name
            if found != name:
                raise TrainError(
                    f"init.weights={self._config.init.weights} are weights of {found}, and "
                    f"model.name is {name}: set --config.model.name={found}, or name weights of "
                    f"{name}."
                )
        return self._pretrained

    def _file(self) -> PretrainedModel | None:
        """The model of a file that does not say what it is for; None for all else."""
        path = Path(self._config.init.weights).expanduser()
        if not path.is_file() or pretrained.is_own(path):
            return None
        name = self._config.model.name
        if _matches(self._config.init.skip, "params/head/kernel"):
            return zoo.load(path, model=name, num_classes=0)
        return zoo.load(path, model=name)


def _matches(skip: str, path: str) -> bool:
    """Whether a path such as "params/head/kernel" matches, without the collection before it."""
    return bool(skip and re.search(skip, path.partition("/")[2]))
