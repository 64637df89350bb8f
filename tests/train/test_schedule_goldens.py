"""Schedules equal to the goldens of their references, as a recipe's section makes them."""

import json
import re

import jax.numpy as jnp
import numpy as np
import pytest

from configs import base
from train.durations import Intervals
from train.optimizers import make_optimizer
from train.plateau import after_evaluation, learning_rate
from train.schedules import make_schedule

pytestmark = [pytest.mark.quick, pytest.mark.usefixtures("float64")]


def schedules(folder):
    path = folder / "schedules.json"
    content = json.loads(path.read_text()) if path.is_file() else {}
    return {key: case for key, case in content.items() if re.match(r"\d+-", key)}


def recipe_of(case):
    """The recipe of a golden; an epoch is its updates, or ten where it says nothing of them."""
    config, name = base.get_config(), case["schedule"]
    config.batch_size = 1
    section, options = config.schedule, {}
    section.learning_rate = case.get("lr", case.get("peak", case.get("peak_value")))
    section.end = case.get("end", case.get("end_value", case.get("min_lr", 0.0)))
    section.start = case.get("start", case.get("warmup_lr", case.get("init_value", 0.0)))
    per_epoch = "per epoch" in case["source"]
    section.per = "epoch" if per_epoch else "step"
    unit = "epochs" if per_epoch else "steps"
    length = case.get("steps", case.get("total_steps", case.get("total", len(case["values"]))))
    length = len(case["values"]) if isinstance(length, list) else length
    total = f"{length} {unit}"
    if name == "step":
        section.name = "exponential"
        options = {"factor": case["factor"], "every": f"{case['every']} steps", "staircase": True}
    elif name == "multistep":
        section.name = "steps"
        section.boundaries = tuple(f"{x} steps" for x in case["boundaries"])
        section.factors = (case["factor"],) * len(case["boundaries"])
    elif name == "polynomial":
        section.name, options = name, {"power": case["power"]}
    elif name == "exponential":
        section.name, options = name, {"factor": case["factor"], "every": "1 step"}
    elif name == "cosine":
        section.name = name
    elif name == "cosine_restarts":
        section.name = "restarts"
        options = {"first": f"{case['first']} steps", "multiply": case["multiply"]}
    elif name == "one_cycle":
        section.name = name
        keys = ("pct_start", "anneal", "three_phase", "div_factor", "final_div_factor")
        options = {key: case[key] for key in keys}
    elif name == "warmup_linear_torch":
        section.name, section.warmup = "cosine", f"{case['warmup']} {unit}"
        section.start = case["start_factor"] * case["lr"]
    elif name == "plateau":
        section.name = name
        keys = ("factor", "patience", "threshold", "threshold_mode", "cooldown", "eps")
        options = {key: case[key] for key in keys if key in case}
        options["metric"] = "-loss" if case["mode"] == "min" else "loss"
    elif name == "exponential_staircase":
        section.name, section.convention = "exponential", "timm"
        section.warmup = f"{case['warmup']} steps"
        every = f"{case['epochs_per_decay']} epochs"
        options = {"factor": case["factor"], "every": every, "staircase": True}
    elif name == "timm_step":
        section.name, section.convention = "exponential", "timm"
        section.warmup = f"{case['warmup_epochs']} epochs"
        every = f"{case['decay_epochs']} epochs"
        options = {"factor": case["decay_rate"], "every": every, "staircase": True}
    elif name in ("timm_cosine", "timm_cosine_updates", "timm_poly"):
        section.name = "polynomial" if name == "timm_poly" else "cosine"
        options = {"power": case["power"]} if name == "timm_poly" else {}
        prefix = case.get("warmup_prefix", False)
        section.convention = "" if prefix else "timm"
        section.warmup = f"{case['warmup_epochs']} epochs"
        section.cooldown = f"{case.get('cooldown_epochs', 0)} epochs"
        epochs = case.get("epochs", len(case["values"])) + case.get("cooldown_epochs", 0)
        total = f"{epochs + (case['warmup_epochs'] if prefix else 0)} epochs"
    elif name == "convnext_cosine":
        section.name, section.convention = "cosine", "convnext"
        section.warmup, total = f"{case['warmup_epochs']} epochs", f"{case['epochs']} epochs"
    elif name in ("pycls_cos", "pycls_steps"):
        section.name, section.convention = "cosine", "pycls"
        section.warmup, total = f"{case['warmup_epochs']} epochs", f"{case['epochs']} epochs"
        section.start = case["warmup_factor"] * case["lr"]
        if name == "pycls_steps":
            later = [step for step in case["steps"] if step > 0]
            section.name, section.boundaries = "steps", tuple(f"{step} epochs" for step in later)
            section.factors = (case["factor"],) * len(later)
    elif name == "big_vision":
        kind, total = case["kind"], f"{case['total_steps']} steps"
        section.warmup = f"{case.get('warmup_steps', 0)} steps"
        section.cooldown = f"{case.get('cooldown_steps', 0)} steps"
        section.end = case.get("linear_end", 0.0)
        if kind == "rsqrt":
            section.name, options = "reciprocal_sqrt", {"timescale": f"{case['timescale']} steps"}
        elif kind == "stair":
            section.name, section.boundaries = "steps", tuple(f"{x} steps" for x in case["steps"])
            section.factors = tuple(np.divide(case["mults"], [1, *case["mults"][:-1]]))
        else:
            section.name = kind
            options = {"power": case["power"]} if kind == "polynomial" else {}
    else:
        assert name == "optax_warmup_cosine", f"No schedule {name!r} is known to this test."
        section.name, section.warmup = "cosine", f"{case['warmup_steps']} steps"
        total = f"{case['decay_steps']} steps"
    with section.unlocked():
        section.options = options
    config.duration = total
    updates = case.get("updates_per_epoch", case.get("steps_per_epoch", 10))
    return config, Intervals.from_config(config, examples=updates)


@pytest.mark.recipe_goldens(case=schedules)
def test_rates(case):
    config, intervals = recipe_of(case)
    schedule = make_schedule(config, intervals)
    if "metric" in case:
        found = rates_on_plateaus(config, schedule, case["metric"])
    else:
        first = 1 if config.schedule.per == "step" else round(intervals.steps_per_epoch)
        found = [schedule(jnp.int32(t * first)) for t in range(len(case["values"]))]
    loose = any(name in case["source"] for name in ("big_vision", "optax"))
    tolerance = 1e-6 if loose else 1e-9
    np.testing.assert_allclose(found, case["values"], rtol=tolerance, atol=1e-15)
    if config.schedule.per == "epoch":  # constant within an epoch
        some = [0, 3, len(found) // 2]
        last = [schedule(jnp.int32((t + 1) * first - 1)) for t in some]
        np.testing.assert_array_equal(last, [found[t] for t in some])


def rates_on_plateaus(config, schedule, figures):
    """The rate before each evaluation: that of the report, which is that of the update."""
    optimizer = make_optimizer(config.optimizer, schedule)
    params = {"x": jnp.zeros(())}
    state, found = optimizer.init(params), []
    for step, figure in enumerate(figures):
        found.append(learning_rate(schedule, state, step))
        if step % 25 == 0:
            updates, _ = optimizer.update({"x": jnp.ones(())}, state, params)
            np.testing.assert_allclose(-updates["x"], found[-1], rtol=1e-12)
        state = after_evaluation(state, {"loss": figure})
    return found
