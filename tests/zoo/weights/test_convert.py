import jax
import numpy as np
import pytest

import zoo
from zoo import registry
from zoo.weights.pickled import Placeholder


def state_dict(name="resnet18"):
    """Ones in every tensor of the reference, but told apart by their first entry."""
    variables = registry.abstract_variables(name)
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), variables)
    tensors = zoo.to_torch(name, zeros)
    return {key: value + i for i, (key, value) in enumerate(sorted(tensors.items()))}


def test_missing_and_left_over_tensors_are_named():
    tensors = state_dict()
    tensors["layer9.weight"] = tensors.pop("layer1.0.conv1.weight")
    with pytest.raises(
        ValueError, match="missing.*layer1.0.conv1.weight.*left over.*layer9.weight"
    ):
        zoo.load_torch("resnet18", tensors)


def test_wrong_shape_is_named_with_advice_for_the_classifier():
    with pytest.raises(ValueError, match=r"fc.weight has shape \(1000, 512\).*num_classes=0"):
        zoo.load_torch("resnet18", state_dict(), num_classes=10)


def test_without_classifier():
    variables = zoo.load_torch("resnet18", state_dict(), num_classes=0)
    assert "head" not in variables["params"]
    assert "stem_conv" in variables["params"]


def test_wrappers_prefixes_and_counters_come_off():
    tensors = state_dict()
    wrapped = {"module." + key: value for key, value in tensors.items()}
    wrapped["module.bn1.num_batches_tracked"] = np.array(7)
    variables = zoo.load_torch("resnet18", {"state_dict": wrapped, "epoch": 3})
    kernel = variables["params"]["stem_conv"]["kernel"]
    np.testing.assert_array_equal(kernel, tensors["conv1.weight"].transpose(2, 3, 1, 0))


def test_half_precision_is_widened():
    tensors = {key: value.astype(np.float16) for key, value in state_dict().items()}
    kernel = zoo.load_torch("resnet18", tensors)["params"]["stem_conv"]["kernel"]
    assert kernel.dtype == np.float32


def test_to_torch_rejects_variables_of_another_model():
    with pytest.raises(ValueError, match="not the variables of resnet34"):
        zoo.to_torch("resnet34", zoo.load_torch("resnet18", state_dict()))


def test_to_torch_rejects_unknown_names():
    with pytest.raises(ValueError, match="torchvision, not 'keras'"):
        zoo.to_torch("resnet18", {}, source="keras")


def test_old_words_still_work():
    """For one release, with a warning."""
    with pytest.warns(DeprecationWarning, match="load_torch.checkpoint="):
        variables = zoo.load_torch("resnet18", source=state_dict())
    with pytest.warns(DeprecationWarning, match="to_torch.source="):
        tensors = zoo.to_torch("resnet18", variables, origin="torchvision")
    assert tensors.keys() == state_dict().keys()
    with pytest.raises(TypeError, match="needs a checkpoint"):
        zoo.load_torch("resnet18")


PREFIXES = (
    "module.",
    "_orig_mod.",
    "model.",
    "net.",
    "backbone.",
    "encoder.",
    "student.model.",
    "module._orig_mod.",
    "model._orig_mod.module.",
    "anything.at.all.",
)
WRAPPERS = (
    "state_dict",
    "model",
    "model_state_dict",
    "model_state",
    "state_dict_ema",
    "model_ema",
    "ema",
    "net",
    "weights",
    "params",
    "anything",
)


@pytest.fixture(scope="module")
def tensors():
    return state_dict()


def with_prefix(prefix, tensors):
    return {prefix + key: value for key, value in tensors.items()}


@pytest.mark.parametrize("prefix", PREFIXES)
def test_any_prefix_comes_off(prefix, tensors):
    prefixed = with_prefix(prefix, tensors) | {f"{prefix}bn1.num_batches_tracked": np.array(3)}
    loaded = zoo.load_torch("resnet18", prefixed | {"n_averaged": np.array(3)})
    assert_loaded(loaded, tensors)


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_any_wrapper_comes_off(wrapper, tensors):
    checkpoint = {
        "epoch": 3,
        "arch": "resnet18",
        "args": Placeholder("argparse.Namespace", ()),
        "best": np.float64(71),
        wrapper: with_prefix("module.", tensors),
        "optimizer": {"state": {0: {"exp_avg": np.ones(3)}}, "param_groups": [{"lr": 0.1}]},
    }
    assert_loaded(zoo.load_torch("resnet18", checkpoint), tensors)
    nested = {"checkpoint": {"algorithm": checkpoint}}
    assert_loaded(zoo.load_torch("resnet18", nested), tensors)


def assert_loaded(variables, tensors):
    kernel = variables["params"]["stem_conv"]["kernel"]
    np.testing.assert_array_equal(kernel, tensors["conv1.weight"].transpose(2, 3, 1, 0))


def both(tensors):
    average = {key: value + 1 for key, value in tensors.items()}
    shared = with_prefix("online_model.", tensors) | with_prefix("ema_model.", average)
    return {
        "timm": ({"state_dict": tensors, "state_dict_ema": average}, average),
        "torchvision": ({"model": tensors, "model_ema": with_prefix("module.", average)}, average),
        "DINO": ({"student": tensors, "teacher": with_prefix("backbone.", average)}, average),
        "ema-pytorch": (shared | {"initted": np.array(True), "step": np.array(7)}, average),
    }


@pytest.mark.parametrize("kind", ["timm", "torchvision", "DINO", "ema-pytorch"])
def test_which_of_plain_and_average_is_said_and_chosen(kind, tensors):
    checkpoint, average = both(tensors)[kind]
    message = "weights 2 times, at .*moving average, .*was taken"
    with pytest.warns(UserWarning, match=message) as warned:
        loaded = zoo.load_torch("resnet18", checkpoint)
    assert warned[0].filename == __file__  # the caller's line
    assert_loaded(loaded, average)
    assert_loaded(zoo.load_torch("resnet18", checkpoint, ema=True), average)
    assert_loaded(zoo.load_torch("resnet18", checkpoint, ema=False), tensors)


def test_what_is_chosen_must_be_there(tensors):
    with pytest.raises(ValueError, match="no moving average.*ema=False"):
        zoo.load_torch("resnet18", {"model": tensors}, ema=True)
    with pytest.raises(ValueError, match="no plain copy.*ema=True"):
        zoo.load_torch("resnet18", {"model_ema": tensors}, ema=False)


def test_two_plain_copies(tensors):
    other = {key: value + 1 for key, value in tensors.items()}
    with pytest.warns(UserWarning, match="at last, best. The first, last, was taken"):
        loaded = zoo.load_torch("resnet18", {"last": tensors, "best": other})
    assert_loaded(loaded, tensors)


def test_another_modules_tensors_are_left_over(tensors):
    checkpoint = with_prefix("model.", tensors) | {"loss.weight": np.ones(1000)}
    with pytest.raises(ValueError, match=r"left over in the weights: loss.weight.*at model\.\*"):
        zoo.load_torch("resnet18", checkpoint)


@pytest.mark.parametrize(
    ("changes", "overrides", "message"),
    [
        ({"fc.weight": None, "fc.bias": None}, {}, "no classifier: load with num_classes=0"),
        (
            {"fc.weight": np.ones((21841, 512)), "fc.bias": np.ones(21841)},
            {},
            "num_classes=21841.*num_classes=0",
        ),
        ({}, {"num_classes": 10}, "num_classes=1000.*num_classes=0"),
        (
            {"fc.bias": Placeholder("torch._utils._rebuild_qtensor", ())},
            {},
            "fc.bias is no plain tensor but a torch._utils._rebuild_qtensor",
        ),
        ({"fc.weight": np.ones(7)}, {}, r"fc.weight has shape \(7,\)"),
        ({"fc.weight": np.ones((1000, 512), "V4")}, {}, "missing in the weights: fc.weight"),
        ({"fc.weight": np.ones((1000, 512), complex)}, {}, "missing in the weights: fc.weight"),
        ({"fc.bias": "text"}, {}, "fc.bias is no plain tensor but a str"),
        ({"fc.bias": np.array(["text"] * 1000)}, {}, "missing in the weights: fc.bias"),
    ],
)
def test_advice(changes, overrides, message, tensors):
    changed = {key: value for key, value in (tensors | changes).items() if value is not None}
    with pytest.raises(ValueError, match=message):
        zoo.load_torch("resnet18", changed, **overrides)


def test_advice_for_auxiliary_classifiers():
    tensors = state_dict("inception_v3")
    lacking = {key: value for key, value in tensors.items() if "AuxLogits" not in key}
    with pytest.raises(ValueError, match="no auxiliary classifier: load with auxiliary=False"):
        zoo.load_torch("inception_v3", lacking, auxiliary=True)
    for source in (tensors, lacking):
        loaded = zoo.load_torch("inception_v3", source, auxiliary=False)
        assert "aux_head" not in loaded["params"]


def test_nothing_that_could_be_weights():
    with pytest.raises(ValueError, match="no weights for resnet18. There are no tensors in it"):
        zoo.load_torch("resnet18", {"model": Placeholder("net.Net", ()), "epoch": 3})


def test_errors_name_the_file(tmp_path):
    np.savez(tmp_path / "other.npz", w=np.ones(3))
    with pytest.raises(ValueError, match="missing in the weights") as raised:
        zoo.load_torch("lenet5", tmp_path / "other.npz")
    assert "other.npz" in str(raised.value)


def test_what_to_torch_gives_is_read_back(tmp_path, tensors):
    np.savez(tmp_path / "resnet18.npz", **tensors)  # pyright: ignore[reportArgumentType]
    assert_loaded(zoo.load_torch("resnet18", tmp_path / "resnet18.npz"), tensors)


def test_many_problems_are_cut_short(tensors):
    with pytest.raises(ValueError, match="and more like that") as raised:
        zoo.load_torch("resnet18", {key: np.ones(7) for key in tensors})
    assert len(str(raised.value)) < 2000


def test_tokens_that_are_no_grid():
    shapes = registry.abstract_variables("vit_ti_16", depth=1)
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), shapes)
    tensors = zoo.to_torch("vit_ti_16", zeros, depth=1)
    for shape in ((1, 0, 192), (1, 3, 192), (197, 192), (1, 1, 192)):
        with pytest.raises(ValueError, match=r"pos_embed has shape \(.*do not|do not.*pos_embed"):
            zoo.load_torch("vit_ti_16", tensors | {"pos_embed": np.zeros(shape)}, depth=1)
