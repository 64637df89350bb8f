"""The layers of a network, as its program has them, and taps at any of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import zoo
from zoo import registry
from zoo.kernels import platform
from zoo.look import explore, receptive_fields
from zoo.look.inside import inside
from zoo.look.layers import layers
from zoo.look.program import Program
from zoo.look.receptive_field import layer_fields
from zoo.look.trace import trace


@pytest.fixture(scope="module")
def lenet():
    loaded = zoo.load("zoo/lenet5.mnist")
    image = np.random.RandomState(0).standard_normal((32, 32, 1)).astype(np.float32)
    return loaded.model, loaded.variables, image


@pytest.fixture(scope="module")
def residual():
    model = zoo.create("resnet20_cifar", depth=8)
    images = jnp.zeros((1, 32, 32, 3))
    return model, jax.jit(model.init)(jax.random.key(0), images), images


def test_a_plain_network_is_a_chain(lenet):
    model, variables, image = lenet
    found = layers(trace(model, variables, image[None]), variables)
    kinds = "image Conv relu max_pool Conv relu max_pool flatten Dense relu Dense relu Dense"
    assert [layer.kind for layer in found.values()] == kinds.split()
    names = [*found]
    assert names[:4] == ["image", "conv1", "relu", "max_pool"] and names[-1] == "head"
    before = {name: (earlier,) for earlier, name in zip(names, names[1:], strict=False)}
    assert {name: layer.inputs for name, layer in found.items()} == {"image": (), **before}
    assert {layer.name: layer.output for layer in found.values() if layer.output} == {
        "max_pool": "stage1",
        "max_pool_2": "stage2",
        "relu_4": "embedding",
        "head": "logits",
    }
    stages = [layer.stage for layer in found.values()]
    assert stages == ["", *3 * ["stage1"], *3 * ["stage2"], *6 * ["head"]]


def test_branches_meet(residual):
    model, variables, images = residual
    found = layers(trace(model, variables, images), variables)
    block = "stage1_block1"
    assert found[f"{block}/sum"].inputs == ("relu", f"{block}/norm2")
    assert found[f"{block}/relu_2"].inputs == (f"{block}/sum",)
    assert found["head"].inputs == ("global_average_pool",) and "head/mean" not in found
    assert found["stage1_block1/relu_2"].output == "stage1"
    assert sum(layer.kind == "sum" for layer in found.values()) == 3


def test_taps_at_any_layer(lenet, quick_compilation):
    """The slope of a logit at the last but one layer is a column of the last kernel."""
    model, variables, image = lenet
    seen = inside(model, variables, image, target=3)
    kernel = variables["params"]["head"]["kernel"]
    np.testing.assert_allclose(seen.slopes["relu_4"], kernel[:, 3], rtol=1e-5)
    logits = np.asarray(model.apply(variables, image[None]))[0]
    np.testing.assert_allclose(seen.logits, logits, rtol=1e-4, atol=1e-5)
    stages = zoo.features(model, variables, image[None], at=["stage1", "stage2"])
    np.testing.assert_allclose(seen.values["max_pool_2"], stages["stage2"][0], rtol=1e-4, atol=1e-5)
    first = inside(model, variables, image)
    assert first.target == logits.argmax()
    program = Program(model, variables, image[None], ["conv1", "stage1", "logits"])
    assert program.shapes["conv1"].shape == (1, 28, 28, 6) and program.shapes["logits"].ndim == 2
    with pytest.raises(ValueError, match="has no output conv9.*stage1, stage2.*and its layers"):
        Program(model, variables, image[None], ["conv9"])


def test_fields_of_layers_are_those_of_stages(residual, quick_compilation):
    model, variables, images = residual
    with platform.tracing(platform.NATIVE):
        traced = trace(model, variables, images)
    found = layers(traced, variables)
    fields = layer_fields(traced, found)
    of_stages = receptive_fields(model, 32)
    for layer in found.values():
        if layer.output in of_stages:
            assert fields[layer.name] == of_stages[layer.output]
    assert fields["stem_conv"] == (3, 1, -1) and fields["stage2_block1/conv1"].stride == 2
    windows = inside(model, variables, images[0]).windows
    assert windows["stage2_block1/conv1"] == ((3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1), 1)


@pytest.mark.full
def test_blocks_of_a_scan_are_looked_at_apart(quick_compilation):
    whole = zoo.create("resnet18", scan=True, remat=True, num_classes=10)
    images = jnp.zeros((1, 32, 32, 3))
    variables = jax.jit(whole.init)(jax.random.key(0), images)
    Program(whole, variables, images, ["stage2"])  # whose layers are those outside of scans
    model, separate = explore.apart(whole, variables)
    found = layers(trace(model, separate, images), separate)
    assert "stage1_block2/conv2" in found
    expected = jax.jit(whole.apply)(variables, images)
    np.testing.assert_allclose(jax.jit(model.apply)(separate, images), expected, rtol=1e-4)


@pytest.mark.full
@pytest.mark.parametrize("name", registry.list_models())
def test_every_model_has_layers(name):
    """From the image to the logits, whatever a family is made of."""
    info, model = zoo.info(name), zoo.create(name)
    variables = registry.abstract_variables(name)
    images = jax.ShapeDtypeStruct((1, info.image_size, info.image_size, info.channels), jnp.float32)
    found = layers(trace(model, variables, images), variables)
    reached = {"image"}
    for layer in found.values():
        if reached & set(layer.inputs):
            reached.add(layer.name)
    last = next(layer for layer in found.values() if layer.output == "logits")
    assert last.name in reached and len(found) > 4
    read = {name for layer in found.values() for name in layer.inputs}
    assert read <= set(found)
