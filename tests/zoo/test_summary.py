import csv

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
    assert tuple(first.split()) == summary.COLUMNS
    assert rows[0].split() == ["input", "32x32x1", "0", "0", "0", "4.0", "KiB"]
    assert rows[3].split() == [
        *("conv2", "Conv", "5x5", "1", "10x10x16", "2,416", "240,000", "2,400", "6.2", "KiB")
    ]
    assert rows[4].split()[:4] == ["max_pool", "2x2", "2", "5x5x16"]
    assert total.split()[:4] == ["total", "61,706", "416,520", "61,470"]


def test_the_table_of_vgg_16_is_that_of_the_lecture():
    """Simonyan and Zisserman's configuration D with its poolings: 138 M weights, 58 MB an image."""
    rows = list(csv.DictReader(summary.table("vgg16", "csv").splitlines()))
    assert [row["kind"] for row in rows].count("max_pool") == 5
    assert rows[0]["output"] == "224x224x3" and rows[0]["activations"] == str(4 * 150_528)
    assert rows[-1]["weights"] == "138344128"
    assert round(int(rows[-1]["activations"]) / 2**20) == 58


def test_steps_of_alexnet_are_in_their_order():
    kinds = [layer.kind for layer in summary.layers("alexnet", steps=True)][:5]
    assert kinds == ["input", "Conv", "local_response_norm", "max_pool", "Conv"]
    assert not {layer.kind for layer in summary.layers("alexnet")} & set(summary.STEPS)


def test_markdown(capsys):
    main(["summary", "lenet5", "--format=markdown"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("| --- | --- |") and {line.count("|") for line in lines} == {10}


def test_unknown_model(capsys):
    with pytest.raises(SystemExit):
        main(["summary", "resnet51"])
    assert "resnet50" in capsys.readouterr().err
