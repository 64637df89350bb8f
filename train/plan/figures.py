"""The figures of a recipe on slices of TPUs, one after the other."""

import jax

from train.plan import roofline


def make_plans(config, pods: list, batch_per_chip: int = 0, largest: bool = False) -> list[dict]:
    """The figures of the recipe's step on each slice, with the same batch a chip on all."""
    jax.config.update("jax_enable_compilation_cache", False)  # compile seconds are a figure too
    plans = []
    for pod in pods:
        plan = roofline.step_figures(config, pod, batch_per_chip)
        batch_per_chip = plan["batch_per_chip"]
        if largest:
            plan |= _largest_batch(config, pod, plan)
        plans.append(plan)
    return plans


def _largest_batch(config, pod, plan: dict) -> dict:
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
