"""Checks the values of a recipe, all of them before data are opened."""

import math
import re
import signal
from collections.abc import Callable
from typing import Any

import jax
from flax import errors
from ml_collections import ConfigDict

from configs.functions import is_reference
from configs.keys import flat
from input_pipeline.augment import erasing, mixing
from input_pipeline.resize import INTERPOLATIONS
from input_pipeline.transforms import RANDOM
from train import averages, schedules
from train.augmentation import make_mixing, make_policy_of
from train.build import make_loss, make_model
from train.data import model_info
from train.durations import Intervals, parse_duration
from train.errors import TrainError
from train.functions import find_all
from train.losses.distillation import KINDS
from train.metrics import reported
from train.optimizers import make_optimizer
from train.plateau import Plateau
from train.progressive import stage_configs
from train.schedule_free import SCHEDULE_FREE
from train.use.views import AVERAGES
from zoo.representation import REPRESENTATIONS

_BUCKET = re.compile(r"[a-z0-9+]{2,}://")
Rule = tuple[Callable[[Any], bool], str]  # whether a value can be, and which values can


def check_values(config: ConfigDict) -> None:
    """Raises TrainError if a value of the recipe cannot be; the message names all such keys."""
    problems = []
    for key, value in flat(config.to_dict()).items():
        if (rule := RULES.get(key)) and not _holds(rule[0], value):
            problems.append(f"{key}={value!r}: it has to be {rule[1]}.")
    if problems:
        raise TrainError("\n".join(problems))


def check_model(config: ConfigDict) -> None:
    """Raises TrainError if a recipe names what there is not, or with options that do not fit."""
    info = model_info(config.model.name)
    model = make_model(config.model, config.model.num_classes or 10)
    make_loss(config.loss)
    metrics = reported(config.eval.metrics).names
    callbacks = find_all("eval.callbacks", config.eval.callbacks)
    best, known = config.checkpoint.best.removeprefix("-"), ("loss", "top1", "top5", *metrics)
    if best and best.removeprefix("raw_") not in known and not callbacks:  # which may give it
        raise TrainError(
            f"checkpoint.best={config.checkpoint.best}: evaluations have {', '.join(known)}."
        )
    for stage in stage_configs(config):
        check_values(stage)
    for key in ("operations", "host_operations"):
        find_all(f"augment.{key}", config.augment[key])
    make_policy_of(config.augment)
    make_mixing(config, num_classes=10, examples=1)
    epoch = Intervals(total=1, log=1, evaluate=1, checkpoint=1, steps_per_epoch=1.0)
    schedule = schedules.make_schedule(config, epoch)
    make_optimizer(config.optimizer, schedule)
    if isinstance(schedule, Plateau) and schedule.rule.name not in known and not callbacks:
        raise TrainError(
            f"schedule.options.metric={schedule.rule.metric}: evaluations have {', '.join(known)}."
        )
    average = averages.make_average(config, lambda duration: 1, reestimated=False)
    if average and config.optimizer.name in SCHEDULE_FREE:
        raise TrainError(
            f"optimizer.name={config.optimizer.name} has an average of its own: leave out "
            "ema.decay and swa.start."
        )
    _check_sizes(config, model, info)


def _check_sizes(config: ConfigDict, model: Any, info: Any) -> None:
    """Raises TrainError if the model does not take images of the sizes of the recipe."""
    size, eval_size = config.data.image_size, config.eval.image_size

    def images(side: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((1, side, side, info.channels), config.model.dtype)

    if not eval_size and size in (0, info.image_size):
        return
    key, side = "data.image_size", size or info.image_size
    try:
        variables = jax.eval_shape(
            model.init, jax.eval_shape(lambda: jax.random.key(0)), images(side)
        )
        if eval_size:
            key, side = "eval.image_size", eval_size
            jax.eval_shape(model.apply, variables, images(eval_size))
    except (ValueError, errors.ScopeParamShapeError) as error:
        raise TrainError(f"{key}={side}: {error}") from error


def _holds(predicate: Callable[[Any], bool], value: Any) -> bool:
    try:
        return bool(predicate(value))
    except (TypeError, ValueError, OverflowError, IndexError, AttributeError, re.error, TrainError):
        return False


def _whole(low: int, high: float = math.inf) -> Rule:
    text = f"a whole number from {low}" + (f" to {high}" if high < math.inf else " on")
    return lambda value: value == int(value) and low <= value <= high, text


def _number(low: float, high: float = math.inf, *, above: bool = False, below: bool = False):
    """A finite number in [low, high], without an end that is excluded."""

    def holds(value: Any) -> bool:
        over = value > low if above else value >= low
        return over and (value < high if below else value <= high) and math.isfinite(value)

    text = f"a number {'above' if above else 'from'} {low}" + ("" if above else " on")
    if high < math.inf:
        text = f"a number {'above' if above else 'from'} {low} {'below' if below else 'to'} {high}"
    return holds, text


def _one_of(*names: str) -> Rule:
    return lambda value: value in names, f"one of {', '.join(names)}"


def _duration(value: str, allowed: Callable[[float], bool] = lambda number: True) -> bool:
    return allowed(parse_duration(value)[0])


def _is_local(folder: str) -> bool:
    return not _BUCKET.match(folder)


_FOLDER: Rule = (
    _is_local,
    "a folder of this machine: mount a bucket first (gcsfuse, mountpoint-s3)",
)
_SIGNALS: Rule = (
    lambda value: set(value) <= signal.Signals.__members__.keys() - {"SIGKILL", "SIGSTOP"},
    'names of signals that can be caught, such as ("SIGTERM", "SIGUSR1")',
)
_EVERY: Rule = (
    _duration,
    'a duration such as "2 epochs", "500 steps" or "60000 examples"; 0 means only at the end',
)
_EXPRESSION: Rule = (lambda value: re.compile(value) is not None, "a regular expression")
_NAMES: Rule = (
    lambda value: isinstance(value, tuple) and all(map(is_reference, value)),
    'names of functions in parentheses, such as ("my_module:my_function",)',
)
_DURATION: Rule = (_duration, 'a duration such as "2.5 epochs" or "500 steps"')

RULES: dict[str, Rule] = {
    "seed": _whole(0, 2**32 - 1),
    "batch_size": _whole(1),
    "duration": (
        lambda value: _duration(value, lambda number: number > 0),
        'a duration above 0, such as "90 epochs", "2.5 epochs", "500 steps" or "60000 examples"',
    ),
    "batch_norm": _one_of("global", "per_device"),
    "model.num_classes": _whole(0),
    "init.skip": _EXPRESSION,
    "init.zeros": _EXPRESSION,
    "data.dir": _FOLDER,
    "data.manual_dir": _FOLDER,
    "data.name": (lambda value: _is_local(value.removeprefix("folder:")), _FOLDER[1]),
    "data.image_size": _whole(0),
    "data.max_pixels": _whole(1),
    "data.held_out": _number(0, 1, above=True, below=True),
    "data.split_seed": _whole(0),
    "data.class_order": _one_of("sorted", "natural"),
    "data.on_device": _one_of("auto", "yes", "no"),
    "data.workers": _whole(-1),
    "data.unreadable": _one_of("stop", "skip"),
    "augment.crop": _one_of("none", "random_resized", "resize_random", "padded", "center"),
    "augment.padding": _whole(0),
    "augment.padding_mode": _one_of("constant", "reflect", "edge", "symmetric"),
    "augment.area": (
        lambda value: 0 < value[0] <= value[1] <= 1 and len(value) == 2,
        "two fractions of the image, the smaller one first, above 0 and up to 1",
    ),
    "augment.ratio": (
        lambda value: 0 < value[0] <= value[1] < math.inf and len(value) == 2,
        "two ratios of width to height above 0, the smaller one first",
    ),
    "augment.resize": (
        lambda value: 1 <= value[0] <= value[1] and len(value) == 2,
        "two sizes in pixels, the smaller one first",
    ),
    "augment.interpolation": _one_of(*INTERPOLATIONS, RANDOM),
    "augment.color_jitter": (
        lambda value: (
            len(value) == 4 and min(value) >= 0 and max(value[:3]) < 10 and value[3] <= 0.5
        ),
        "four numbers from 0 on, for brightness, contrast, saturation and hue (up to 0.5)",
    ),
    "augment.lighting": _number(0),
    "augment.representation": (
        lambda value: value == "" or set(value.split("+")) <= set(REPRESENTATIONS),
        f"of {', '.join(REPRESENTATIONS)}, with a plus between several",
    ),
    "augment.erasing": _number(0, 1),
    "augment.erasing_mode": _one_of(*erasing.MODES),
    "augment.erasing_count": _whole(1),
    "augment.erasing_area": (
        lambda value: 0 < value[0] <= value[1] < 1 and len(value) == 2,
        "two fractions of the image, the smaller one first, above 0 and below 1",
    ),
    "augment.erasing_aspect": (
        lambda value: 0 < value[0] <= value[1] < math.inf and len(value) == 2,
        "two ratios of height to width above 0, the smaller one first",
    ),
    "augment.repeats": _whole(1),
    "augment.views": _whole(1),
    "mix.mixup": _number(0),
    "mix.cutmix": _number(0),
    "mix.switch_probability": _number(0, 1),
    "mix.probability": _number(0, 1),
    "mix.mode": _one_of(*mixing.MODES),
    "mix.convention": _one_of(*mixing.CONVENTIONS),
    "mix.group": _whole(0),
    "mix.off_after": (
        lambda value: not value or _duration(value),
        'a duration such as "270 epochs", or nothing',
    ),
    "loss.label_smoothing": _number(0, 1, below=True),
    "loss.auxiliary_weights": (
        lambda value: all(0 <= weight < math.inf for weight in value),
        "numbers from 0 on, one per auxiliary head",
    ),
    "loss.reject_class_logit": (
        lambda value: value is None or math.isfinite(value),
        "a finite number, or None",
    ),
    "distillation.kind": _one_of(*KINDS),
    "distillation.alpha": _number(0, 1),
    "distillation.temperature": _number(0, above=True),
    "optimizer.weight_decay": _number(0),
    "optimizer.weight_decay_exclude": _EXPRESSION,
    "optimizer.clip_norm": _number(0),
    "optimizer.clip_value": _number(0),
    "optimizer.clip_agc": _number(0),
    "optimizer.clip_agc_eps": _number(0, above=True),
    "optimizer.accumulate": _whole(1),
    "optimizer.sam_radius": _number(0),
    "optimizer.freeze": _EXPRESSION,
    "optimizer.layer_decay": _number(0, 1, above=True),
    "optimizer.multipliers": (
        lambda value: all(re.compile(e) is not None and 0 <= f < math.inf for e, f in value),
        'pairs of a regular expression and a number from 0 on, such as (("^head", 10.0),)',
    ),
    "schedule.learning_rate": _number(0, above=True),
    "schedule.per": _one_of("step", "epoch"),
    "schedule.warmup": _DURATION,
    "schedule.cooldown": _DURATION,
    "schedule.convention": _one_of(*schedules.CONVENTIONS),
    "schedule.start": _number(0),
    "schedule.end": _number(0),
    "schedule.boundaries": (
        lambda value: all(map(_duration, value)),
        'durations such as ("30 epochs", "60 epochs")',
    ),
    "schedule.factors": (
        lambda value: all(0 <= factor < math.inf for factor in value),
        "numbers from 0 on, one per boundary",
    ),
    "progressive.stages": _whole(1),
    "progressive.image_size": (
        lambda value: all(size == int(size) and size >= 1 for size in value),
        "sizes in pixels, one per stage",
    ),
    "progressive.changes": (
        lambda value: all(isinstance(key, str) and len(values) for key, values in value),
        "pairs of a key and its values, one per stage, such as "
        '(("model.options.dropout", (0.1, 0.2, 0.3)),)',
    ),
    "ema.decay": _number(0, 1, below=True),
    "ema.convention": _one_of(*averages.CONVENTIONS),
    "ema.every": _DURATION,
    "ema.start": _DURATION,
    "swa.start": (lambda value: not value or _duration(value), _DURATION[1] + ', or ""'),
    "swa.every": _DURATION,
    "batch_norm_images": _whole(0),
    "augment.operations": _NAMES,
    "augment.host_operations": _NAMES,
    "eval.metrics": (
        lambda value: isinstance(value, tuple) and all(isinstance(x, str) for x in value),
        'names of metrics in parentheses, such as ("precision_macro", "my_module:my_function")',
    ),
    "eval.views": _one_of("center", "flip", "ten_crop", "ten_crop_square", "googlenet_144"),
    "eval.average": _one_of(*AVERAGES),
    "eval.image_size": _whole(0),
    "eval.callbacks": _NAMES,
    "checkpoint.best": (
        lambda value: re.fullmatch(r"-?[\w.]+|", value) is not None,
        'the name of a figure of the evaluation, such as "top1" or "-loss", or nothing',
    ),
    "eval.every": _EVERY,
    "eval.batch_size": _whole(0),
    "eval.crop": _number(0, 1),
    "eval.interpolation": _one_of(*INTERPOLATIONS),
    "log.every": _EVERY,
    "checkpoint.every": _EVERY,
    "checkpoint.keep": _whole(2),
    "signals.stop": _SIGNALS,
    "signals.save": _SIGNALS,
    "mesh.data": _whole(0),
    "mesh.fsdp": _whole(1),
    "hosts.count": _whole(1),
    "hosts.index": _whole(0),
    "hosts.timeout": _whole(1),
}
