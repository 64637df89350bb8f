"""Schedule-free optimizers (Defazio et al. 2024): an average of the parameters instead of a decay.

Gradients are taken at y, a mean of z, which the optimizer moves, and of x, the average of all z so
far. y are the parameters that are trained, x those that are evaluated: `averaged_parameters`.
"""

from collections.abc import Callable
from typing import Any

import jax
import optax

from train.optimizer_rules import Mask


def schedule_free_sgd(
    learning_rate: optax.ScalarOrSchedule, weight_decay: float = 0.0, mask: Mask = None
) -> optax.GradientTransformation:
    """The optimizer under the average: SGD without momentum, of which the average takes the place.

    Its option b1 (0.9) is the share of x in y. The learning rate is warmed up and then constant.
    """
    return optax.chain(
        optax.add_decayed_weights(weight_decay, mask), optax.scale_by_learning_rate(learning_rate)
    )


def schedule_free_adamw(
    learning_rate: optax.ScalarOrSchedule,
    b2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    mask: Mask = None,
) -> optax.GradientTransformation:
    """The optimizer under the average: AdamW without its first moment; b1 is as above."""
    return optax.chain(
        optax.scale_by_rms(b2, eps, eps_in_sqrt=False, bias_correction=True),
        optax.add_decayed_weights(weight_decay, mask),
        optax.scale_by_learning_rate(learning_rate),
    )


SCHEDULE_FREE: dict[str, Callable] = {
    "schedule_free_sgd": schedule_free_sgd,
    "schedule_free_adamw": schedule_free_adamw,
}


def follow_average(
    optimizer: optax.GradientTransformation, schedule: optax.Schedule, b1: float
) -> optax.GradientTransformation:
    """Returns the schedule-free form of an optimizer, by `optax.contrib.schedule_free`.

    Args:
      optimizer: moves z.
      schedule: its learning rate, by whose square z counts in the average.
      b1: share of the average in the parameters that are trained.
    """
    # optax counts from 1 where optimizers count from 0.
    return optax.contrib.schedule_free(optimizer, lambda count: schedule(count - 1), b1)


def averaged_parameters(opt_state: Any, params: Any) -> Any:
    """Returns x, or None if the optimizer is not schedule-free.

    Args:
      opt_state: state of the optimizer.
      params: y.
    """

    def is_average(node) -> bool:
        return isinstance(node, optax.contrib.ScheduleFreeState)

    states = [node for node in jax.tree.leaves(opt_state, is_leaf=is_average) if is_average(node)]
    if not states:
        return None
    b1, moved = states[0].b1, _by_path(states[0].z)  # frozen parameters have no z

    def evaluated(path, y):
        z = moved.get(jax.tree_util.keystr(path))
        return y if z is None else (y - (1 - b1) * z) / b1

    return jax.tree_util.tree_map_with_path(evaluated, params)


def _by_path(tree: Any) -> dict[str, jax.Array]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path): leaf for path, leaf in leaves}
