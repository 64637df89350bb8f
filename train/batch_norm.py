"""Statistics of BatchNorm estimated anew: plain averages over images, at fixed parameters.

Running statistics lag behind the parameters, and fit no average of them. He et al. 2015 and pycls
("precise BN") replace them before an evaluation, as `torch.optim.swa_utils.update_bn` does.
"""

import contextlib
from collections.abc import Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from train.freeze import frozen_statistics

if TYPE_CHECKING:
    from train.step import Batch, Task, TrainState


def batches_of(images: int, batch_size: int, examples: int) -> int:
    """Returns the number of whole batches in so many images or one epoch, at least 1."""
    return max(1, min(images, examples) // batch_size)


def reestimated(task: "Task", state: "TrainState", batches: Iterable["Batch"]) -> "TrainState":
    """Returns the state whose evaluated parameters have statistics of their own.

    Args:
      task: what is trained; its model may have no BatchNorm.
      state: from which an average of the parameters is evaluated if it has one.
      batches: training batches, all of one size, which are augmented as in training.
    """
    if not state.batch_stats or (state.average and int(state.step) < state.average.first):
        return state
    program = jax.jit(partial(_mean_with, task))
    mean = before = state.batch_stats
    for number, batch in enumerate(batches, 1):
        mean = program(mean, state.eval_params, before, batch["image"], number)
    shardings = jax.tree.map(lambda x: x.sharding, before)
    return state.with_eval_statistics(jax.device_put(mean, shardings))


def _mean_with(task, mean, params, batch_stats, images, number) -> Any:
    """The mean of `number` batches, of which this one is the last."""
    augment_key, dropout_key = jax.random.split(
        jax.random.fold_in(jax.random.key(task.seed), number)
    )
    images = task.augment(augment_key, images)
    images = images[:, 0] if images.ndim == 5 else images  # the first of several views
    with frozen_statistics(task.freeze), _without_memory():
        _, collections = task.model.apply(
            {"params": params, "batch_stats": batch_stats},
            images,
            train=True,
            rngs={"dropout": dropout_key},
            mutable=["batch_stats"],
        )
    new = collections["batch_stats"]
    return jax.tree.map(lambda x, y: jnp.where(number == 1, y, x + (y - x) / number), mean, new)


@contextlib.contextmanager
def _without_memory() -> Iterator[None]:
    """Within it, the running statistics of BatchNorm are those of the last batch."""

    def intercept(call, args, kwargs, context):
        module = context.module
        if not isinstance(module, nn.BatchNorm) or context.method_name != "__call__":
            return call(*args, **kwargs)
        before = module.momentum
        object.__setattr__(module, "momentum", 0.0)
        try:
            return call(*args, **kwargs)
        finally:
            object.__setattr__(module, "momentum", before)

    with nn.intercept_methods(intercept):
        yield
