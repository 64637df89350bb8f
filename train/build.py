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
from train.averages import make_average
from train.data import Data
from train.durations import Intervals, to_steps
from train.errors import TrainError
from train.functions import check_options, find, find_all
from train.layer_decay import layer_factors
from train.optimizers import make_optimizer
from train.runners import OnDeviceRunner, Runner, StreamingRunner
from train.schedules import make_schedule
from train.sharding import state_shardings
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
    model, factors = make_model(config.model, data.num_classes), None
    if config.optimizer.layer_decay != 1:
        shape = jax.ShapeDtypeStruct((1, *data.image_shape), jnp.uint8)
        shape = jax.eval_shape(data.normalize, shape)
        factors = layer_factors(model, shape, config.optimizer.layer_decay)
    images = config.batch_norm_images or (PRECISE_IMAGES if config.swa.start else 0)

    def steps(duration: str) -> int:
        return to_steps(duration, len(data.train), config.batch_size)

    return step.Task(
        model=model,
        optimizer=make_optimizer(config.optimizer, schedule, factors),
        schedule=schedule,
        augment=data.augment,
        normalize=data.normalize,
        image_shape=data.image_shape,
        mesh=mesh,
        seed=config.seed,
        loss=make_loss(config.loss),
        eval_loss=partial(losses.cross_entropy, reject_class_logit=config.loss.reject_class_logit),
        metrics=find_all("eval.metrics", config.eval.metrics),
        auxiliary_weights=tuple(config.loss.auxiliary_weights),
        batch_norm=config.batch_norm,
        average=make_average(config, steps, reestimated=images > 0),
        accumulate=config.optimizer.accumulate,
        sam_radius=config.optimizer.sam_radius,
        sam_adaptive=config.optimizer.sam_adaptive,
        batch_norm_images=images,
        freeze=config.optimizer.freeze,
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
    check_options("loss", function, 2, options)
    return partial(function, **options)


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


def make_runner(
    config: ConfigDict, task: step.Task, shapes: step.TrainState, intervals: Intervals, data: Data
) -> Runner:
    """Compiles the programs of the run; with `data.on_device`, loads the data too."""
    eval_batch_size = config.eval.batch_size or config.batch_size
    # Padding is masked in evaluation, so any size will do that divides over the devices.
    batch_sizes = config.batch_size, -(-eval_batch_size // task.mesh.size) * task.mesh.size
    if data.on_device:
        return OnDeviceRunner(task, shapes, intervals, data, batch_sizes)
    return StreamingRunner(task, shapes, intervals, data, batch_sizes, config.data.workers)
