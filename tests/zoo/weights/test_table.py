"""The table of published weights says what torchvision, timm and the authors say."""

import csv
import gzip
import json
import math
import pathlib
import re

import pytest

import zoo
from zoo import registry
from zoo.preprocess import Preprocessing
from zoo.weights import download, table

HERE = pathlib.Path(__file__).parent
REFERENCES = json.loads(gzip.decompress((HERE / "state_dicts.json.gz").read_bytes()))
with (HERE.parent / "weights.csv").open() as file:
    STATED = list(csv.DictReader(file))
ROWS = table.rows()
# torchvision's networks that change the normalisation themselves (transform_input).
OTHER_MEAN = ("torchvision/googlenet:IMAGENET1K_V1", "torchvision/inception_v3:IMAGENET1K_V1")


@pytest.mark.parametrize("row", ROWS.values(), ids=lambda row: row.name)
def test_a_row_is_sound(row):
    kind, _, rest = row.name.partition("/")
    assert kind in table.KINDS and registry.lookup(row.model)
    if row.address.startswith("hf-hub:"):
        assert kind == "timm" and row.address == f"hf-hub:{row.name}"
    else:
        assert row.address.startswith("https://") and download.place(row.address)
    assert re.fullmatch("([0-9a-f]{8,64})?", row.digest)
    assert (row.digest[:8] in row.address) and not (kind == "torchvision" and not row.digest)
    info = row.info
    assert Preprocessing.from_info(info).image_size == row.image_size
    if row.resize:
        assert round(row.image_size / info.crop) == row.resize >= row.image_size
    assert (row.top1 is None) == (row.source == "")
    sizes = {"imagenet-1k": 1000, "imagenet-12k": 11821, "imagenet-21k": 21843}
    sizes |= {"imagenet-22k": 21841, "cifar10": 10, "cifar100": 100, "": row.classes}
    assert sizes[row.label_set] == row.classes
    if kind != "authors":  # load_torch is tested to read such tensors
        architecture = re.split("[.:]", rest)[0]
        assert f"{kind}|{architecture}|{row.model}|{row.classes}" in REFERENCES
    if row.overrides:
        zoo.create(row.model, **row.overrides)


def test_the_table_has_what_was_stated_before():
    """A list that was made apart from the table."""
    by_address = {row.address: row for row in ROWS.values()}
    for stated in STATED:
        if stated["top1"] == "nan":  # torchvision's VGG-16 without a classifier
            continue
        where = stated["where"]
        row = by_address[where if where.startswith("https:") else f"hf-hub:{where}"]
        assert (row.model, row.image_size) == (stated["model"], int(stated["image_size"]))
        assert (row.interpolation, row.license) == (stated["interpolation"], stated["license"])
        assert row.classes == int(stated["classes"])
        if row.name not in OTHER_MEAN:
            for ours, theirs in zip(row.mean, stated["mean"].split(), strict=True):
                assert math.isclose(ours, float(theirs), abs_tol=6e-5)
        if row.resize:
            size, crop = int(stated["image_size"]), float(stated["crop"])
            assert row.resize == int(stated["resize"] or math.floor(size / crop))
        if row.name != "timm/convnext_tiny.fb_in22k_ft_in1k":  # stated at another crop
            assert row.top1 == (float(stated["top1"]) if stated["top1"] else None)


def test_families_that_only_their_authors_have():
    authors = {registry.info(ROWS[name].model).family for name in table.list_weights("authors/*")}
    others = {"pvt", "t2t_vit", "regionvit", "localvit", "lvvit", "resnet_cifar", "nasnet"}
    assert authors == others


def test_names_are_found_by_patterns():
    assert zoo.list_weights() == sorted(ROWS)
    found = zoo.list_weights("resnet50*")
    assert {"timm/resnet50.a1_in1k", "torchvision/resnet50:IMAGENET1K_V2"} < set(found)
    assert all(ROWS[name].model == "resnet50" for name in found)
    assert zoo.list_weights("torchvision/resnet50*") == [n for n in found if n[:2] == "to"]
    assert "timm/vit_small_patch16_224.dino" in zoo.list_weights("vit_s_16")
    assert zoo.list_weights("nothing") == []


@pytest.mark.parametrize(
    "name, close",
    [
        ("resnet50", "torchvision/resnet50:IMAGENET1K_V1"),
        ("resnet50.a1_in1k", "timm/resnet50.a1_in1k"),
        ("reznet50.a1_in1k", "timm/resnet50.a1_in1k"),
        ("timm/resnet50.a1", "timm/resnet50.a1_in1k"),
        ("torchvision/resnet50:V2", "torchvision/resnet50:IMAGENET1K_V2"),
        ("torchvision/resnet50.a1_in1k", "timm/resnet50.a1_in1k"),
        ("pvt_tiny", "authors/pvt_tiny.whai362_in1k"),
    ],
)
def test_near_names(name, close):
    assert close in table.closest(name)
    assert len(table.closest(name)) <= 4 and table.closest("xyzzy") == []


def test_info_is_that_of_the_weights():
    info = ROWS["torchvision/resnet50:IMAGENET1K_V2"].info
    assert (info.top1, info.crop, info.weights) == (80.858, 224 / 232, ROWS[info.weights].name)
    assert zoo.info("resnet50").weights == "" and "weights=" not in repr(zoo.info("resnet50"))
    assert "label_set='imagenet-1k'" in repr(info) and "class_names" not in repr(info)
