"""Progressive training: the stages of a run, each with its own images, model options and program.

EfficientNetV2 (Tan and Le 2021, arXiv:2104.00298, Algorithm 1) trains on small images first, with
weak regularisation, and on larger ones later, with stronger. Parameters, optimizer, schedule and
the order of the examples go through all stages as in any run, and the stage of a step follows from
the step, so that a run which is resumed is the same run. Evaluation has one image size throughout.
"""

import dataclasses
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from train import step
from train.build import make_runner, make_task, state_shapes
from train.data import Data, make_data, model_info
from train.durations import Intervals
from train.errors import TrainError
from train.runners import Check, Runner, Update

# Sections whose keys may have a value for each stage: none of them is part of a run's state.
SECTIONS = ("augment", "mix", "loss", "model.options")


class Stage(NamedTuple):
    """Steps `start` + 1 to `stop` of a run, and their recipe."""

    start: int
    stop: int
    config: ConfigDict


def stages(config: ConfigDict, total: int) -> list[Stage]:
    """Returns the stages of a recipe, equal parts of its `total` steps.

    Raises:
      TrainError: keys of the section `progressive` do not fit each other, or the recipe.
    """
    number = config.progressive.stages
    bounds = [round(total * i / number) for i in range(number + 1)]
    parts = zip(bounds[:-1], bounds[1:], stage_configs(config), strict=True)
    return [Stage(*part) for part in parts if part[0] < part[1]]


def stage_configs(config: ConfigDict) -> list[ConfigDict]:
    """Returns the recipe of each stage.

    Raises:
      TrainError: as `stages`.
    """
    progressive = config.progressive
    _check(config)
    return [_stage_config(config, i) for i in range(progressive.stages)]


def _stage_config(config: ConfigDict, index: int) -> ConfigDict:
    stage = config.copy_and_resolve_references()
    if config.progressive.image_size:
        evaluated = config.eval.image_size or config.data.image_size
        stage.eval.image_size = evaluated or model_info(config.model.name).image_size
        stage.data.image_size = config.progressive.image_size[index]
    for key, values in config.progressive.changes:
        section, _, name = key.rpartition(".")
        parent = stage
        for part in section.split("."):
            parent = parent[part]
        with parent.unlocked(), parent.ignore_type():
            parent[name] = values[index]
    return stage


def _check(config: ConfigDict) -> None:
    progressive = config.progressive
    sizes = {"progressive.image_size": progressive.image_size} if progressive.image_size else {}
    lists = sizes | {f"progressive.changes, {key}": values for key, values in progressive.changes}
    for name, values in lists.items():
        if len(values) != progressive.stages:
            raise TrainError(
                f"{name}: there are {len(values)} values and {progressive.stages} stages; each "
                "stage has one."
            )
    for key, _ in progressive.changes:
        section = key.rpartition(".")[0]
        if not any(section == name or section.startswith(f"{name}.") for name in SECTIONS):
            raise TrainError(
                f"progressive.changes: {key} cannot change from stage to stage; keys of "
                f"{', '.join(SECTIONS)} can."
            )


class ProgressiveRunner:
    """A `Runner` that is another one in each stage; that of a stage is made when it begins."""

    def __init__(self, stages: list[Stage], make: Callable[[Stage], Runner], start: int):
        """Makes the runner of the stage in which step `start` + 1 is."""
        self._stages, self._make, self._skipped = stages, make, 0
        self._at = next((i for i, part in enumerate(stages) if start < part.stop), len(stages) - 1)
        self._runner = make(stages[self._at])

    @property
    def skipped(self) -> int:
        """See `Runner`."""
        return self._skipped + self._runner.skipped

    def train(self, state: step.TrainState, start: int, stop: int) -> Iterator[Update]:
        """See `Runner.train`."""
        before: step.Metrics | None = None
        done = start
        while done < stop:
            if done >= self._stages[self._at].stop:
                self._next_stage()
            end, metrics = min(stop, self._stages[self._at].stop), None
            for update in self._runner.train(state, done, end):
                state, metrics, done = update
                metrics = step.add_metrics(before, metrics) if before else metrics
                yield state, metrics, done
            before = metrics

    def evaluated(self, state: step.TrainState) -> step.TrainState:
        """See `Runner.evaluated`."""
        return self._runner.evaluated(state)

    def evaluate(self, state: step.TrainState, check: Check) -> step.Metrics:
        """See `Runner.evaluate`."""
        return self._runner.evaluate(state, check)

    def _next_stage(self) -> None:
        self._skipped, self._at = self.skipped, self._at + 1
        del self._runner  # and its programs, before there are others
        self._runner = self._make(self._stages[self._at])


def make_runner_of_run(
    config: ConfigDict,
    task: step.Task,
    shapes: step.TrainState,
    intervals: Intervals,
    data: Data,
    start: int,
    call: Callable[..., Any],
) -> Runner:
    """Returns the runner of a recipe from step `start` on, progressive or not.

    Args:
      config, task, shapes, intervals, data: of the run, see `train.build.make_runner`.
      start: number of steps done.
      call: calls a function that takes long, so that a signal can end it.

    Raises:
      TrainError: the stages do not fit the recipe, or the model.
    """
    if config.progressive.stages == 1:
        return call(make_runner, config, task, shapes, intervals, data)
    parts = stages(config, intervals.total)
    make = partial(_stage_runner, task.mesh, shapes, intervals, data)
    return ProgressiveRunner(parts, lambda stage: call(make, stage), start)


def _stage_runner(
    mesh: Mesh, shapes: step.TrainState, intervals: Intervals, data: Data, stage: Stage
) -> Runner:
    of_stage = make_data(stage.config, data.train, data.evaluation, data.preprocessing)
    task = make_task(stage.config, of_stage, intervals, mesh)
    if jax.tree.map(lambda leaf: leaf.shape, state_shapes(task)) != jax.tree.map(
        lambda leaf: leaf.shape, shapes
    ):
        raise TrainError(
            f"progressive.image_size: parameters of {stage.config.model.name} depend on the size "
            "of the images, so they cannot go from stage to stage."
        )
    until = dataclasses.replace(intervals, total=stage.stop)
    return make_runner(stage.config, task, shapes, until, of_stage)
