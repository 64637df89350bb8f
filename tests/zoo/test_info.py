"""What `zoo.info` says, against the preprocessing that belongs to the weights it quotes."""

import csv
import pathlib
import re

import pytest

import zoo
from zoo.weights import table

# Published weights of torchvision and timm with the preprocessing that their libraries state.
with (pathlib.Path(__file__).parent / "weights.csv").open() as file:
    WEIGHTS = list(csv.DictReader(file))
# Their files' networks change the normalisation themselves (torchvision's transform_input).
OTHER_MEAN = {"googlenet_bn", "inception_v3"}


def of_the_quoted_accuracy(name: str) -> list[dict]:
    """The rows whose accuracy `zoo.info` quotes."""
    top1 = zoo.info(name).top1
    rows = [row for row in WEIGHTS if row["model"] == name and row["top1"]]
    return [row for row in rows if top1 and abs(float(row["top1"]) - top1) < 0.006]


def agrees(name: str, row: dict) -> bool:
    info = zoo.info(name)
    images = name in OTHER_MEAN or all(
        tuple(map(float, row[key].split())) == tuple(round(x, 4) for x in getattr(info, key))
        for key in ("mean", "std")
    )
    size = int(row["image_size"]) == info.image_size
    crop = abs(float(row["crop"]) - info.crop) < 1e-4
    return images and size and crop and row["interpolation"] == info.interpolation


QUOTED = [name for name in zoo.list_models() if of_the_quoted_accuracy(name)]


@pytest.mark.parametrize("name", QUOTED)
def test_preprocessing_is_that_of_the_quoted_weights(name):
    assert any(agrees(name, row) for row in of_the_quoted_accuracy(name))


def test_most_models_quote_published_weights():
    assert len(QUOTED) > 100


@pytest.mark.parametrize("name", zoo.list_models())
def test_a_model_equals_itself_made_again(name):
    """So that it can be an argument of jit that is compiled once."""
    assert zoo.create(name) == zoo.create(name)
    assert hash(zoo.create(name)) == hash(zoo.create(name))


def test_the_protocol_of_an_accuracy():
    assert str(zoo.info("zfnet").protocol) == "10 crops of 224 pixels"
    assert str(zoo.info("resnet200").protocol) == "1 crop of 320 pixels"
    assert str(zoo.info("cait_s36").protocol) == "1 crop of 384 pixels, distilled"
    assert "protocol='1 crop of 224 pixels, pre-trained on ImageNet-21k'" in repr(
        zoo.info("vit_ti_16")
    )
    assert zoo.info("lenet5").protocol is None and "protocol" not in repr(zoo.info("lenet5"))


@pytest.mark.parametrize("name", zoo.list_models())
def test_the_protocol_is_what_the_source_says(name):
    info = zoo.info(name)
    source = info.accuracy_source
    if info.protocol is None:
        return
    assert (info.crops == 10) == ("10-crop" in source)
    assert info.distilled == bool(re.search(r"distilled|token labels|_dist", source + name))
    assert bool(info.pretraining) == bool(re.search("in2[12]k_ft|SWAG", source))
    assert ("320 pixels" in source) == (info.protocol.pixels == 320 != info.image_size)


def test_the_protocol_of_weights_is_their_own():
    rows = table.rows()
    plain = rows["torchvision/resnet18:IMAGENET1K_V1"].info.protocol
    assert str(plain) == "1 crop of 224 pixels"
    assert rows["timm/resnet18.fb_swsl_ig1b_ft_in1k"].info.pretraining == "Instagram-1B"
    assert rows["timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k"].info.pretraining == "ImageNet-21k"
    assert rows["torchvision/vit_b_16:IMAGENET1K_SWAG_E2E_V1"].info.pretraining == "Instagram-3.6B"
    assert rows["timm/convnext_tiny.in12k_ft_in1k"].info.pretraining == "ImageNet-12k"
    distilled = {row.model for row in rows.values() if row.info.distilled}
    assert distilled >= {"cait_s24", "deit_s_distilled", "lvvit_s"} and "deit_s" not in distilled
