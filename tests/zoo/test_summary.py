import csv

import pytest

import zoo
from zoo import summary
from zoo.__main__ import main

pytestmark = pytest.mark.quick


@pytest.mark.parametrize("name", ["lenet5", "lenet5_1998", "mlp", "resnet18", "vgg16", "googlenet"])
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
    assert rows[1].split()[:7] == ["input", "32x32x1", "1", "1", "0", "0", "0"]
    assert rows[5].split() == [
        *("conv2", "Conv", "5x5", "1", "0", "10x10x16", "14", "2"),
        *("2,416", "240,000", "2,400", "6.2", "KiB", "40.8", "KiB"),
    ]
    assert rows[6].split()[:5] == ["max_pool", "2x2", "2", "0", "5x5x16"]
    assert [row for row in rows if row.startswith("[")] == ["[stage1]", "[stage2]", "[head]"]
    assert rows[8].split()[:2] == ["flatten", "400"]
    assert total.split()[:4] == ["total", "61,706", "416,520", "61,470"]


def rows_of(*arguments, **options) -> list[dict[str, str]]:
    return list(csv.DictReader(summary.table(*arguments, **options).splitlines()))


def test_the_table_of_vgg_16_is_that_of_the_lecture():
    """Simonyan and Zisserman's configuration D with its poolings: 138 M weights, 58 MB an image."""
    rows = rows_of("vgg16", "csv")
    assert [row["kind"] for row in rows].count("max_pool") == 5
    assert rows[0]["output"] == "224x224x3" and rows[0]["activations"] == str(4 * 150_528)
    assert rows[-1]["weights"] == "138344128"
    assert round(int(rows[-1]["activations"]) / 2**20) == 58
    (last,) = (row for row in rows if row["stage"] == "stage5" and row["kind"] == "max_pool")
    assert (last["field"], last["jump"], last["output"]) == ("212", "32", "7x7x512")


def test_a_batch_of_larger_images_and_other_attributes(capsys):
    one, many = (rows_of("lenet5", "csv", batch=batch) for batch in (1, 32))
    assert many[1]["output"] == "32x28x28x6" and many[1]["parameters"] == one[1]["parameters"]
    for column in ("MACs", "activations"):
        assert int(many[-1][column]) == 32 * int(one[-1][column])
    kept = 2 * 4 * 28 * 28 * 6  # the output and its gradient
    assert int(one[1]["training"]) == kept + 3 * 4 * 156
    assert int(many[1]["training"]) == 32 * kept + 3 * 4 * 156
    main(
        ["summary", "resnet18", "--image_size=64", "--num_classes=7", "--by=stage", "--format=csv"]
    )
    stages = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert [row["layer"] for row in stages] == [
        *("stem", "stage1", "stage2", "stage3", "stage4", "head", "total")
    ]
    assert stages[4]["output"] == "2x2x512" and stages[5]["parameters"] == str(7 * 513)
    assert (stages[4]["field"], stages[4]["jump"]) == ("435", "32")


def test_activations_of_half_precision_need_half_the_memory():
    rows = summary.layers("lenet5", steps=True, dtype="bfloat16")
    assert rows[0].activation_bytes == 4 * 32 * 32  # the images
    assert rows[1].activation_bytes == 2 * 28 * 28 * 6


@pytest.mark.parametrize(
    ("name", "path", "padding"),
    [
        ("resnet18", "stem_conv", ((3, 3), (3, 3))),
        ("efficientnet_lite0", "stem_conv", ((0, 1), (0, 1))),
        ("inception_v3", "stage2_block2/branch2_2/conv", ((0, 0), (3, 3))),
    ],
)
def test_padding_before_and_after_each_axis(name, path, padding):
    assert {layer.path: layer for layer in summary.layers(name)}[path].padding == padding


def test_blocks_of_transformers_are_groups_of_their_own():
    stages = dict.fromkeys(layer.stage for layer in summary.layers("vit_ti_16"))
    assert list(stages) == ["stem", *(f"block{number}" for number in range(1, 13)), "head"]


def test_steps_of_alexnet_are_in_their_order():
    kinds = [layer.kind for layer in summary.layers("alexnet", steps=True)][:5]
    assert kinds == ["input", "Conv", "local_response_norm", "max_pool", "Conv"]
    assert not {layer.kind for layer in summary.layers("alexnet")} & set(summary.STEPS)
    last = [layer for layer in summary.layers("resnet18", steps=True)][-2]
    assert (last.kind, last.shape) == ("global_average_pool", (512,))


def test_markdown(capsys):
    main(["summary", "lenet5", "--format=markdown"])
    lines = capsys.readouterr().out.splitlines()
    bars = len(summary.COLUMNS) + 1
    assert lines[1].startswith("| --- | --- |") and {line.count("|") for line in lines} == {bars}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["resnet51"], "resnet50"),
        (["lenet5", "--widht=2"], "lenet5 has no attribute widht; it has dtype, num_classes"),
        (["lenet5", "--batch=0"], "1 image or more"),
        (["lenet5", "--image_size=30"], "takes images of 32x32 pixels, got 30x30"),
        (["lenet5", "more"], "unrecognized argument more"),
    ],
)
def test_what_is_wrong_is_told(arguments, message, capsys):
    with pytest.raises(SystemExit):
        main(["summary", *arguments])
    assert message in " ".join(capsys.readouterr().err.split())


def test_auxiliary_heads_that_evaluation_leaves_out_are_no_layers():
    layers = summary.layers("googlenet_bn", steps=True)
    assert sum(layer.macs for layer in layers) == round(zoo.info("googlenet_bn").gmacs * 1e9)
    assert not [layer.path for layer in layers if layer.path.startswith("aux")]
    assert [layer.stage for layer in layers if layer.kind == "max_pool" and not layer.path] == [
        *("stem", "stem", "stage2", "stage3")
    ]
