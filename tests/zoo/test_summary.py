import pytest

import zoo
from zoo import summary
from zoo.__main__ import main

pytestmark = pytest.mark.quick


@pytest.mark.parametrize("name", ["lenet5", "lenet5_1998", "mlp", "resnet18", "vgg16"])
def test_layers_add_up_to_the_totals(name):
    layers = summary.layers(name)
    assert sum(layer.num_params for layer in layers) == zoo.info(name).num_params
    assert sum(layer.macs for layer in layers) == round(zoo.info(name).gmacs * 1e9)


def test_layers_are_in_the_order_of_the_network():
    assert [layer.path for layer in summary.layers("lenet5")] == [
        *("conv1", "conv2", "fc1", "fc2", "head")
    ]
    conv1 = summary.layers("lenet5")[0]
    assert (conv1.kind, conv1.shape, conv1.num_params) == ("Conv", (28, 28, 6), 156)
    assert conv1.macs == 28 * 28 * 6 * 25
    assert conv1.activation_bytes == 4 * 28 * 28 * 6


def test_table(capsys):
    main(["summary", "lenet5"])
    first, *rows, total = capsys.readouterr().out.splitlines()
    assert first.split() == ["layer", "kind", "output", "parameters", "MACs", "activations"]
    assert rows[1].split() == ["conv2", "Conv", "10x10x16", "2,416", "240,000", "6.2", "KiB"]
    assert total.split()[:3] == ["total", "61,706", "416,520"]


def test_unknown_model(capsys):
    with pytest.raises(SystemExit):
        main(["summary", "resnet51"])
    assert "resnet50" in capsys.readouterr().err
