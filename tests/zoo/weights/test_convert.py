import numpy as np
import pytest

import zoo


def state_dict(name="resnet18"):
    """Ones in every tensor of the reference, but told apart by their first entry."""
    from zoo import registry

    variables = registry.abstract_variables(name)
    import jax

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
