"""Weights to start from: what is loaded, what is random, what does not fit."""

import json

import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

import zoo
from configs import base
from train.errors import TrainError
from train.initial import InitialWeights
from train.step import TrainState
from zoo.preprocess import Preprocessing
from zoo.weights import pretrained

PREPROCESSING = Preprocessing(32, 1, mean=(0.25,), std=(0.5,), crop=None, padding=2)


def init(name, size, channels=3, **overrides):
    """Variables of a model, drawn by numpy: initializers would have to be compiled."""
    model, rng = zoo.create(name, **overrides), np.random.default_rng(3)
    images = jax.ShapeDtypeStruct((1, size, size, channels), jnp.float32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), images)
    return jax.tree.map(lambda x: rng.standard_normal(x.shape, np.float32), shapes)


def start(tmp_path, variables, weights, name="lenet5", skip=None, zeros="", **options):
    """What a run with these variables starts with, by path."""
    config = base.get_config()
    config.model.name = name
    config.init.weights, config.init.zeros = str(weights), zeros
    if skip is not None:
        config.init.skip = skip
    with config.unlocked():
        config.model.options = options
    state = TrainState(0, variables["params"], variables.get("batch_stats", {}), (), {})
    return traverse_util.flatten_dict(InitialWeights(tmp_path, config).variables(state), sep="/")


def saved(path, name, variables, **overrides):
    pretrained.save(path, name, overrides, variables, preprocessing=PREPROCESSING)
    return path


@pytest.fixture(scope="module")
def lenet():
    return init("lenet5", 32, 1)


@pytest.mark.quick
def test_all_but_the_classifier_is_loaded(lenet, tmp_path, capsys):
    file = saved(tmp_path / "model.safetensors", "lenet5", lenet)
    found = start(tmp_path, init("lenet5", 32, 1, num_classes=4), file)
    wanted = traverse_util.flatten_dict(lenet, sep="/")
    assert wanted.keys() - found.keys() == {"params/head/kernel", "params/head/bias"}
    assert all((found[path] == wanted[path]).all() for path in found)
    assert capsys.readouterr().out.strip() == f"Starting with {file}; random: head."
    assert start(tmp_path, lenet, file, skip="").keys() == wanted.keys()


def test_what_starts_at_zero(lenet, tmp_path, capsys):
    file = saved(tmp_path / "model.safetensors", "lenet5", lenet)
    found = start(tmp_path, init("lenet5", 32, 1, num_classes=4), file, zeros="^head/kernel")
    assert found["params/head/kernel"].shape == (84, 4) and not found["params/head/kernel"].any()
    assert "params/head/bias" not in found and found["params/conv1/kernel"].any()
    assert "random: head." in capsys.readouterr().out
    both = start(tmp_path, init("lenet5", 32, 1, num_classes=4), file, zeros="^head/")
    assert both.keys() - found.keys() == {"params/head/bias"}
    assert "random: nothing." in capsys.readouterr().out
    assert start(tmp_path, lenet, "", zeros="^head/").keys() == {
        *("params/head/kernel", "params/head/bias")
    }
    with pytest.raises(TrainError, match="init.zeros='.fcc' matches no parameter"):
        start(tmp_path, lenet, "", zeros="^fcc")


def test_weights_that_do_not_fit_are_named(lenet, tmp_path):
    file = saved(tmp_path / "model.safetensors", "lenet5", lenet)
    with pytest.raises(
        TrainError, match=r"head/bias is \(10,\) and the model has \(4,\).*init.skip"
    ):
        start(tmp_path, init("lenet5", 32, 1, num_classes=4), file, skip="")
    with pytest.raises(TrainError, match="weights of lenet5, and model.name is mlp"):
        start(tmp_path, lenet, file, name="mlp")
    with pytest.raises(TrainError, match="init.weights: There is no file"):
        start(tmp_path, lenet, tmp_path / "none.safetensors")
    less = {"params": {key: lenet["params"][key] for key in ("conv1", "fc1", "fc2")}}
    with pytest.raises(TrainError, match="params/conv2/bias is only in the weights"):
        start(tmp_path, less, file)


def test_other_channels_and_sizes(lenet, tmp_path):
    file = saved(tmp_path / "model.safetensors", "lenet5", lenet)
    kernel = start(tmp_path, init("lenet5", 32, 3), file)["params/conv1/kernel"]
    np.testing.assert_allclose(
        kernel.sum(2, keepdims=True), lenet["params"]["conv1"]["kernel"], 1e-6
    )
    small = init("deit_ti", 224, num_classes=0)
    file = saved_image(tmp_path, "deit_ti", small, 224)
    found = start(tmp_path, init("deit_ti", 96, num_classes=0), file, name="deit_ti")
    state = zoo.to_torch("deit_ti", small, num_classes=0)
    expected = zoo.load_torch("deit_ti", state, image_size=96, num_classes=0)
    np.testing.assert_array_equal(found["params/pos_embed"], expected["params"]["pos_embed"])


def saved_image(folder, name, variables, size, **overrides):
    path = folder / f"{name}.safetensors"
    preprocessing = Preprocessing(size)
    overrides = {"num_classes": 0} | overrides
    pretrained.save(path, name, overrides, variables, preprocessing=preprocessing)
    return path


def test_a_file_of_the_reference(lenet, tmp_path):
    """Here of a classifier of another size, which nobody has to name."""
    variables = init("resnet20_cifar", 32, num_classes=7)
    state = zoo.to_torch("resnet20_cifar", variables, num_classes=7)
    np.savez(tmp_path / "weights.npz", **state)
    found = start(tmp_path, variables, tmp_path / "weights.npz", name="resnet20_cifar")
    assert {"params/head/kernel", "params/head/bias"} == (
        traverse_util.flatten_dict(variables, sep="/").keys() - found.keys()
    )


@pytest.mark.parametrize("before", [False, True])
def test_blocks_are_stacked_as_the_model_has_them(before, tmp_path):
    one, other = (init("deit_ti", 32, num_classes=0, scan=scan) for scan in (before, not before))
    file = saved_image(tmp_path, "deit_ti", one, 32, scan=before)
    found = start(tmp_path, other, file, name="deit_ti", scan=not before)
    found = traverse_util.unflatten_dict(found, sep="/")
    assert jax.tree.structure(found) == jax.tree.structure(flax.core.unfreeze(other))
    flat = lambda tree: sorted(float(np.sum(leaf)) for leaf in jax.tree.leaves(tree))  # noqa: E731
    np.testing.assert_allclose(sum(flat(found)), sum(flat(one)), rtol=1e-5)


def test_a_run_goes_on_without_the_weights(lenet, tmp_path):
    config = base.get_config()
    file = saved(tmp_path / "model.safetensors", "lenet5", lenet)
    config.init.weights = str(file)
    initial = InitialWeights(tmp_path, config)
    assert initial.preprocessing == PREPROCESSING
    initial.write()
    file.unlink()
    with pytest.raises(TrainError, match="There is no file"):  # it has not begun yet
        InitialWeights(tmp_path, config)
    (tmp_path / "checkpoints" / "3").mkdir(parents=True)
    assert InitialWeights(tmp_path, config).preprocessing == PREPROCESSING
    for damage in ("", "[]", '{"weights": 1}', '{"weights": "x", "preprocessing": 3}'):
        (tmp_path / "init.json").write_text(damage)
        with pytest.raises(TrainError, match="There is no file"):
            InitialWeights(tmp_path, config)
    assert json.loads(json.dumps(config.init.to_dict()))["weights"] == str(file)
