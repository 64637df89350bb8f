"""Renamed keys: the old name works, with a warning, wherever a key is written."""

import copy
import json
import pickle

import pytest

from configs import base, keys, lenet, lenet5_1998
from train.command_line import find_recipe, parse

# ml_collections loads recipes by it.
LOAD_MODULE = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")


def test_an_old_name_sets_and_reads_the_new_key():
    config = base.get_config()
    with pytest.warns(FutureWarning, match="loss.rubbish_logit is now loss.reject_class_logit"):
        config.loss.rubbish_logit = -2.0
    assert config.loss.reject_class_logit == -2.0
    for read in (lambda: config.loss.rubbish_logit, lambda: config["loss"]["rubbish_logit"]):
        with pytest.warns(FutureWarning) as caught:
            assert read() == -2.0
        assert caught[0].filename == __file__  # the line that needs a change
    assert "rubbish_logit" not in config.loss.keys() and "rubbish_logit" not in config.to_json()


def test_an_old_name_has_the_keys_type():
    with pytest.warns(FutureWarning), pytest.raises(TypeError):
        base.get_config().loss.rubbish_logit = "much"


@pytest.mark.parametrize("way", [copy.deepcopy, lambda c: pickle.loads(pickle.dumps(c))])
def test_copies_know_the_old_names(way):
    config = way(lenet5_1998.get_config())
    with pytest.warns(FutureWarning):
        config.loss.rubbish_logit = -3.0
    assert config.loss.reject_class_logit == -3.0


@LOAD_MODULE
def test_an_old_name_works_on_the_command_line():
    arguments = ["train", "--config=lenet5_1998", "--config.loss.rubbish_logit=-0.5"]
    with pytest.warns(FutureWarning, match="loss.rubbish_logit is now loss.reject_class_logit"):
        assert parse(arguments).loss.reject_class_logit == -0.5


def test_new_names_do_not_warn(recwarn):
    config = lenet.get_config("smoke")
    config.loss.reject_class_logit = -1.0
    assert not recwarn.list and config.loss.reject_class_logit == -1.0


def test_every_rename_leads_to_a_key():
    known = keys.flat(base.get_config().to_dict())
    assert set(keys.RENAMED.values()) <= set(known) and not set(keys.RENAMED) & set(known)


def test_config_json_of_an_earlier_version_is_the_same_recipe():
    before = {"loss.rubbish_logit": -1.0, "seed": 0}
    assert keys.current_keys(before) == {"loss.reject_class_logit": -1.0, "seed": 0}


@LOAD_MODULE
def test_a_recipe_of_an_earlier_version_loads(tmp_path):
    recipe = tmp_path / "mine.py"
    recipe.write_text(
        "from configs import base\n\n\n"
        "def get_config(arg=''):\n"
        "    config = base.get_config()\n"
        "    config.loss.rubbish_logit = -4.0\n"
        "    return base.finish(config, arg)\n"
    )
    assert find_recipe(str(recipe)) == recipe
    with pytest.warns(FutureWarning):
        config = parse(["train", f"--config={recipe}"])
    assert json.loads(config.to_json())["loss"]["reject_class_logit"] == -4.0


def test_a_shift_is_a_padded_crop():
    """The first key whose new name has another key beside it."""
    config = base.get_config()
    with pytest.warns(FutureWarning, match="augment.shift is now augment.padding"):
        config.augment.shift = 2
    assert (config.augment.crop, config.augment.padding) == ("padded", 2)
    before = {"augment.shift": 2, "augment.crop": "none"}
    assert keys.current_keys(before) == {"augment.padding": 2, "augment.crop": "padded"}
    before = {"augment.shift": 0, "augment.crop": "none"}
    assert keys.current_keys(before) == {"augment.padding": 0, "augment.crop": "none"}


def test_a_shift_after_another_crop_leaves_that():
    config = base.get_config()
    config.augment.crop = "random_resized"
    with pytest.warns(FutureWarning):
        config.augment.shift = 2
    assert (config.augment.crop, config.augment.padding) == ("random_resized", 2)


@LOAD_MODULE
def test_a_shift_on_the_command_line():
    with pytest.warns(FutureWarning, match="augment.padding"):
        config = parse(
            [*("train", "--config=resnet50", "--config.augment.crop=none")]
            + ["--config.augment.shift=3"]
        )
    assert (config.augment.crop, config.augment.padding) == ("padded", 3)
