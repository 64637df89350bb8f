"""Messages of input_pipeline are about its own arguments; train adds the config keys."""

import ast
import re
from pathlib import Path

import pytest

import input_pipeline
from configs import base
from configs.keys import flat
from input_pipeline import DataError, UnreadableImage
from train.errors import CONFIG_KEYS, config_keys_in_errors
from train.loop import train_and_evaluate

ROOT = Path(__file__).parents[2]


def test_keys_are_added_once():
    with pytest.raises(UnreadableImage) as caught, config_keys_in_errors(), config_keys_in_errors():
        raise UnreadableImage("Set on_unreadable='skip', or data_dir.")
    expected = "Set on_unreadable='skip', or data_dir. (For python -m train, data_dir is "
    expected += "--config.data.dir, on_unreadable is --config.data.unreadable.)"
    assert str(caught.value) == expected


def test_other_messages_stay_as_they_are():
    error = DataError("The labels are wrong.")
    with pytest.raises(DataError) as caught, config_keys_in_errors():
        raise error
    assert caught.value is error


def test_the_keys_exist():
    config = base.get_config()
    for key in CONFIG_KEYS.values():
        assert config[key] is not None


def test_keys_that_messages_name_exist():
    empty = {f"{name}.options" for name in ("model", "optimizer", "schedule", "ema", "loss")}
    known = flat(base.get_config().to_dict()).keys() | empty
    sections = "|".join({key.partition(".")[0] for key in known if "." in key})
    named = set()
    for path in (ROOT / "train").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                named |= set(re.findall(rf"(?<![\w.`])(?:{sections})\.[a-z_]+\b(?!\()", node.value))
    files = {"model.safetensors", "init.json", "data.md"}
    assert len(named) > 30 and named - files <= known, named - known


def test_a_run_names_them(tmp_path):
    config = base.get_config()
    config.compile_cache = ""
    config.data.name, config.data.dir = "imagenet2012", str(tmp_path)
    with pytest.raises(DataError, match="data_dir is --config.data.dir"):
        train_and_evaluate(config, tmp_path / "run")


def test_input_pipeline_knows_no_config_keys():
    for path in Path(input_pipeline.__file__).parent.rglob("*.py"):
        if path.name == "show.py":  # starts a program of train by its name
            continue
        assert not re.search(r"\bconfig\.|--config", path.read_text()), path
