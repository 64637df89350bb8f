"""Sizes and costs that are learnt from this network."""

from zoo import summary


def test_sizes():
    """(227 - 11) / 4 + 1 = 55, and poolings 3x3/2 to 27, 13 and 6."""
    layers = {layer.path: layer for layer in summary.layers("alexnet")}
    shapes = [layers[f"conv{i}"].shape for i in range(1, 6)]
    assert shapes == [(55, 55, 96), (27, 27, 256), (13, 13, 384), (13, 13, 384), (13, 13, 256)]
    assert layers["fc6"].num_params == (6 * 6 * 256 + 1) * 4096


def test_first_layer_has_35_thousand_weights_and_most_sit_in_the_first_dense_one():
    layers = {layer.path: layer for layer in summary.layers("alexnet")}
    assert layers["conv1"].num_params == 11 * 11 * 3 * 96 + 96 == 34_944
    assert layers["fc6"].num_params > sum(layer.num_params for layer in layers.values()) / 2


def test_two_towers_halve_the_layers_that_do_not_cross():
    two = {layer.path: layer.macs for layer in summary.layers("alexnet")}
    one = {layer.path: layer.macs for layer in summary.layers("alexnet_one_gpu")}
    halved = {path for path in two if 2 * two[path] == one[path]}
    assert halved == {"conv2", "conv4", "conv5"}
    assert all(two[path] == one[path] for path in set(two) - halved)
