"""Parts of one's own: model, data, loss, metric, optimizer, schedule, augmentation, callback."""

import csv
import json
import math
import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import zoo
from configs import base, functions
from train import step
from train.__main__ import runs_of
from train.build import initial_state, make_loss, make_task, register_model, state_shapes
from train.callbacks import Callbacks
from train.check import check_model, check_values
from train.command_line import WrongCommandLine
from train.data import open_data
from train.durations import Intervals
from train.errors import TrainError
from train.loop import train_and_evaluate
from train.model_file import ModelFile
from train.optimizers import make_optimizer
from train.report import Report
from train.schedules import make_schedule
from train.settings import check_settings, write_settings
from train.sharding import make_mesh
from train.use import comparison
from zoo import registry
from zoo.weights.pretrained import read_metadata

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "own_parts.py"
INTERVALS = Intervals(total=30, log=10, evaluate=10, checkpoint=10, steps_per_epoch=10.0)


def command(folder: Path, program: str, *arguments: str) -> str:
    """What a program prints in a folder of somebody's own."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "XLA_FLAGS": ""}
    done = subprocess.run(
        [sys.executable, "-m", program, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An empty folder with the recipe, which was trained with two seeds."""
    folder = tmp_path_factory.mktemp("own")
    shutil.copy(EXAMPLE, folder)
    printed = command(folder, "train", "--config=own_parts.py", "--seeds=3,4")
    (folder / "printed.txt").write_text(printed)
    return folder


@pytest.fixture
def recipe():
    """The recipe, whose model is registered for one test only."""
    module = functions.load_file(EXAMPLE)
    registered.setdefault("small_net", registry._all_models().get("small_net"))
    registry._models["small_net"] = registered["small_net"]
    config = module.get_config()
    config.compile_cache, config.mesh.data, config.data.workers = "", 1, 0
    yield config
    del registry._models["small_net"]


registered = {}


def lines(run):
    return [json.loads(text) for text in (run / "metrics.jsonl").read_text().splitlines()]


def test_every_part_was_used(folder):
    run = folder / "runs" / "own_parts" / "seed-3"
    evaluations = [line for line in lines(run) if line["split"] == "eval"]
    assert [line["step"] for line in evaluations] == [10, 20, 30]
    for line in evaluations:
        assert line["top1"] == 1 and 0.5 < line["confidence"] < 1  # the metric
        assert float((run / f"norm-{line['step']}.txt").read_text()) == pytest.approx(line["norm"])
    rates = [line["learning_rate"] for line in lines(run) if line["split"] == "train"]
    assert rates == pytest.approx([0.1 * (0.2 + 0.8 * 28 / 30)])  # after step 30, that of step 29
    settings = json.loads((run / "config.json").read_text())
    assert settings["loss"]["name"] == f"{folder / 'own_parts.py'}:hinge"
    assert settings["model"]["name"] == "small_net" and settings["seed"] == 3


@pytest.mark.parametrize("seeds", ["0,0", "1,01", "a", "1,-2"])
def test_seeds_that_are_none_are_told(seeds):
    with pytest.raises(WrongCommandLine, match="different whole numbers"):
        runs_of(base.get_config(), "runs/x", seeds.split(","))


def test_seeds_are_runs_with_a_table(folder):
    printed = (folder / "printed.txt").read_text()
    assert "Run 2 of 2: runs/own_parts/seed-4" in printed
    header, row = printed.strip().splitlines()[-2:]
    assert header.split()[:4] == ["run", "seeds", "steps", "top1"]
    assert row.split()[:4] == ["runs/own_parts", "2", "30", "100.00"]
    losses = [lines(folder / "runs" / "own_parts" / f"seed-{s}")[-1]["loss"] for s in (3, 4)]
    assert losses[0] != losses[1]


def test_the_best_evaluation_is_kept(folder):
    run = folder / "runs" / "own_parts" / "seed-3"
    norms = {line["step"]: line["norm"] for line in lines(run) if line["split"] == "eval"}
    best = read_metadata(run / "best.safetensors")
    assert best["step"] == min(norms, key=norms.get) and best["metrics"]["norm"] == min(
        norms.values()
    )
    assert read_metadata(run / "model.safetensors")["step"] == 30


@pytest.mark.full
def test_runs_are_compared(folder):
    other = ["--config.duration=2 epochs", "--config.loss.options.margin=1.0", "--workdir=runs/two"]
    command(folder, "train", "--config=own_parts.py", *other)
    runs = ["runs/own_parts/seed-3", "runs/two", "runs/own_parts/seed-4"]
    printed = command(folder, "train.compare", *runs, "--format=csv", "--figures=loss,confidence")
    first, second = csv.DictReader(printed.splitlines())
    of_seeds = str(Path(runs[0]).parent)
    assert (first["run"], first["seeds"], first["loss.options.margin"]) == (of_seeds, "2", "0.5")
    assert (second["run"], second["seeds"], second["loss.options.margin"]) == (runs[1], "1", "1.0")
    both = [lines(folder / run)[-1]["loss"] for run in (runs[0], runs[2])]
    assert float(first["loss"]) == pytest.approx(np.mean(both))
    assert float(first["loss_spread"]) == pytest.approx(np.std(both, ddof=1))
    assert float(first["best_loss"]) <= float(first["loss"])
    assert (folder / "compare.png").read_bytes().startswith(b"\x89PNG")


def run_of(folder, top1, **settings):
    """The folder of a run with one evaluation."""
    folder.mkdir(parents=True)
    config = base.get_config()
    config.update_from_flattened_dict(settings)
    (folder / "config.json").write_text(json.dumps(config.to_dict()))
    lines = [dict(split="eval", step=1, epoch=1.0, loss=0.5, top1=top1), dict(split="eval", step=2)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_runs_of_other_recipes_in_one_folder_are_no_seeds(tmp_path):
    run_of(tmp_path / "all" / "a", 0.5, seed=0)
    run_of(tmp_path / "all" / "b", 0.7, seed=1)
    run_of(tmp_path / "all" / "c", 0.9, seed=0, **{"loss.label_smoothing": 0.1})
    groups = comparison.open_groups([str(tmp_path / "all")])
    assert [len(group.runs) for group in groups] == [2, 1]
    assert groups[0].spread("top1") == pytest.approx((0.6, 0.02**0.5))
    assert comparison.differences(groups) == {"loss.label_smoothing": [0.0, 0.1]}
    rows = comparison.rows(groups, ["top1", "loss"])
    assert "60.00 ± 14.14" in comparison.as_text(rows)
    comparison.draw(groups, tmp_path / "x.svg")  # although a line has no epoch
    assert [x.name for x in tmp_path.iterdir() if x.is_file()] == ["x.svg"]


def test_a_figure_that_is_nan_is_left_out_and_told(recipe, tmp_path, capsys):
    with Report(tmp_path, recipe, INTERVALS, start=0) as report:
        sums = {"loss": 3.0, "top1": 1.0, "ratio": math.nan, "raw_loss": math.inf, "examples": 2.0}
        line = report.evaluation_line(10, {key: jnp.float32(x) for key, x in sums.items()})
    assert "ratio" not in line and "raw_loss" not in line and line["loss"] == 1.5
    assert "Note: ratio is nan at step 10" in capsys.readouterr().out
    recipe.checkpoint.best = "ratio"
    assert not ModelFile(tmp_path, recipe, open_data(recipe))._is_best(line)
    assert "checkpoint.best=ratio is not kept" in capsys.readouterr().out


@pytest.mark.parametrize("out, arguments", [("a.npz", []), ("b.safetensors", ["--best"])])
def test_a_run_becomes_one_file(folder, recipe, out, arguments):
    run = "runs/own_parts/seed-3"
    options = [*arguments, "--import", "own_parts.py"]
    assert "small_net after" in command(folder, "train.export", run, out, *options)
    loaded = zoo.load(folder / out)
    best = zoo.load(folder / run / "best.safetensors" if arguments else folder / run)
    jax.tree.map(np.testing.assert_array_equal, loaded.variables, best.variables)
    assert loaded.preprocessing == best.preprocessing and loaded.class_names == ("dark", "bright")
    assert loaded.metrics == best.metrics and loaded.step == best.step


def test_a_run_with_a_model_of_ones_own_is_used_by_the_programs(folder):
    options = ["--import=own_parts.py", "--workdir=runs/own_parts/seed-3", "--batch_size=8"]
    printed = command(folder, "train.evaluate", *options)
    assert "top1 100.00 %" in printed and "of 60 images" in printed


def test_objects_operations_of_the_host_and_worker_processes(recipe, tmp_path, quick_compilation):
    config = functions.load_file(EXAMPLE).get_config("objects")
    config.compile_cache, config.mesh.data, config.data.workers = "", 1, 1
    config.duration, config.eval.every = "1 epoch", "0 steps"
    line = train_and_evaluate(config, tmp_path)
    assert line["examples"] == 60 and line["top1"] > 0.9


def test_the_loss_and_its_options(recipe):
    logits, labels = jnp.array([[2.0, 1.0, 0.0]]), jnp.array([1])
    assert make_loss(recipe.loss)(logits, labels).tolist() == [1.5]  # 0.5 + 2 - 1, 0.5 + 0 - 1
    recipe.loss.options = {"margins": 1}
    with pytest.raises(TrainError, match="loss.options do not fit hinge: .*margins"):
        check_model(recipe)
    recipe.loss.options = {}
    recipe.loss.label_smoothing = 0.1
    with pytest.raises(TrainError, match="loss.label_smoothing=0.1: the loss .* has no such arg"):
        check_model(recipe)


def one_value(logits, labels):
    return logits.mean()


@pytest.mark.parametrize(
    "section, key, value, message",
    [
        ("loss", "name", one_value, r"the loss of each example is \[B\], \[20\] here.*gives \[\]"),
        ("eval", "metrics", (one_value,), r"one_value has to give a value for each example"),
    ],
)
def test_values_of_another_shape_are_told(recipe, section, key, value, message):
    recipe[section][key] = value
    recipe.loss.options = {}
    data = open_data(recipe)
    task = make_task(recipe, data, INTERVALS, make_mesh(1, 1))
    batch = {"image": jnp.zeros((20, 12, 12, 1), jnp.uint8), "label": jnp.zeros(20, jnp.int32)}
    with pytest.raises(TrainError, match=message):
        state = jax.eval_shape(partial(step.init_state, task))
        jax.eval_shape(partial(step.train_step, task), state, batch)
        batch["mask"] = jnp.ones(20)
        jax.eval_shape(partial(step.eval_step, task), state, batch)


def test_the_schedule_and_its_options(recipe):
    schedule = make_schedule(recipe, INTERVALS)
    assert [round(float(schedule(s)), 4) for s in (0, 15, 30)] == [0.1, 0.02, 0.1]
    recipe.schedule.warmup = "10 steps"
    after_warmup = make_schedule(recipe, INTERVALS)
    assert [round(float(after_warmup(s)), 4) for s in (0, 5, 20)] == [0, 0.05, 0.02]


def test_the_optimizer_and_what_the_recipe_adds(recipe):
    recipe.optimizer.weight_decay, recipe.optimizer.options = 0.5, {"momentum": 0.0}
    optimizer = make_optimizer(recipe.optimizer, optax.constant_schedule(0.1))
    params = {"kernel": jnp.ones(2)}
    updates, _ = optimizer.update({"kernel": jnp.array([3.0, 0.0])}, optimizer.init(params), params)
    assert updates["kernel"].tolist() == pytest.approx([-0.1, -0.05])  # clipped at 1; decay alone


def test_operations_of_the_device_are_given_a_key_of_their_own(recipe):
    config = recipe
    task = make_task(config, open_data(config), INTERVALS, make_mesh(1, 1))
    images = jnp.full((4, 12, 12, 1), 128, jnp.uint8)
    first, again, other = (task.augment(jax.random.key(s), images) for s in (0, 0, 1))
    assert (first == again).all() and not (first == other).all()
    noise = np.asarray(first) * 0.5 * 255  # mean 0.5, deviation 0.5
    assert noise.std() == pytest.approx(3, rel=0.2)
    config.augment.operations = (top_row,)
    with pytest.raises(
        TrainError, match=r"top_row turns images \[4, 12, 12, 1\] into \[4, 1, 12, "
    ):
        wrong = make_task(config, open_data(config), INTERVALS, make_mesh(1, 1))
        jax.eval_shape(wrong.augment, jax.random.key(0), images)


def top_row(key, images):
    return images[:, :1]


def test_a_model_may_be_named_as_a_function(recipe):
    recipe.model.name = f"{EXAMPLE}:small_net"
    config = register_model(recipe)
    assert config.model.name == "small_net" and recipe.model.name.endswith(":small_net")
    recipe.model.name = "base64:b64encode"
    with pytest.raises(TrainError, match="model.name=base64:b64encode: b64encode has to take"):
        register_model(recipe)


@pytest.mark.parametrize(
    "key, value, message",
    [
        ("loss.name", "crossentropy", "loss.name='crossentropy' is not known: .*cross_entropy"),
        ("loss.name", "nowhere:f", "loss.name: nowhere:f: there is no module nowhere"),
        ("optimizer.name", "json:nothing", "optimizer.name: json:nothing: there is no function"),
        ("schedule.name", "cosin", "schedule.name='cosin' is not known: .*cosine"),
        ("eval.metrics", ("acuracy",), "eval.metrics: .acuracy. is not known; there are accuracy"),
        ("eval.metrics", (1,), "eval.metrics=.*: .* names of metrics in parentheses"),
        ("eval.metrics", ("json:dumps", "json:dumps"), "two functions of the name dumps"),
        ("eval.callbacks", ("json:nothing",), "eval.callbacks: .*no function nothing"),
        ("augment.operations", ("no.py:f",), "augment.operations: There is no file .*no.py"),
        ("data.name", "json:nothing", "data.name: .*no function nothing"),
        ("checkpoint.best", "f1", "checkpoint.best=f1: evaluations have loss, top1, top5"),
        ("checkpoint.best", "a b", "checkpoint.best='a b': it has to be the name of a figure"),
    ],
)
def test_what_there_is_not_is_told_before_anything_runs(key, value, message):
    config = base.get_config()
    section, _, name = key.partition(".")
    config[section][name] = value
    with pytest.raises(TrainError, match=message):
        check_values(config)
        check_model(config)
        open_data(config)


def returns_text(evaluation):
    return {"verdict": "good"}


def returns_loss(evaluation):
    return {"loss": 1.0}


def returns_nan(evaluation):
    return {"ratio": float("nan")}


@pytest.mark.parametrize(
    "callback, message",
    [
        (returns_text, "returns_text returns verdict='good', and figures are numbers"),
        (returns_loss, "returns_loss returns 'loss', which is there"),
        (returns_nan, "returns_nan returns ratio=nan"),
    ],
)
def test_figures_that_are_none_are_told(recipe, tmp_path, callback, message):
    recipe.eval.callbacks = (callback,)
    task = make_task(recipe, open_data(recipe), INTERVALS, make_mesh(1, 1))
    model_file = ModelFile(tmp_path, recipe, open_data(recipe))
    state = initial_state(task, state_shapes(task))
    call = Callbacks(recipe, tmp_path, task.model, model_file)
    with pytest.raises(TrainError, match=message):
        call(state, {"step": 1, "epoch": 0.1, "loss": 2.0})


def test_a_recipe_that_has_moved_goes_on(recipe, tmp_path):
    """The folder of a function's file is of no account to a run that goes on."""
    (tmp_path / "checkpoints" / "10").mkdir(parents=True)
    write_settings(tmp_path, recipe)
    recipe.loss.name = "/elsewhere/own_parts.py:hinge"
    check_settings(tmp_path, recipe)
    recipe.loss.name = "/elsewhere/own_parts.py:confidence"
    with pytest.raises(TrainError, match="loss.name was 'own_parts.py:hinge' and is now 'own_"):
        check_settings(tmp_path, recipe)
