"""What a run that goes on may change, and what it may not."""

import json

import pytest

from configs import base
from train.durations import Intervals
from train.errors import TrainError
from train.settings import check_duration, check_settings, write_classes, write_settings

pytestmark = pytest.mark.quick


@pytest.fixture
def run(tmp_path):
    """A workdir in which something was trained with the default recipe."""
    write_settings(tmp_path, base.get_config())
    (tmp_path / "metrics.jsonl").write_text('{"split": "train", "step": 1}\n')
    return tmp_path


def changed(**values):
    config = base.get_config()
    for key, value in values.items():
        config.update_from_flattened_dict({key.replace("__", "."): value})
    return config


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize(
    "values",
    [
        *({"batch_size": 4}, {"seed": 1}, {"model__name": "mlp"}, {"data__name": "cifar10"}),
        *({"schedule__learning_rate": 0.3}, {"augment__flip": True}, {"batch_norm": "per_device"}),
        *(
            {"loss__reject_class_logit": 1.0},
            {"ema__decay": 0.9},
            {"data__train_split": "train[:9]"},
        ),
    ],
)
def test_other_settings_are_refused_and_nothing_is_written(run, values):
    before, (key,) = content(run), (key.replace("__", ".") for key in values)
    with pytest.raises(TrainError, match=f"other settings: {key} was .* and is now"):
        check_settings(run, changed(**values, duration="20 epochs"))
    assert content(run) == before


def test_options_are_settings_too(run):
    config = base.get_config()
    with config.optimizer.options.unlocked():
        config.optimizer.options.momentum = 0.9
    with pytest.raises(TrainError, match=r"optimizer.options.momentum was None and is now 0.9"):
        check_settings(run, config)


@pytest.mark.parametrize(
    "values",
    [
        *({"duration": "20 epochs"}, {"eval__every": "2 epochs"}, {"log__every": "7 steps"}),
        *({"checkpoint__keep": 5}, {"data__workers": 3}, {"data__unreadable": "skip"}),
        *({"mesh__fsdp": 2}, {"hosts__timeout": 5}, {"compile_cache": ""}, {"data__dir": "/x"}),
    ],
)
def test_what_trains_alike_may_change_and_is_told(run, values, capsys):
    config = changed(**values)
    check_settings(run, config)
    write_settings(run, config)
    (key,) = (key.replace("__", ".") for key in values)
    assert f"started with other values of {key}." in capsys.readouterr().out
    assert json.loads((run / "config.json").read_text()) == json.loads(config.to_json())
    assert len(json.loads((run / "environment.json").read_text())) == 2


def test_a_run_in_which_nothing_was_trained_may_become_another(run):
    (run / "metrics.jsonl").unlink()
    (run / "checkpoints").mkdir()
    check_settings(run, changed(batch_size=4))
    (run / "checkpoints" / "0").mkdir()
    with pytest.raises(TrainError, match="batch_size"):
        check_settings(run, changed(batch_size=4))


def test_a_run_can_be_made_longer_and_not_shorter(run):
    def check(duration):
        config = changed(duration=duration)
        check_duration(run, config, Intervals.from_config(config, examples=1280))

    for duration in ("10 epochs", "100 steps", "12800 examples", "11 epochs"):
        check(duration)
    with pytest.raises(TrainError, match="run of 10 epochs .100 steps.*now 99 steps"):
        check("99 steps")


def test_keys_that_are_younger_than_the_run_had_their_defaults(run):
    recipe = json.loads((run / "config.json").read_text())
    del recipe["ema"], recipe["loss"]["label_smoothing"]
    recipe["loss"]["rubbish_logit"] = recipe["loss"].pop("reject_class_logit")
    (run / "config.json").write_text(json.dumps(recipe))
    check_settings(run, base.get_config())
    with pytest.raises(TrainError, match="ema.decay was 0.0 and is now 0.9"):
        check_settings(run, changed(ema__decay=0.9))


@pytest.mark.parametrize("damaged", ["", '{"seed": ', "3", "null", "[]", "\x00" * 9, "[" * 10**5])
def test_notes_that_cannot_be_read_stop_nothing(run, damaged, capsys):
    for name in ("config.json", "environment.json"):
        (run / name).write_text(damaged)
    config = base.get_config()
    check_settings(run, config)
    check_duration(run, config, Intervals.from_config(config, 1280))
    write_settings(run, config)
    assert json.loads((run / "config.json").read_text())["seed"] == 0
    assert json.loads((run / "environment.json").read_text())[-1]["packages"]


def test_names_of_classes_stand_in_the_workdir(tmp_path):
    write_classes(tmp_path, ["Käse", "Brot"])
    assert json.loads((tmp_path / "classes.json").read_text()) == ["Käse", "Brot"]
