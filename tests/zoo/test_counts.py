"""Counts, and the table of them that comes with the package."""

import pytest

import zoo
from zoo import counts, registry


@pytest.mark.quick
@pytest.mark.parametrize("name", ["lenet5", "alexnet", "resnet18", "squeezenet1_1"])
def test_the_table_is_current(name):
    assert counts.known(name) == counts.count(name)


@pytest.mark.full
@pytest.mark.parametrize(("name", "size"), counts.table())
def test_all_of_the_table_is_current(name, size):
    assert counts.known(name, size) == counts.count(name, size)


def test_the_table_has_every_model():
    known = set(counts.table())
    assert {(name, zoo.info(name).image_size) for name in zoo.list_models()} <= known


@pytest.mark.quick
@pytest.mark.parametrize(
    ("name", "depth"),
    [("alexnet", 8), ("zfnet", 8), ("vgg16", 16), ("resnet18", 18), ("seresnet18", 18)],
)
def test_depth_is_the_number_in_the_name(name, depth):
    assert counts.known(name).depth == depth


@pytest.mark.quick
def test_gates_are_beside_the_way_and_counted_apart():
    found = counts.count("seresnet18")
    assert found.depth == 18 and 0 < found.gate_macs < found.macs / 1000
    assert found.macs - found.gate_macs == counts.count("resnet18").macs


@pytest.fixture
def own_models(monkeypatch):
    """Models that a test registers are gone after it."""
    zoo.list_models()
    monkeypatch.setattr(registry, "_models", dict(registry._models))
    registry._all_models.cache_clear()
    yield
    registry._all_models.cache_clear()


@pytest.mark.usefixtures("own_models")
def test_a_model_of_your_own_is_counted():
    @zoo.register(name="own_perceptron", image_size=28, channels=1)
    def own(**attributes):
        return zoo.create("mlp", **attributes)

    assert counts.known("own_perceptron") == counts.count("mlp")
    assert counts.known("own_perceptron").depth == 3
