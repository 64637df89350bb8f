"""Draws docs/schedules.png: a rate of every schedule of docs/optimizers_and_schedules.md.

python docs/tools/schedules.py
"""

from pathlib import Path

from configs import base
from train.curves import draw_rates
from train.durations import Intervals
from train.schedules import make_schedule, rates

WARM = {"warmup": "10 epochs"}
PANELS = {
    "constant, cool-down": {"name": "constant", "cooldown": "20 epochs"},
    "steps": {"name": "steps", "boundaries": ("30 epochs", "60 epochs"), "factors": (0.3, 0.3)},
    "linear": {"name": "linear"} | WARM,
    "polynomial, power 0.5": {"name": "polynomial", "options": {"power": 0.5}},
    "exponential, staircase": {
        "name": "exponential",
        "options": {"factor": 0.8, "every": "8 epochs", "staircase": True},
    },
    "restarts": {"name": "restarts", "options": {"first": "14.29 epochs", "multiply": 2}},
    "one_cycle": {"name": "one_cycle"},
    "reciprocal_sqrt": {
        "name": "reciprocal_sqrt",
        "options": {"timescale": "10 epochs"},
        "cooldown": "15 epochs",
    }
    | WARM,
    "cosine": {"name": "cosine"} | WARM,
    "cosine, timm": {"name": "cosine", "convention": "timm", "per": "epoch"}
    | WARM
    | {"warmup": "20 epochs"},
    "cosine, pycls": {
        "name": "cosine",
        "convention": "pycls",
        "start": 0.01,
        "warmup": "20 epochs",
    },
    "cosine per epoch, cool-down": {
        "name": "cosine",
        "per": "epoch",
        "end": 0.01,
        "cooldown": "20 epochs",
    },
}


def main() -> None:
    curves = {}
    for title, section in PANELS.items():
        config = base.get_config()
        config.batch_size, config.duration = 10, "100 epochs"
        with config.unlocked():
            config.schedule.update(section)
        intervals = Intervals.from_config(config, examples=200)
        steps, values = rates(make_schedule(config, intervals), intervals.total)
        curves[title] = (steps / intervals.steps_per_epoch, values)
    draw_rates(curves, Path(__file__).parents[1] / "schedules.png")


if __name__ == "__main__":
    main()
