"""Optimizers, clipping and averages of recipes, equal to the goldens of their references."""

import functools
import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs import base
from train.averages import make_average
from train.gradients import sharpness_aware
from train.optimizers import make_optimizer

pytestmark = pytest.mark.usefixtures("float64")

NAMES = {
    **{"sgd_caffe": "caffe_sgd", "adamw_mask": "adamw", "adam_rate_groups": "adam"},
    **{"lamb_mask": "lamb", "sam": "sgd", "sam_adamw": "adamw"},
    **dict.fromkeys(("sgd_clip_norm", "sgd_clip_value", "sgd_agc"), "sgd"),
}
OPTIONS = {
    **{"alpha": "decay", "trust_coeff": "trust_coefficient", "adjust_lr_fn": "adjust"},
    **{name: name for name in ("momentum", "nesterov", "momentum_decay", "rho", "eps")},
    **{name: name for name in ("initial_accumulator_value", "grad_averaging", "trust_clip")},
    **{name: name for name in ("always_adapt", "centered", "ns_steps", "coefficients")},
}
PATHS = {"w": "^layer/kernel$", "b": "^layer/bias$", "v": "^v$"}


# What a case says beside its constants.
TEXT = {"id", "optimizer", "source", "note", "decay", "problem", "start", "losses", "v", "w", "b"}
READ = {"betas", "rho", "adaptive", "clip_norm", "max_grad_norm", "clip_value", "clip_factor"}
READ |= {"weight_decay", "lr", "learning_rates"}


def read(folder):
    path = folder / "optimizers.json"
    return json.loads(path.read_text()) if path.is_file() else {}


def trajectories(folder):
    content = read(folder)
    shared = {name: content.get(name) for name in ("problem", "start")}
    found, seen = {}, set()
    for key, case in content.items():
        if re.match(r"\d+-", key):
            # By default the first of each optimizer, with `-m recipe_goldens` all.
            mark = pytest.mark.full if case["optimizer"] in seen else pytest.mark.quick
            found[key] = pytest.param(shared | case, marks=mark)
            seen.add(case["optimizer"])
    return found


def clippings(folder):
    return dict(enumerate(read(folder).get("clipping", [])))


def averages(folder):
    content = read(folder)
    return {
        f"{number}-{case['rule'].split()[0]}": case | {"sequence": content["sequence"]}
        for number, case in enumerate(content.get("moving_averages", []))
    }


def recipe_of(case):
    """The section `optimizer`, and the learning rate of each step."""
    config, name = base.get_config().optimizer, case["optimizer"]
    config.name = NAMES.get(name, name)
    unknown = case.keys() - TEXT - READ - OPTIONS.keys()
    assert not unknown, f"{name}: what are the constants {sorted(unknown)}?"
    options = {OPTIONS[key]: case[key] for key in case.keys() & OPTIONS.keys()}
    if "betas" in case:
        options |= dict(zip(("b1", "b2"), case["betas"], strict=True))
    if name.startswith("sam"):
        config.sam_radius, config.sam_adaptive = options.pop("rho"), case.get("adaptive", False)
    config.clip_norm = case.get("clip_norm") or case.get("max_grad_norm") or 0.0
    config.clip_value = case.get("clip_value", 0.0)
    if "clip_factor" in case:
        config.clip_agc, config.clip_agc_eps = case["clip_factor"], options.pop("eps")
    decay, rate = case.get("weight_decay", 0.0), case.get("lr")
    if isinstance(decay, dict):
        without = [PATHS[key] for key, value in decay.items() if value == 0]
        config.weight_decay_exclude, decay = "|".join(without), max(decay.values())
    config.weight_decay = decay
    if isinstance(rate, dict):
        frozen = [PATHS[key] for key, value in rate.items() if value == 0]
        peak = max(rate.values())
        config.freeze = "|".join(frozen)
        config.multipliers = tuple((PATHS[key], x / peak) for key, x in rate.items() if x)
        rate = peak
    if config.name == "muon":  # which alone is optimized
        config.freeze = f"{PATHS['b']}|{PATHS['v']}"
    with config.unlocked():
        config.options = options
    steps = len(case["v"])
    return config, jnp.array(case.get("learning_rates", [rate] * steps))


@functools.cache
def value_and_gradient(problem):
    """One program for all trajectories of a problem."""
    random = np.random.RandomState(int(re.search(r"RandomState\((\d+)\)", problem)[1]))
    shapes = re.findall(r"[XYc] = r\.standard_normal\(([\d(), ]+)\);", problem)
    x, y, c = (random.standard_normal(eval(shape)) for shape in shapes)
    numbers, over = re.search(r"a = \(([\d, ]+)\)/(\d+)", problem).groups()
    a = np.array([int(number) for number in numbers.split(",")]) / int(over)
    factor, rate = map(float, re.search(r"\+ ([\d.]+)\*sum\(sin\(([\d.]+) v", problem).groups())

    def loss(params):
        layer, v = params["layer"], params["v"]
        error = jnp.tanh(x @ layer["kernel"] + layer["bias"][None]) - y
        waves = factor * jnp.sin(rate * v).sum()
        return (error**2).mean() + (a * (v - c) ** 2).sum() / 2 + waves

    return jax.jit(jax.value_and_grad(loss))


@pytest.mark.recipe_goldens(case=trajectories)
def test_trajectory(case):
    config, rates = recipe_of(case)
    loss = value_and_gradient(case["problem"])
    start = {name: np.array(value) for name, value in case["start"].items()}
    params = {"layer": {"kernel": start["w"].T, "bias": start["b"]}, "v": start["v"]}
    params = jax.tree.map(jnp.asarray, params)
    optimizer = make_optimizer(config, lambda count: rates[count])

    def gradient(params, _):
        value, gradients = loss(params)
        return gradients, None, value

    gradient = sharpness_aware(gradient, config.sam_radius, config.sam_adaptive)
    state, found, losses = optimizer.init(params), [], []
    for _ in case["v"]:  # operation by operation: a program for each case would take a second
        gradients, _, value = gradient(params, None)
        updates, state = optimizer.update(gradients, state, params)
        params = optax.apply_updates(params, updates)
        losses.append(value)
        layer = params["layer"]
        found.append({"w": layer["kernel"].T, "b": layer["bias"], "v": params["v"]})
    losses.append(loss(params)[0])

    largest = max(np.abs(found[-1][name] - start[name]).max() for name in start)
    loose = config.clip_norm and "torch" in case["source"]
    tolerance = (2e-7 if loose else 1e-9) * largest
    np.testing.assert_allclose([x["v"] for x in found], case["v"], rtol=0, atol=tolerance)
    for name in ("w", "b"):
        for step_done, expected in case[name].items():
            np.testing.assert_allclose(
                found[int(step_done) - 1][name], expected, rtol=0, atol=tolerance
            )
    np.testing.assert_allclose(losses, case["losses"], rtol=2e-7 if loose else 1e-9)


@pytest.mark.quick
@pytest.mark.recipe_goldens(case=clippings)
@pytest.mark.parametrize("kind", ["norm", "value", "agc"])
def test_clipping(case, kind):
    random = np.random.RandomState(case["seed"])
    shapes = {name: np.shape(case["results"]["value"][name]) for name in ("conv", "dense", "bias")}
    sizes = {"conv": 0.1, "dense": 0.1, "bias": 0.01}
    params = {name: sizes[name] * random.standard_normal(shape) for name, shape in shapes.items()}
    gradients = {
        name: case["scale"] * 0.01 * random.standard_normal(shape) for name, shape in shapes.items()
    }
    config = base.get_config().optimizer
    config[f"clip_{kind}"] = case["clip_factor" if kind == "agc" else kind]
    config.clip_agc_eps = case["eps"]
    optimizer = make_optimizer(config, optax.constant_schedule(1.0))
    params = to_ours(params)
    updates, _ = optimizer.update(to_ours(gradients), optimizer.init(params), params)
    for name, expected in to_ours(case["results"][kind]).items():
        np.testing.assert_allclose(-updates[name], expected, rtol=1e-5 if kind == "norm" else 1e-9)
    norm = np.sqrt(sum((x**2).sum() for x in gradients.values()))
    assert norm == pytest.approx(case["results"]["global_norm"], rel=1e-12)


def to_ours(tree):
    """PyTorch's layouts [out, in, height, width] and [out, in] in ours."""
    conv, dense, bias = (jnp.array(tree[name]) for name in ("conv", "dense", "bias"))
    return {
        "conv/kernel": conv.transpose(2, 3, 1, 0),
        "dense/kernel": dense.T,
        "dense/bias": bias,
    }


@pytest.mark.quick
@pytest.mark.recipe_goldens(case=averages)
def test_average(case):
    config, rule = base.get_config(), case["rule"]
    if rule.startswith("stochastic"):
        first, second = map(int, re.findall(r"\d+", rule)[:2])
        config.swa.start, config.swa.every = f"{first} steps", f"{second - first} steps"
    else:
        known = ("timm", "TensorFlow", "torchvision")
        assert rule.startswith(known), f"No average {rule!r} is known to this test."
        config.ema.decay = case["decay"]
        config.ema.convention = rule.split()[0].lower()
        config.ema.every = f"{case.get('every', 1)} steps"
        config.ema.start = f"{case.get('update_after_step', 0)} steps"
        options = ("use_warmup", "warmup_gamma", "warmup_power", "min_decay")
        with config.ema.unlocked():
            config.ema.options = {name: case[name] for name in options if name in case}
    average = make_average(config, lambda duration: int(duration.split()[0]), reestimated=False)
    if average.convention == "swa":
        average = average.__class__(**vars(average) | {"batch_stats": False})
    seed, rows = map(
        int, re.search(r"RandomState\((\d+)\)\.standard_normal\(\((\d+)", case["sequence"]).groups()
    )
    sequence = np.random.RandomState(seed).standard_normal((rows, 3)).cumsum(0)
    state, found, decays = average.init(jnp.array(sequence[0]), {}), [], []
    update = jax.jit(average.update)
    for step, params in enumerate(sequence[1:]):
        decays.append(average.rate(jnp.int32(step)))
        state = update(jnp.int32(step), state, jnp.array(params))
        found.append(state)
    np.testing.assert_allclose(found, case["ema"], rtol=1e-9)
    if "decay_at_step" in case:
        np.testing.assert_allclose(decays, case["decay_at_step"], rtol=1e-9)
