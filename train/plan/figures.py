"""The figures of a recipe on one or several TPU slices."""

from typing import Any

import jax
from ml_collections import ConfigDict

from train.build import register_model
from train.check import check_model, check_values
from train.plan import roofline
from train.plan.pod import Pod


def make_plans(
    config: ConfigDict, pods: list[Pod], batch_per_chip: int = 0, largest: bool = False
) -> list[dict[str, Any]]:
    """Returns the figures of the recipe's step on each slice, see `roofline.step_figures`.

    Args:
      config: a recipe.
      pods: the slices; all get the same batch per chip.
      batch_per_chip: replaces the recipe's batch size; 0 keeps that on the first slice.
      largest: whether to search for the largest batch that fits, by a few more compilations.

    Raises:
      TrainError: a value of the recipe cannot be, or the batch does not fit the slice.
    """
    check_values(config)
    config = register_model(config)
    check_model(config)
    jax.config.update("jax_enable_compilation_cache", False)  # compile time is one of the figures
    plans = []
    for pod in pods:
        plan = roofline.step_figures(config, pod, batch_per_chip)
        batch_per_chip = plan["batch_per_chip"]
        if largest:
            plan |= _largest_batch(config, pod, plan)
        plans.append(plan)
    return plans


def _largest_batch(config: ConfigDict, pod: Pod, plan: dict) -> dict:
    def peak(batch: int) -> float:
        tried = plan
        if batch != plan["batch_per_chip"]:
            tried = roofline.step_figures(config, pod, batch)
        if not tried["fits"]:
            raise roofline.TooLarge(tried["memory"]["peak"], tried["memory"]["available"])
        return tried["memory"]["peak"]

    memory = plan["memory"]
    fixed = memory["parameters"] + memory["optimizer"] + memory["other_state"]
    fits, fails = roofline.largest_batch(peak, memory["available"], fixed, plan["batch_per_chip"])
    return {"largest_batch_per_chip": fits, "too_large_batch_per_chip": fails}
