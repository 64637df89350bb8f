"""Receptive fields are those that were measured by the footprint of gradients: a golden."""

import json
import math
from pathlib import Path

import pytest

import zoo
from zoo.look import receptive_fields

GOLDEN = json.loads((Path(__file__).parent / "goldens" / "receptive_fields.json").read_text())


@pytest.mark.parametrize("name", GOLDEN)
def test_equals_the_measured_footprint(name):
    info = zoo.info(name)
    found = receptive_fields(zoo.create(name), info.image_size, info.channels)
    for stage, expected in GOLDEN[name].items():
        assert found[stage] == (expected["size"], expected["stride"], expected["start"]), stage


@pytest.mark.parametrize(
    "name, stage, expected",
    [
        ("lenet5", "stage2", (16, 4, 0)),
        ("inception_v3", "stage3", None),
        ("vit_ti_16", None, None),
        ("seresnet18", "stage1", (math.inf, 0, -math.inf)),
    ],
)
def test_other_kinds(name, stage, expected):
    info = zoo.info(name)
    found = receptive_fields(zoo.create(name), info.image_size, info.channels)
    if stage is None:
        assert found.pop("stem") == (16, 16, 0)
        assert found and all(field.size == math.inf for field in found.values())
    elif expected is None:
        assert found[stage].size > 300
    else:
        assert found[stage] == expected
