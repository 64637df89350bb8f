"""zoo.register: models of users."""

import runpy

import jax
import jax.numpy as jnp
import pytest
from flax import linen as nn

import zoo
from zoo import registry


class Net(nn.Module):
    width: int = 4
    num_classes: int = 10

    @nn.compact
    def __call__(self, images, *, train=False):
        return nn.Dense(self.num_classes)(nn.Dense(self.width)(images.mean((1, 2))))


@pytest.fixture(autouse=True)
def forget():
    before = dict(registry._all_models())
    yield
    registry._models.clear()
    registry._models.update(before)


def test_a_function_is_registered_by_its_name():
    @zoo.register(image_size=8, channels=1, mean=(0.5,), std=(0.5,), paper="mine")
    def tiny_net(**attributes):
        return Net(width=2, **attributes)

    info = zoo.info("tiny_net")
    assert (info.image_size, info.channels, info.paper) == (8, 1, "mine")
    assert info.num_params == 1 * 2 + 2 + 2 * 10 + 10 and info.gmacs * 1e9 == 2 + 20
    model = zoo.create("tiny_net", num_classes=3)
    images = jnp.zeros((5, 8, 8, 1))
    variables = model.init(jax.random.key(0), images)
    assert model.apply(variables, images).shape == (5, 3)
    assert "tiny_net" in zoo.list_models("tiny*") and tiny_net().width == 2


def test_a_class_is_registered_by_a_name():
    assert zoo.register(Net, name="my_net", image_size=8) is Net
    assert zoo.create("my_net", width=7).width == 7
    with pytest.raises(TypeError, match="my_net has no attribute dtype; it has num_classes, width"):
        zoo.create("my_net", dtype="float32")


def test_the_same_file_may_run_twice(tmp_path):
    file = tmp_path / "net.py"
    file.write_text(
        "import zoo\nfrom flax import linen as nn\n\n\n"
        "class Net(nn.Module):\n    width: int = 1\n\n\n"
        "@zoo.register\ndef one_net(**attributes):\n    return Net(**attributes)\n"
    )
    for _ in range(2):
        runpy.run_path(str(file))
    file.write_text(file.read_text().replace("width: int = 1", "width: int = 2"))
    runpy.run_path(str(file))
    assert zoo.create("one_net").width == 2


def test_the_name_of_another_model_is_refused():
    with pytest.raises(ValueError, match="'resnet50' is registered already, by zoo.models.resnet"):
        zoo.register(Net, name="resnet50")
    assert zoo.info("resnet50").family == "resnet"


def test_figures_are_those_of_the_model_registered_last():
    def net(**attributes):
        return Net(width=WIDTH, **attributes)

    for WIDTH in (2, 3):
        zoo.register(net, image_size=8)
        assert zoo.info("net").num_params == 3 * WIDTH + WIDTH + 10 * WIDTH + 10


def test_what_takes_no_attributes_is_refused():
    with pytest.raises(TypeError, match=r"def fixed\(\*\*attributes\): return Net"):

        @zoo.register
        def fixed():
            return Net()

    class Needs(nn.Module):
        width: int

    with pytest.raises(TypeError, match="width needs a default value"):
        zoo.register(Needs)
    with pytest.raises(TypeError, match="unexpected keyword argument 'colour'"):
        zoo.register(Net, name="painted", colour="red")


def test_a_model_that_is_not_registered_is_told_so():
    with pytest.raises(ValueError, match="once the file that registers it is imported"):
        zoo.create("my_unknown_net")
