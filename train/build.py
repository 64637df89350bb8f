"""Builds the parts of a run: model, task, initial state and compiled programs."""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.extend.core import jaxpr_as_fun
from jax.interpreters.partial_eval import dce_jaxpr
from jax.sharding import Mesh
from ml_collections import ConfigDict

import zoo
from configs.functions import is_reference
from train import losses, step
from train.augmentation import make_mixing
from train.averages import make_average
from train.data import Data
from train.durations import Intervals, to_steps
from train.errors import TrainError
from train.functions import check_options, find
from train.layer_decay import layer_factors
from train.metrics import reported
from train.optimizers import make_optimizer
from train.runners import OnDeviceRunner, Runner, StreamingRunner
from train.schedules import make_schedule
from train.sharding import state_shardings
from train.teacher import open_teacher
from zoo import registry
from zoo.kernels import platform

PRECISE_IMAGES = 8192  # from which SWA's statistics are estimated if the recipe says nothing: pycls


def register_model(config: ConfigDict) -> ConfigDict:
    """Registers a model that the recipe names as module:function.

    Returns:
      The recipe with the registered name of its model.

    Raises:
      TrainError: there is no such function, or its name is that of another model.
    """
    if not is_reference(config.model.name):
        return config
    build = find("model.name", config.model.name, {})
    try:
        zoo.register(build)
    except (ValueError, TypeError) as error:
        raise TrainError(f"model.name={config.model.name}: {error}") from error
    config = config.copy_and_resolve_references()
    config.model.name = build.__name__
    return config


def model_overrides(config: ConfigDict, num_classes: int) -> dict[str, Any]:
    """Returns the keyword arguments of `zoo.create` for the section `model` of a recipe.

    A model of one's own that computes in float32 need not have the attribute `dtype`.
    """
    _, known = registry.attributes(config.name)
    dtype = {"dtype": config.dtype} if "dtype" in known or config.dtype != "float32" else {}
    try:
        return dict(num_classes=num_classes, **dtype, **config.options.to_dict())
    except TypeError as error:
        raise TrainError(
            f"model.options must not set num_classes or dtype, which are keys of their own "
            f"({error})."
        ) from error


def make_model(config: ConfigDict, num_classes: int) -> nn.Module:
    """Creates the model that the section `model` of a recipe describes.

    Raises:
      TrainError: the model does not have such attributes.
    """
    try:
        return zoo.create(config.name, **model_overrides(config, num_classes))
    except (TypeError, ValueError) as error:
        raise TrainError(f"model.options do not fit {config.name}: {error}") from error


def make_task(config: ConfigDict, data: Data, intervals: Intervals, mesh: Mesh) -> step.Task:
    """Creates the task of a recipe; see `step.Task`.

    Raises:
      TrainError: keys of the recipe do not fit the model, or the schedule or the optimizer is not
        known.
    """
    schedule = make_schedule(config, intervals)
    rows = padded(len(data.evaluation), eval_batch_size(config, mesh))
    found = reported(config.eval.metrics, rows=rows, matrix=config.eval.confusion)
    model, factors = make_model(config.model, data.num_classes), None
    if config.optimizer.layer_decay != 1:
        shape = jax.ShapeDtypeStruct((1, *data.image_shape), jnp.uint8)
        shape = jax.eval_shape(data.normalize, shape)
        factors = layer_factors(model, shape, config.optimizer.layer_decay)
    mix = make_mixing(config, data.num_classes, data.examples_per_epoch)
    loss = config.loss
    if mix and config.mix.convention != "torchvision":  # which smooths in the loss, others before
        loss = loss.copy_and_resolve_references()
        loss.label_smoothing = 0.0
    images = config.batch_norm_images or (PRECISE_IMAGES if config.swa.start else 0)

    def steps(duration: str) -> int:
        return to_steps(duration, data.examples_per_epoch, config.batch_size)

    return step.Task(
        model=model,
        optimizer=make_optimizer(config.optimizer, schedule, factors),
        schedule=schedule,
        augment=partial(data.augment, mesh=mesh),
        mix=mix,
        normalize=data.normalize,
        image_shape=data.image_shape,
        mesh=mesh,
        seed=config.seed,
        loss=make_loss(loss),
        loss_outputs=loss_outputs(loss),
        eval_loss=partial(losses.cross_entropy, reject_class_logit=config.loss.reject_class_logit),
        metrics=found.per_example,
        tables=found.tables,
        average_views=config.eval.average,
        eval_shape=data.eval_shape,
        teacher=open_teacher(config, data),
        auxiliary_weights=tuple(config.loss.auxiliary_weights),
        batch_norm=config.batch_norm,
        average=make_average(config, steps, reestimated=images > 0),
        accumulate=config.optimizer.accumulate,
        sam_radius=config.optimizer.sam_radius,
        sam_adaptive=config.optimizer.sam_adaptive,
        batch_norm_images=images,
        freeze=config.optimizer.freeze,
        total_steps=intervals.total,
    )


def make_loss(config: ConfigDict) -> step.Loss:
    """Returns the loss of training that the section `loss` of a recipe describes.

    Raises:
      TrainError: there is no such loss, or keys of the section do not fit it.
    """
    function, options = find("loss.name", config.name, losses.LOSSES), dict(config.options)
    settings = {
        "label_smoothing": config.label_smoothing,
        "reject_class_logit": config.reject_class_logit,
    }
    known = inspect.signature(function).parameters
    for key, value in settings.items():
        if key in known:
            options[key] = value
        elif value:
            raise TrainError(f"loss.{key}={value}: the loss {config.name} has no such argument.")
    check_options("loss", function, 2 + len(loss_outputs(config)), options)
    return partial(losses.per_example(function), **options)


def loss_outputs(config: ConfigDict) -> tuple[str, ...]:
    """Returns the names of what the model sows that a recipe's loss takes, such as token logits."""
    return getattr(find("loss.name", config.name, losses.LOSSES), "outputs", ())


def state_shapes(task: step.Task) -> step.TrainState:
    """Returns the state as a tree of jax.ShapeDtypeStruct with shardings; computes nothing.

    Raises:
      TrainError: the model does not take images of this shape.
    """
    try:
        shapes = jax.eval_shape(lambda: step.init_state(task))
    except ValueError as error:
        raise TrainError(f"The model does not take the images of the data: {error}") from error
    return jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        shapes,
        state_shardings(shapes, task.mesh),
    )


def initial_state(
    task: step.Task, shapes: step.TrainState, weights: dict | None = None
) -> step.TrainState:
    """Returns the state at step 0, sharded as `shapes` (from `state_shapes`) says.

    Args:
      task: what is trained.
      shapes: the state's shapes and shardings.
      weights: variables to start from, see `step.init_state`.
    """
    init = partial(step.init_state, task)
    shardings = jax.tree.map(lambda leaf: leaf.sharding, shapes)
    if task.mesh.size == 1:
        return jax.device_put(init_eagerly(init, weights or {}), shardings)
    program = jax.jit(init, out_shardings=shardings).lower(weights or {})
    # It runs once, and on CPU XLA would spend seconds on optimizing the random numbers.
    quick: dict[str, Any] | None = (
        {"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else None
    )
    return program.compile(compiler_options=quick)(weights or {})


def init_eagerly(init: Callable[..., step.TrainState], *arguments: Any) -> step.TrainState:
    """Returns `init(*arguments)`, operation by operation without those whose results are unused.

    One program for all arrays would take as long to compile as the training step.
    """
    with platform.tracing(platform.CPU):  # in which random arrays are operations by themselves
        traced, shapes = jax.make_jaxpr(init, return_shape=True)(*arguments)
    leaves, structure = jax.tree.flatten(shapes)
    needed, _ = dce_jaxpr(traced.jaxpr, [True] * len(leaves), instantiate=True)
    arrays = jaxpr_as_fun(traced.replace(jaxpr=needed))(*jax.tree.leaves(arguments))
    return jax.tree.unflatten(structure, arrays)


def eval_batch_size(config: ConfigDict, mesh: Mesh) -> int:
    """Returns the number of images in a batch of evaluation, which divides over the devices.

    The padding is masked, so any size will do.
    """
    return padded(config.eval.batch_size or config.batch_size, mesh.size)


def padded(count: int, multiple: int) -> int:
    """Returns the least multiple of a number that is not below `count`."""
    return -(-count // multiple) * multiple


def make_runner(
    config: ConfigDict, task: step.Task, shapes: step.TrainState, intervals: Intervals, data: Data
) -> Runner:
    """Compiles the programs of the run; with `data.on_device`, loads the data too."""
    batch_sizes = config.batch_size, eval_batch_size(config, task.mesh)
    if data.on_device:
        return OnDeviceRunner(task, shapes, intervals, data, batch_sizes)
    return StreamingRunner(task, shapes, intervals, data, batch_sizes, config.data.workers)
