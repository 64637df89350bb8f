"""The training loop: train, log, evaluate, save."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from input_pipeline.example import DataError
from train import hosts
from train.build import initial_state, make_task, register_model, state_shapes
from train.callbacks import Callbacks
from train.check import check_model, check_values
from train.checkpoint import Checkpoints
from train.data import open_data
from train.durations import Intervals
from train.errors import Interrupted, TrainError, config_keys_in_errors
from train.initial import InitialWeights
from train.interruption import Interruption
from train.model_file import ModelFile
from train.plateau import after_evaluation
from train.progressive import make_runner_of_run
from train.report import NonFiniteLoss, Report
from train.runners import Runner
from train.settings import check_duration, check_settings, write_classes
from train.sharding import check_batch_size, make_mesh
from train.step import TrainState
from train.workspace import check_disk_space, claimed, open_workdir, use_compile_cache


@config_keys_in_errors()
def train_and_evaluate(config: ConfigDict, workdir: str | Path) -> dict[str, Any]:
    """Trains the model of a recipe, or resumes the run that the workdir holds.

    Args:
      config: a recipe, see configs/base.py.
      workdir: folder of the run; created if it does not exist.

    Returns:
      The last evaluation line of metrics.jsonl.

    Raises:
      TrainError, DataError: the run cannot continue. What was saved is kept.
      Interrupted: a signal of `config.signals.stop` was received; a checkpoint was saved if there
        was anything to save. The process should then end by `os._exit`: a thread may still be
        compiling.
    """
    check_values(config)
    config = register_model(config)
    hosts.join(config.hosts)
    check_model(config)
    workdir = open_workdir(workdir)
    check_settings(workdir, config)  # before the claim, which writes a file
    signals = Interruption(config.signals.stop, config.signals.save)
    with claimed(workdir), signals as interruption:
        use_compile_cache(config.compile_cache)
        mesh = make_mesh(config.mesh.data, config.mesh.fsdp)
        check_batch_size(config.batch_size, mesh, config.optimizer.accumulate)
        initial = interruption.call(InitialWeights, workdir, config)
        data = interruption.call(open_data, config, initial.preprocessing)
        intervals = Intervals.from_config(config, data.examples_per_epoch)
        check_duration(workdir, config, intervals)
        task = make_task(config, data, intervals, mesh)
        shapes = state_shapes(task)
        check_disk_space(workdir, shapes)
        write_classes(workdir, data.train.class_names)
        initial.write()
        model_file = ModelFile(workdir, config, data)
        callbacks = Callbacks(config, workdir, task.model, model_file)

        with Checkpoints(workdir / "checkpoints", config.checkpoint.keep) as checkpoints:
            state = interruption.call(checkpoints.restore, shapes)
            if state is None:
                weights = interruption.call(initial.variables, shapes)
                state = interruption.call(initial_state, task, shapes, weights)
            progress = Progress(state, int(state.step))
            with Report(workdir, config, intervals, start=progress.step) as report:
                if progress.step >= intervals.total and report.has_evaluation(progress.step):
                    if not model_file.path.exists():  # version 0.1 did not write it
                        model_file.write(progress.state, report.last_evaluation)
                    report.complete()
                    return report.last_evaluation
                with save_on_interrupt(progress, report, checkpoints, interruption):
                    parts = config, task, shapes, intervals, data
                    runner = make_runner_of_run(*parts, progress.step, interruption.call)
                    training_loop(
                        *(progress, runner, intervals, report, checkpoints),
                        *(model_file, callbacks, interruption),
                    )
    return report.last_evaluation


@dataclass
class Progress:
    """The state after `step` steps: the only one that is valid, as a step donates its argument."""

    state: TrainState
    step: int


def training_loop(
    progress: Progress,
    runner: Runner,
    intervals: Intervals,
    report: Report,
    checkpoints: Checkpoints,
    model_file: ModelFile,
    callbacks: Callbacks,
    interruption: Interruption,
) -> None:
    """Trains, logs, evaluates and saves until the last step; keeps `progress` up to date.

    Raises:
      NonFiniteLoss, TrainError, DataError: the run cannot continue.
      Interrupted: a signal was received.
    """
    for event in intervals.events(progress.step):
        # Train, up to the next step at which something else happens.
        metrics = None
        report.start_timer()
        for update in runner.train(progress.state, progress.step, event):
            progress.state, metrics, progress.step = update
            if interruption.requested:
                break
            if interruption.save_requested():
                checkpoints.save(progress.step, progress.state)
        step = progress.step

        # Log, while the device already runs the next steps.
        report.train(step, metrics)
        save_requested = interruption.check()

        # Evaluate; a resumed run may have been evaluated at this step before.
        if intervals.evaluates_at(step) and not report.has_evaluation(step):
            report.flush()
            evaluated = runner.evaluated(progress.state)
            metrics = runner.evaluate(evaluated, interruption.check)
            line = report.evaluation_line(step, metrics, runner.skipped)
            line |= callbacks(evaluated, line)
            model_file.write(evaluated, line)
            report.evaluation(line)
            progress.state = after_evaluation(progress.state, line)

        # Save.
        if intervals.saves_at(step) or save_requested:
            report.flush()
            checkpoints.save(step, progress.state)
    report.draw()


@contextlib.contextmanager
def save_on_interrupt(
    progress: Progress, report: Report, checkpoints: Checkpoints, interruption: Interruption
) -> Iterator[None]:
    """Saves the state if a signal or unusable data end the run, but not if its loss is not finite.

    Raises:
      Interrupted: a signal was received, and the state is saved.
      TrainError: the loss is not finite; the message names the last good checkpoint.
    """
    try:
        try:
            yield
        except (NonFiniteLoss, TrainError):
            raise
        except Exception as error:
            # Ctrl-C in a terminal also reaches the loader's processes, so with a signal any
            # exception may be its consequence.
            if interruption.signum is None and not isinstance(error, DataError):
                raise
            report.flush()
            checkpoints.save(progress.step, progress.state)
            if interruption.signum is not None:
                raise Interrupted(interruption.signum) from error
            raise
    except NonFiniteLoss as error:
        checkpoints.wait()
        raise TrainError(
            f"The loss is not finite at step {error.step} (learning rate "
            f"{error.learning_rate:g}). {checkpoints.last_good()} Lower schedule.learning_rate, "
            "lengthen schedule.warmup or set optimizer.clip_norm."
        ) from error
