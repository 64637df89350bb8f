"""The training loop: one function, top to bottom."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
from flax import linen as nn
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun
from jax.interpreters.partial_eval import dce_jaxpr
from jax.sharding import Mesh
from ml_collections import ConfigDict

import zoo
from input_pipeline.example import DataError
from train import hosts, step
from train.checkpoint import Checkpoints
from train.data import Data, open_data
from train.durations import Plan
from train.errors import Interrupted, TrainError
from train.interruption import Interruption
from train.optimizers import make_optimizer, make_schedule
from train.report import NonFiniteLoss, Report
from train.runners import ResidentRunner, StreamedRunner
from train.sharding import check_batch_size, make_mesh, state_shardings
from train.workspace import check_room, claim_workdir, use_compile_cache


@dataclass
class Progress:
    """How far a run has come: the state after `step` steps."""

    state: step.TrainState
    step: int


def train_and_evaluate(config: ConfigDict, workdir: str | Path) -> dict[str, Any]:
    """Trains the recipe's model, or goes on with what the workdir holds.

    Args:
      config: a recipe, see configs/base.py.
      workdir: folder of the run; made if it is not there.

    Returns:
      The last evaluation line of metrics.jsonl.

    Raises:
      TrainError, DataError: the run cannot go on. What was saved is kept.
      Interrupted: SIGTERM or SIGINT came; a checkpoint was saved if there was anything to save. The
        process should then end by `os._exit`: a compilation may still be running in a thread.
    """
    hosts.join(config.hosts)
    use_compile_cache(config.compile_cache)
    workdir = claim_workdir(workdir)
    with Interruption() as interruption:
        mesh = make_mesh(config.mesh.data, config.mesh.fsdp)
        check_batch_size(config.batch_size, mesh)
        data = interruption.call(open_data, config)
        plan = Plan.of(config, len(data.train))
        task = make_task(config, data, plan, mesh)
        shapes = state_shapes(task)
        check_room(workdir, shapes)

        checkpoints = Checkpoints(workdir / "checkpoints", config.checkpoint.keep)
        state = interruption.call(checkpoints.restore, shapes)
        if state is None:
            state = interruption.call(initial_state, task, shapes)
        progress = Progress(state, int(state.step))
        report = Report(workdir, config, plan, start=progress.step)
        try:
            with saved_when_stopped(progress, report, checkpoints, interruption):
                runner = interruption.call(make_runner, config, task, shapes, plan, data)
                run_to_the_end(progress, plan, runner, report, checkpoints, interruption)
        except NonFiniteLoss as error:
            checkpoints.wait()
            raise TrainError(
                f"The loss is not finite at step {error.step} (learning rate "
                f"{error.learning_rate:g}). {checkpoints.where_to_go_on()} Lower "
                "schedule.learning_rate, lengthen schedule.warmup or set optimizer.clip_norm."
            ) from error
        finally:
            report.close()
            checkpoints.close()
    return [line for line in report.lines if line["split"] == "eval"][-1]


@contextlib.contextmanager
def saved_when_stopped(
    progress: Progress, report: Report, checkpoints: Checkpoints, interruption: Interruption
) -> Iterator[None]:
    """Saves the state where a signal or the data end the run; losses are looked at before."""
    try:
        yield
    except (NonFiniteLoss, TrainError):
        raise
    except Exception as error:
        # A terminal's Ctrl-C reaches the loader's processes too, and what they raise then is the
        # interrupt as well.
        if interruption.signum is None and not isinstance(error, DataError):
            raise
        report.flush()
        checkpoints.save(progress.step, progress.state)
        if interruption.signum is not None:
            raise Interrupted(interruption.signum) from error
        raise


def run_to_the_end(
    progress: Progress,
    plan: Plan,
    runner: ResidentRunner | StreamedRunner,
    report: Report,
    checkpoints: Checkpoints,
    interruption: Interruption,
) -> None:
    """Evaluates, saves and trains as the plan says, from `progress` on, which is kept current."""
    while True:
        now = progress.step
        if plan.evaluates_at(now) and not report.has_evaluation(now):
            report.flush()
            sums = runner.evaluate(progress.state, interruption.check)
            report.evaluation(now, sums, runner.skipped)
        if plan.saves_at(now):
            report.flush()
            checkpoints.save(now, progress.state)
        if now >= plan.steps:
            report.draw()
            return
        report.begin()
        stretch = runner.train(progress.state, now, plan.next_stop(now))
        for progress.state, sums, progress.step in stretch:  # noqa: B007 (used behind the loop)
            if interruption.wanted:
                break
        report.train(progress.step, sums)
        interruption.check()


def make_model(config: ConfigDict, num_classes: int) -> nn.Module:
    """The model of `config.model`.

    Raises:
      TrainError: it has no attribute of that name, or one that the recipe sets elsewhere.
    """
    fixed = dict(num_classes=num_classes, dtype=config.dtype)
    try:
        return zoo.create(config.name, **fixed, **config.options)
    except TypeError as error:
        raise TrainError(f"model.options do not fit {config.name}: {error}") from error


def make_task(config: ConfigDict, data: Data, plan: Plan, mesh: Mesh) -> step.Task:
    """All that the steps of a recipe need."""
    schedule = make_schedule(config, plan)
    return step.Task(
        model=make_model(config.model, data.num_classes),
        optimizer=make_optimizer(config.optimizer, schedule),
        schedule=schedule,
        augment=data.augment,
        normalize=data.normalize,
        image_shape=data.image_shape,
        mesh=mesh,
        seed=config.seed,
        label_smoothing=config.loss.label_smoothing,
        rubbish_logit=config.loss.rubbish_logit,
        auxiliary_weights=tuple(config.loss.auxiliary_weights),
        batch_norm=config.batch_norm,
        ema_decay=config.ema.decay,
    )


def state_shapes(task: step.Task) -> step.TrainState:
    """The state's shapes, dtypes and shardings; nothing is computed."""
    shapes = jax.eval_shape(lambda: step.init_state(task))
    return jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        shapes,
        state_shardings(shapes, task.mesh),
    )


def initial_state(task: step.Task, shapes: step.TrainState) -> step.TrainState:
    """The state at step 0, each part made where it belongs."""
    init = partial(step.init_state, task)
    shardings = jax.tree.map(lambda leaf: leaf.sharding, shapes)
    if task.mesh.size == 1:
        return jax.device_put(one_by_one(init), shardings)
    program = jax.jit(init, out_shardings=shardings).lower()
    # It runs once, and XLA's optimiser would take seconds over the random numbers on CPU.
    quick = {"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else None
    return program.compile(compiler_options=quick)()


def one_by_one(init: Callable[[], step.TrainState]) -> step.TrainState:
    """What `init()` returns, each operation by itself, and only those on which the result depends.

    One program for all arrays would take as long to compile as the training step.
    """
    traced, shapes = jax.make_jaxpr(init, return_shape=True)()
    leaves, structure = jax.tree.flatten(shapes)
    needed, _ = dce_jaxpr(traced.jaxpr, [True] * len(leaves), instantiate=True)
    arrays = jaxpr_as_fun(ClosedJaxpr(needed, traced.consts))()
    return jax.tree.unflatten(structure, arrays)


def make_runner(
    config: ConfigDict, task: step.Task, shapes: step.TrainState, plan: Plan, data: Data
) -> ResidentRunner | StreamedRunner:
    """Compiles the programs of the run."""
    eval_batch_size = config.eval.batch_size or config.batch_size
    # Padding is masked in evaluation, so any size will do that divides over the devices.
    batch_sizes = config.batch_size, -(-eval_batch_size // task.mesh.size) * task.mesh.size
    if data.on_device:
        return ResidentRunner(task, shapes, plan, data, batch_sizes)
    return StreamedRunner(task, shapes, plan, data, batch_sizes, config.data.workers)
